/** @import { StateMessage } from '../services/portfolioSocket.js' */
/** @import { BrokerChanged, TotalsChanged, Trade, Update } from '../services/messages.js' */

/** A human reads no faster, and each paint of prices costs the machine time that trades want. */
export const PRICES_MS = 100;
/** In which all accounts that were read together arrive. */
const TOGETHER_MS = 4;

/**
 * Stands between the socket and the store. Prices are painted ten times a second at the most, merged
 * to the latest per account (so what waits is bounded by the number of accounts), in a hidden page
 * too; what happened is shown at once.
 * Only where showing it takes longer than the time to the next of its kind, those that come meanwhile
 * are shown together: half of the time is left for the rest of the page.
 *
 * @param {object} options
 * @param {(messages: StateMessage[]) => void} options.deliver
 * @param {(run: () => void) => void} [options.paintNow] runs what must not wait for a frame
 * @param {(trade: Trade, receivedAt: number) => void} [options.onShown] told once a trade is shown
 * @param {() => number} [options.now]
 * @param {Pick<Window, 'setTimeout' | 'clearTimeout'>} [options.timers]
 */
export function createInbox({
  deliver,
  paintNow = (run) => run(),
  onShown = () => {},
  now = () => performance.now(),
  timers = window,
}) {
  /** @type {Map<number, Update>} */
  const prices = new Map();
  /** @type {Map<number, BrokerChanged>} */
  const brokers = new Map();
  /** @type {TotalsChanged | null} */
  let totals = null;
  let pricesTimer = 0;
  let pricesAt = -Infinity;
  /** @type {{ message: StateMessage, receivedAt: number }[]} */
  let happened = [];
  let happenedTimer = 0;
  let shownAt = -Infinity;
  let showingTook = 0;

  function flushPrices() {
    timers.clearTimeout(pricesTimer);
    pricesTimer = 0;
    const messages = [...prices.values(), ...brokers.values(), ...(totals === null ? [] : [totals])];
    if (messages.length === 0) return;
    prices.clear();
    brokers.clear();
    totals = null;
    pricesAt = now();
    deliver(messages);
  }

  /** The first after a while soon, together with those that come with it. */
  function flushPricesSoon() {
    pricesTimer ||= timers.setTimeout(flushPrices, Math.max(TOGETHER_MS, pricesAt + PRICES_MS - now()));
  }

  function showHappened() {
    timers.clearTimeout(happenedTimer);
    happenedTimer = 0;
    const shown = happened;
    happened = [];
    if (shown.length === 0) return;
    const beganAt = now();
    paintNow(() => deliver(shown.map(({ message }) => message)));
    shownAt = now();
    showingTook = shownAt - beganAt;
    for (const { message, receivedAt } of shown) {
      if (message.type === 'trade') onShown(message, receivedAt);
    }
  }

  /** @param {StateMessage} message @param {number} receivedAt */
  function accept(message, receivedAt) {
    switch (message.type) {
      case 'update': {
        const other = prices.get(message.account_id);
        if (!other || message.state.version > other.state.version) {
          prices.set(message.account_id, message);
        }
        flushPricesSoon();
        break;
      }
      case 'broker':
        brokers.set(message.account_id, message);
        flushPricesSoon();
        break;
      case 'totals':
        totals = message;
        flushPricesSoon();
        break;
      case 'trade':
      case 'discrepancy':
      case 'alert':
        happened.push({ message, receivedAt });
        if (now() - shownAt >= showingTook) showHappened();
        else happenedTimer ||= timers.setTimeout(showHappened, 0);
        break;
      case 'snapshot':
        flushPrices();
        showHappened();
        deliver([message]);
        break;
      default:
        showHappened();
        deliver([message]);
    }
  }

  /** Leaves out what waits. */
  function clear() {
    timers.clearTimeout(pricesTimer);
    timers.clearTimeout(happenedTimer);
    pricesTimer = happenedTimer = 0;
    prices.clear();
    brokers.clear();
    totals = null;
    happened = [];
  }

  return { accept, clear };
}
