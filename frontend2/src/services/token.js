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
  const hash = `#${new URLSearchParams({ token: token.trim() })}`;
  if (hash === location.hash) {
    // The same once more, say after it was refused by mistake: the browser would tell nobody.
    window.dispatchEvent(new Event('hashchange'));
  } else {
    location.hash = hash;
  }
}

/** @param {(token: string | null) => void} onToken told at once and at every change */
export function followToken(onToken) {
  const tell = () => onToken(readToken());
  window.addEventListener('hashchange', tell);
  tell();
}
