import { RANGES } from '../ranges.js';

/** @import { RangeName } from '../ranges.js' */

/**
 * What the address's fragment keeps: the token, the currency of the totals, the range of the curve. A
 * reload or a bookmark keeps them, and no server ever sees them.
 */

/** @param {string} name @param {Location} location */
const read = (name, location) =>
  new URLSearchParams(location.hash.slice(1)).get(name)?.trim() || null;

/** @param {string} name @param {string} value @param {Location} location */
function fragmentWith(name, value, location) {
  const parameters = new URLSearchParams(location.hash.slice(1));
  parameters.set(name, value);
  return `#${parameters}`;
}

/** @param {Location} [location] */
export const readToken = (location = window.location) => read('token', location);

/** @param {string} token @param {Location} [location] */
export function writeToken(token, location = window.location) {
  const hash = fragmentWith('token', token.trim(), location);
  if (hash === location.hash) {
    // The same once more, say after it was refused by mistake: the browser would tell nobody.
    window.dispatchEvent(new Event('hashchange'));
  } else {
    location.hash = hash;
  }
}

/** A currency's code; anything else is none. @param {Location} [location] */
export function readTotalsCurrency(location = window.location) {
  const currency = read('totals', location);
  return currency !== null && /^[A-Z][A-Z0-9]{2,11}$/.test(currency) ? currency : null;
}

/** Leaves no step in the browser's history. @param {string} currency */
export function writeTotalsCurrency(currency) {
  window.history.replaceState(null, '', fragmentWith('totals', currency, window.location));
  window.dispatchEvent(new Event('hashchange'));
}

/**
 * @typedef {object} Address
 * @property {string | null} token
 * @property {string | null} totalsCurrency
 */

/** @param {(address: Address) => void} onAddress told at once and at every change */
export function followAddress(onAddress) {
  const tell = () => onAddress({ token: readToken(), totalsCurrency: readTotalsCurrency() });
  window.addEventListener('hashchange', tell);
  tell();
}

/** @type {RangeName} */
const USUAL_RANGE = '1Y';

/** The range of the curve. @param {Location} [location] @returns {RangeName} */
export function readRange(location = window.location) {
  const range = read('range', location);
  return range !== null && Object.hasOwn(RANGES, range) ? /** @type {RangeName} */ (range) : USUAL_RANGE;
}

/** Nobody has to be told: who chooses it shows it. @param {RangeName} range */
export function writeRange(range) {
  window.history.replaceState(null, '', fragmentWith('range', range, window.location));
}
