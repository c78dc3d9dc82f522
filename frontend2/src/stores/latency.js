import { pageNow, parseInstant } from '../services/clock.js';

/** @import { Trade } from '../services/messages.js' */

export const TRADES_KEPT = 1000;

/**
 * The way of one trade, in ms since 1970 with fractions: the first two by the clocks of database and
 * relay, the others by the page's.
 * @typedef {object} TradeTimes
 * @property {number} fill_id
 * @property {number | null} committed_at null where the database does not keep it
 * @property {number} read_at when the relay had it
 * @property {number} received_at when its message reached the page
 * @property {number} dom_at when the page's elements showed it
 * @property {number | null} painted_at when the frame that shows it was painted; null before, and for
 *   good where the page was hidden
 */

/**
 * Measures the last trades from commit to paint. A frame is painted after its callbacks have run, and
 * a message posted in one of them comes after the paint. A hidden page has no frames: how long a
 * trade waits there for one says nothing.
 *
 * @param {object} [options]
 * @param {() => number} [options.now]
 * @param {Pick<Window, 'requestAnimationFrame'>} [options.frames]
 * @param {(run: () => void) => void} [options.post]
 * @param {Pick<Document, 'hidden' | 'addEventListener' | 'removeEventListener'>} [options.page]
 */
export function createLatency({
  now = pageNow,
  frames = window,
  post = postMessage(),
  page = document,
} = {}) {
  /** @type {TradeTimes[]} */
  let trades = [];
  /** @type {TradeTimes[]} shown in the coming frame */
  let waiting = [];

  function forgetWaiting() {
    waiting = [];
    page.removeEventListener('visibilitychange', forgetWaiting);
  }

  function paint() {
    const shown = waiting;
    forgetWaiting();
    post(() => {
      const at = now();
      for (const times of shown) times.painted_at = at;
    });
  }

  return {
    /** To be called when the trade is in the page. @param {Trade} trade @param {number} receivedAt */
    record(trade, receivedAt) {
      const times = {
        fill_id: trade.fill.fill_id,
        committed_at: trade.committed_at === null ? null : parseInstant(trade.committed_at),
        read_at: parseInstant(trade.read_at),
        received_at: receivedAt,
        dom_at: now(),
        painted_at: null,
      };
      trades.push(times);
      if (trades.length > 2 * TRADES_KEPT) trades = trades.slice(-TRADES_KEPT);
      if (page.hidden) return;
      waiting.push(times);
      if (waiting.length > 1) return;
      page.addEventListener('visibilitychange', forgetWaiting);
      frames.requestAnimationFrame(paint);
    },
    /** The last trades, oldest first. */
    trades: () => trades.slice(-TRADES_KEPT),
  };
}

/** @typedef {ReturnType<typeof createLatency>} Latency */

function postMessage() {
  const { port1, port2 } = new MessageChannel();
  /** @type {(() => void)[]} */
  const runs = [];
  port1.onmessage = () => runs.shift()?.();
  return (/** @type {() => void} */ run) => {
    runs.push(run);
    port2.postMessage(null);
  };
}

/**
 * @typedef {object} Stretch ms
 * @property {number} last
 * @property {number} p50
 * @property {number} p99
 */

/**
 * The stretches of the way and the whole of it; null where no trade has it.
 * @typedef {Record<'relay' | 'wire' | 'page' | 'paint' | 'whole', Stretch | null>} Summary
 */

/**
 * @param {TradeTimes[]} trades
 * @param {number} offset ms to add to the page's clock to get the relay's
 * @returns {Summary & { count: number }}
 */
export function summarize(trades, offset) {
  const shown = trades.filter((times) => times.painted_at !== null).slice(-TRADES_KEPT);
  /** @param {(times: TradeTimes) => number | null} length */
  const stretch = (length) => stretchOf(shown.map(length).filter((one) => one !== null));
  return {
    count: shown.length,
    relay: stretch((one) => (one.committed_at === null ? null : one.read_at - one.committed_at)),
    wire: stretch((one) => one.received_at + offset - one.read_at),
    page: stretch((one) => one.dom_at - one.received_at),
    paint: stretch((one) => (one.painted_at ?? 0) - one.dom_at),
    whole: stretch((one) => (one.painted_at ?? 0) + offset - (one.committed_at ?? one.read_at)),
  };
}

/** @param {number[]} lengths oldest first @returns {Stretch | null} */
function stretchOf(lengths) {
  const last = lengths.at(-1);
  if (last === undefined) return null;
  const sorted = lengths.toSorted((a, b) => a - b);
  // The nearest rank: the smallest that at least this share does not exceed.
  const at = (/** @type {number} */ share) => sorted[Math.ceil(share * sorted.length) - 1] ?? last;
  return { last, p50: at(0.5), p99: at(0.99) };
}
