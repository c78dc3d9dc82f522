/** The ranges over which a curve is shown. */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** @typedef {keyof typeof RANGES} RangeName */

/** They begin and end with a unit of which the database has whole bars. */
export const RANGES = /** @type {const} */ ({
  '1D': { label: 'one day', lengthMs: DAY_MS, unitMs: MINUTE_MS },
  '7D': { label: 'seven days', lengthMs: 7 * DAY_MS, unitMs: HOUR_MS },
  '1M': { label: 'one month', lengthMs: 30 * DAY_MS, unitMs: HOUR_MS },
  '1Y': { label: 'one year', lengthMs: 365 * DAY_MS, unitMs: DAY_MS },
  all: { label: 'all of it', lengthMs: Infinity, unitMs: DAY_MS },
});

/** Nobody kept an electronic account before. */
const BEGINNING = Date.parse('1970-01-01T00:00:00Z');

/** @param {RangeName} name @param {number} now by the relay's clock, ms since 1970 */
export function rangeOf(name, now) {
  const { lengthMs, unitMs } = RANGES[name];
  const from = Math.max(BEGINNING, now - lengthMs);
  return { from: Math.floor(from / unitMs) * unitMs, to: Math.ceil(now / unitMs) * unitMs };
}
