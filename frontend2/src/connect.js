import { pageNow } from './services/clock.js';
import { createPortfolioSocket } from './services/portfolioSocket.js';
import { PRICES_MS, createInbox } from './stores/inbox.js';
import { createLatency } from './stores/latency.js';
import { selectSince, usePortfolioStore } from './stores/portfolioStore.js';

/** How often the store is told the time, for what grows stale without any message. */
const TICK_MS = 1000;

/**
 * Fills `usePortfolioStore` from a relay, until it is stopped: reconnects, catches up with what was
 * missed, and asks for a snapshot where something is missing.
 *
 * @param {object} options
 * @param {string} options.url the relay's socket: `wss://…/ws`
 * @param {string} options.token
 * @param {number[] | null} [options.accountIds] null is all that the token opens
 * @param {string | null} [options.totalsCurrency] also totals of these accounts, in this currency
 * @param {boolean} [options.onlyTotals] nothing but the totals, whose currency has to be named
 * @param {(run: () => void) => void} [options.paintNow] with React: `flushSync`, so that what happened
 *   is on the page before anything else is done
 * @param {import('./stores/latency.js').Latency} [options.latency] where trades are measured
 * @param {Parameters<typeof createPortfolioSocket>[0]['onHello']} [options.onHello] told on each new
 *   connection, where the first curve can be asked for already
 * @param {new (url: string, protocols: string[]) => WebSocket} [options.Socket]
 */
export function connectPortfolio({ latency = createLatency(), paintNow, ...options }) {
  const { receive, setConnection, setClock, tick } = usePortfolioStore.getState();
  const inbox = createInbox({
    deliver: (messages) => receive(messages, Date.now()),
    onShown: latency.record,
    paintNow,
  });
  const socket = createPortfolioSocket({
    ...options,
    updatesASecond: 1000 / PRICES_MS,
    since: () => selectSince(usePortfolioStore.getState()),
    onMessage: inbox.accept,
    onConnection: setConnection,
    onClock: setClock,
  });
  const unsubscribe = usePortfolioStore.subscribe((state, before) => {
    if (state.wantsResync && !before.wantsResync) socket.resync();
  });
  const tellTime = () => tick(pageNow());
  const timer = setInterval(tellTime, TICK_MS);
  const retryNow = () => socket.retryNow();
  window.addEventListener('online', retryNow);
  tellTime();
  socket.start();
  return {
    requestCurve: socket.requestCurve,
    chooseTotals: socket.chooseTotals,
    acknowledge: socket.acknowledge,
    latency,
    /** Ends the connection; what the store holds stays until `forget()`. */
    stop() {
      unsubscribe();
      clearInterval(timer);
      window.removeEventListener('online', retryNow);
      socket.stop();
      inbox.clear();
    },
  };
}

/** @typedef {ReturnType<typeof connectPortfolio>} PortfolioConnection */
