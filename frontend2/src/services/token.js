/**
 * The token stays in the address's fragment: a reload keeps it, and no server ever sees it.
 * @param {Location} [location]
 * @returns {string | null}
 */
export function readToken(location = window.location) {
  return new URLSearchParams(location.hash.slice(1)).get('token')?.trim() || null;
}

/** @param {string} token @param {Location} [location] */
export function writeToken(token, location = window.location) {
  location.hash = new URLSearchParams({ token: token.trim() }).toString();
}

/** @param {(token: string | null) => void} onToken told at once and at every change */
export function followToken(onToken) {
  const tell = () => onToken(readToken());
  window.addEventListener('hashchange', tell);
  tell();
}
