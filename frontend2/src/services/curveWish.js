import { rangeOf } from '../ranges.js';
import { usePortfolioStore } from '../stores/portfolioStore.js';
import { pageNow } from './clock.js';
import { MAX_POINTS } from './messages.js';

/**
 * @import { Curve } from './messages.js'
 * @import { CurveWish } from './portfolioSocket.js'
 * @import { RangeName } from '../ranges.js'
 */

/** The relay's time, as far as it is known. */
export const relayNow = () => pageNow() + (usePortfolioStore.getState().clock?.offset ?? 0);

/** @param {number} accountId @param {RangeName} range @returns {CurveWish} */
export function wishFor(accountId, range) {
  const { from, to } = rangeOf(range, relayNow());
  return {
    account_id: accountId,
    from_at: new Date(from).toISOString(),
    to_at: new Date(to).toISOString(),
    // A point for each pixel; more could not be seen. To measure the plot would lay out the page.
    points: Math.min(MAX_POINTS, Math.max(100, window.innerWidth)),
  };
}

/**
 * The curve that will be asked for first, asked for already: it comes while the figures are painted.
 */
export function createCurveAhead() {
  /** @type {{ wish: string, curve: Promise<Curve> } | null} */
  let ahead = null;
  return {
    /** @param {CurveWish} wish @param {(wish: CurveWish) => Promise<Curve>} request */
    ask(wish, request) {
      const curve = request(wish);
      curve.catch(() => {}); // told to whoever takes it
      ahead = { wish: JSON.stringify(wish), curve };
    },
    /** Once, and only what was asked for. @param {CurveWish} wish */
    take(wish) {
      const found = ahead?.wish === JSON.stringify(wish) ? ahead.curve : null;
      ahead = null;
      return found;
    },
  };
}
