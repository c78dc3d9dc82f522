/** What another page can use; docs/page.md shows how. */
export { connectPortfolio } from './connect.js';
export { createClockEstimate, pageNow } from './services/clock.js';
export { AcknowledgeError, CurveError, createPortfolioSocket } from './services/portfolioSocket.js';
export { createInbox } from './stores/inbox.js';
export { createLatency, summarize } from './stores/latency.js';
export * from './stores/portfolioStore.js';
