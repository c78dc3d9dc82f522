import { createRoot } from 'react-dom/client';
import { flushSync } from 'react-dom';
import { App } from './components/App.jsx';
import { prepareChart } from './components/curveChart.js';
import { connectPortfolio } from './connect.js';
import { followAddress, readRange, writeTotalsCurrency } from './services/address.js';
import { AcknowledgeError, CurveError } from './services/portfolioSocket.js';
import { createCurveAhead, wishFor } from './stores/curveWish.js';
import { createLatency } from './stores/latency.js';
import { chooseTotalsCurrency, usePortfolioStore } from './stores/portfolioStore.js';

/** @import { PortfolioConnection } from './connect.js' */
/** @import { Address } from './services/address.js' */

const latency = createLatency();
// For whoever measures: described in docs/page.md.
Object.assign(window, {
  tidemark: {
    get latency() {
      return latency.trades();
    },
    get clock() {
      return usePortfolioStore.getState().clock;
    },
  },
});

const curveAhead = createCurveAhead();
/** @type {PortfolioConnection | null} */
let portfolio = null;
/** @type {Address} */
let current = { token: null, totalsCurrency: null };

followAddress((address) => {
  const isSameToken = address.token !== null && address.token === current.token;
  const hasOtherTotals = address.totalsCurrency !== current.totalsCurrency;
  current = address;
  if (portfolio && isSameToken && hasOtherTotals) {
    portfolio.chooseTotals(address.totalsCurrency);
    return;
  }
  portfolio?.stop();
  portfolio = null;
  usePortfolioStore.getState().forget();
  if (address.token === null) return;
  const url = new URL('ws', window.location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = '';
  portfolio = connectPortfolio({
    url: url.href,
    token: address.token,
    totalsCurrency: address.totalsCurrency,
    paintNow: (run) => flushSync(run),
    latency,
    onHello: (requestCurve) => curveAhead.ask(wishFor(null, readRange()), requestCurve),
  });
});

usePortfolioStore.subscribe((state, before) => {
  // Which currency suits can be told only once the accounts are here.
  if (state.accountIds === before.accountIds || current.totalsCurrency !== null) return;
  const currency = chooseTotalsCurrency(state);
  // After the figures have been painted: to change the address takes as long as half of them.
  if (currency !== null) requestAnimationFrame(() => setTimeout(writeTotalsCurrency, 0, currency));
});

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');
createRoot(root).render(
  <App
    latency={latency}
    requestCurve={async (wish, options) => {
      const { requestCurve } = portfolio ?? {};
      if (!requestCurve) throw new CurveError('disconnected');
      return curveAhead.take(wish, () => requestCurve(wish, options));
    }}
    acknowledge={async (discrepancyId, note) => {
      if (!portfolio) throw new AcknowledgeError('disconnected');
      return portfolio.acknowledge(discrepancyId, note);
    }}
  />,
);

// While the relay is being asked for the figures.
setTimeout(prepareChart);
