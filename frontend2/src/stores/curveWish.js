import { rangeOf } from '../ranges.js';
import { usePortfolioStore } from './portfolioStore.js';
import { pageNow } from '../services/clock.js';
import { MAX_POINTS } from '../services/messages.js';

/**
 * @import { Curve } from '../services/messages.js'
 * @import { CurveWish } from '../services/portfolioSocket.js'
 * @import { RangeName } from '../ranges.js'
 */

/** The relay's time, as far as it is known. */
export const relayNow = () => pageNow() + (usePortfolioStore.getState().clock?.offset ?? 0);

/** @param {number | null} accountId null is the first @param {RangeName} range @returns {CurveWish} */
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
  /** @type {{ wish: CurveWish, curve: Promise<Curve> } | null} */
  let ahead = null;
  return {
    /** @param {CurveWish} wish @param {(wish: CurveWish) => Promise<Curve>} request */
    ask(wish, request) {
      const curve = request(wish);
      curve.catch(() => {}); // told to whoever takes it
      ahead = { wish, curve };
    },
    /**
     * What was asked for ahead, where it is this; once. Otherwise it is asked for now.
     * @param {CurveWish} wish
     * @param {(wish: CurveWish) => Promise<Curve>} request
     */
    async take(wish, request) {
      const found = ahead;
      ahead = null;
      if (found === null || nameOf(found.wish) !== nameOf(wish)) return request(wish);
      const curve = await found.curve;
      return curve.account_id === wish.account_id ? curve : request(wish);
    },
  };
}

/** All but the account, which the answer names. @param {CurveWish} wish */
const nameOf = ({ from_at: fromAt, to_at: toAt, points }) => `${fromAt} ${toAt} ${points}`;
