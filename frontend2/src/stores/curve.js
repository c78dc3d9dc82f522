import { compareAmounts } from '../format.js';

/** @import { AccountState, Amount, Curve } from '../services/messages.js' */

/**
 * A curve as it is drawn: numbers, which is as fine as a pixel needs, and beside them the exact
 * amounts for what is written.
 * @typedef {object} Columns
 * @property {number} from ms since 1970
 * @property {number[]} at ms since 1970
 * @property {(Amount | null)[]} equity
 * @property {(Amount | null)[]} drawdown
 * @property {(Amount | null)[]} share the drawdown as a fraction
 * @property {number | null} peak the highest performance of the range
 */

/** @param {Curve} curve @returns {Columns} */
export function columnsOf(curve) {
  return {
    from: Date.parse(curve.from_at),
    at: curve.at.map((at) => Date.parse(at)),
    equity: curve.close,
    drawdown: curve.drawdown,
    share: curve.drawdown_pct,
    peak: peakOf(curve),
  };
}

/** Highs are of equity; performance differs from it by the flows to date. @param {Curve} curve */
function peakOf({ performance, high, close }) {
  let peak = null;
  for (const [index, value] of performance.entries()) {
    if (value === null) continue;
    const above = Number(high[index] ?? 0) - Number(close[index] ?? 0);
    const highest = Number(value) + Math.max(0, above);
    if (peak === null || highest > peak) peak = highest;
  }
  return peak;
}

/**
 * The curve up to now: its last point is the account as it stands.
 * @param {Columns} columns
 * @param {AccountState | undefined} account
 * @param {number} now by the relay's clock
 * @returns {Columns}
 */
export function withLiveEnd(columns, account, now) {
  const last = columns.at.at(-1);
  if (!account || account.equity === null || last === undefined || now <= last) return columns;
  const { drawdown, share } = liveDrawdown(columns, account);
  return {
    ...columns,
    at: [...columns.at, now],
    equity: [...columns.equity, account.equity],
    drawdown: [...columns.drawdown, drawdown],
    share: [...columns.share, share],
  };
}

/**
 * The account's drawdown is measured from its high-water mark, the curve's from the peak of its range:
 * they are one where the mark was reached within the range.
 * @param {Columns} columns
 * @param {AccountState} account
 * @returns {{ drawdown: Amount | null, share: Amount | null }}
 */
function liveDrawdown({ from, peak }, account) {
  const markAt = account.high_water_at;
  if (markAt !== null && Date.parse(markAt) >= from) {
    return { drawdown: account.drawdown, share: account.drawdown_pct };
  }
  if (peak === null || account.equity === null) return { drawdown: null, share: null };
  const performance = Number(account.equity) - Number(account.net_flow);
  const decimals = account.equity.split('.')[1]?.length ?? 0;
  return { drawdown: Math.max(0, peak - performance).toFixed(decimals), share: null };
}

/** @param {Curve} curve @returns {Amount | null} */
export function deepest({ drawdown }) {
  let depth = null;
  for (const value of drawdown) {
    if (value !== null && (depth === null || compareAmounts(value, depth) > 0)) depth = value;
  }
  return depth;
}
