/** The ranges over which a curve is shown. */

const DAY_MS = 86_400_000;

/** @typedef {keyof typeof RANGES} RangeName */

export const RANGES = /** @type {const} */ ({
  '1D': { label: 'one day', lengthMs: DAY_MS },
  '7D': { label: 'seven days', lengthMs: 7 * DAY_MS },
  '1M': { label: 'one month', lengthMs: 30 * DAY_MS },
  '1Y': { label: 'one year', lengthMs: 365 * DAY_MS },
  all: { label: 'all of it', lengthMs: Infinity },
});

/** Nobody kept an electronic account before. */
const BEGINNING = Date.parse('1970-01-01T00:00:00Z');

/** @param {RangeName} name @param {number} now by the relay's clock, ms since 1970 */
export function rangeOf(name, now) {
  // Up to the end of this second: what moves now is in it.
  const to = Math.ceil(now / 1000) * 1000;
  return { from: Math.max(BEGINNING, to - RANGES[name].lengthMs), to };
}
