import { create } from 'zustand';
import { IDLE } from '../services/portfolioSocket.js';

/**
 * @import {
 *   Fill, FromRelay, Heartbeat, Portfolio, RelayError, Snapshot, Trade, Update
 * } from '../services/wire.js'
 * @import { Connection } from '../services/portfolioSocket.js'
 */

export const FILLS_KEPT = 50;

/** @typedef {Exclude<FromRelay, RelayError>} StateMessage */

/**
 * What the page knows. Portfolios are replaced, never changed, so a selector can compare by
 * identity; `event_seq` of one is the last event up to which none is missing.
 *
 * @typedef {object} PortfolioData
 * @property {Connection} connection
 * @property {boolean} isSynced a snapshot of this connection has come
 * @property {boolean} wantsResync an event is missing and no snapshot has come since
 * @property {number | null} databaseLostAt since when the relay has been without its database
 * @property {number | null} receivedAt when the last message came
 * @property {number | null} clockOffset what to take from our clock to get the relay's, ms
 * @property {number[]} accountIds in the relay's order
 * @property {Record<number, Portfolio>} portfolios by account
 * @property {number | null} selectedId the account the user chose; see selectSelectedId
 */

/**
 * @typedef {object} PortfolioActions
 * @property {(messages: StateMessage[], receivedAt: number) => void} receive
 * @property {(connection: Connection) => void} setConnection
 * @property {(accountId: number) => void} selectAccount
 * @property {() => void} forget
 */

/** @typedef {PortfolioData & PortfolioActions} PortfolioStore */

/** @type {PortfolioData} */
export const EMPTY = {
  connection: IDLE,
  isSynced: false,
  wantsResync: false,
  databaseLostAt: null,
  receivedAt: null,
  clockOffset: null,
  accountIds: [],
  portfolios: {},
  selectedId: null,
};

// Reducers: from what the page knows and a message to what it knows then -----------------------

/**
 * The first snapshot of a connection replaces everything, also what looks newer: the database may
 * be another one. One that a resync asked for may cross a trade on its way and never takes back
 * what came after it was read.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Snapshot} message
 * @returns {S}
 */
export function applySnapshot(state, message) {
  /** @type {Record<number, Portfolio>} */
  const portfolios = {};
  for (const portfolio of message.accounts) {
    const held = state.isSynced ? state.portfolios[portfolio.account_id] : undefined;
    const base = held && held.state.version > portfolio.state.version ? held : portfolio;
    portfolios[portfolio.account_id] = withFills({ ...base, event_seq: portfolio.event_seq }, [
      ...portfolio.fills,
      ...(held?.fills ?? []),
    ]);
  }
  const accountIds = message.accounts.map((portfolio) => portfolio.account_id);
  const isSameList =
    accountIds.length === state.accountIds.length &&
    accountIds.every((id, index) => id === state.accountIds[index]);
  return {
    ...state,
    isSynced: true,
    wantsResync: false,
    databaseLostAt: null,
    portfolios,
    accountIds: isSameList ? state.accountIds : accountIds,
  };
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Update} message
 * @returns {S}
 */
export function applyUpdate(state, message) {
  if (!state.isSynced) return state;
  const held = state.portfolios[message.account_id];
  if (!held) return wantResync(state);
  return withPortfolio(state, held, withNewerState(held, message));
}

/**
 * The fill is shown once, whatever the order of arrival, and also where the state that came with
 * it is older than the one held.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Trade} message
 * @returns {S}
 */
export function applyTrade(state, message) {
  if (!state.isSynced) return state;
  const held = state.portfolios[message.account_id];
  if (!held) return wantResync(state);
  let portfolio = withNewerState(held, message);
  if (message.event_seq > held.event_seq) {
    portfolio = withFills(portfolio, [message.fill, ...held.fills]);
  }
  const next = withPortfolio(state, held, portfolio);
  return message.event_seq > portfolio.event_seq ? wantResync(next) : next;
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Heartbeat} message
 * @param {number} receivedAt
 * @returns {S}
 */
export function applyHeartbeat(state, message, receivedAt) {
  // The quickest heartbeat tells the difference of the clocks best.
  const offset = receivedAt - Date.parse(message.sent_at);
  const next = {
    ...state,
    databaseLostAt: message.database_ok ? null : (state.databaseLostAt ?? receivedAt),
    clockOffset: Math.min(offset, state.clockOffset ?? offset),
  };
  const hasMissed = Object.entries(message.event_seqs).some(
    ([id, eventSeq]) => eventSeq > (state.portfolios[Number(id)]?.event_seq ?? -1),
  );
  return state.isSynced && hasMissed ? wantResync(next) : next;
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {StateMessage} message
 * @param {number} receivedAt
 * @returns {S}
 */
export function applyMessage(state, message, receivedAt) {
  switch (message.type) {
    case 'snapshot':
      return applySnapshot(state, message);
    case 'update':
      return applyUpdate(state, message);
    case 'trade':
      return applyTrade(state, message);
    case 'heartbeat':
      return applyHeartbeat(state, message, receivedAt);
  }
}

/**
 * What is shown stays when the line is lost, but only a new snapshot makes it count again.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Connection} connection
 * @returns {S}
 */
export function applyConnection(state, connection) {
  if (connection.phase === 'live') return { ...state, connection };
  return { ...state, connection, isSynced: false, wantsResync: false, clockOffset: null };
}

/** @template {PortfolioData} S @param {S} state @returns {S} */
function wantResync(state) {
  return state.wantsResync ? state : { ...state, wantsResync: true };
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Portfolio} held
 * @param {Portfolio} portfolio
 * @returns {S}
 */
function withPortfolio(state, held, portfolio) {
  if (portfolio === held) return state;
  return { ...state, portfolios: { ...state.portfolios, [portfolio.account_id]: portfolio } };
}

/**
 * @param {Portfolio} held
 * @param {Update | Trade} message
 * @returns {Portfolio}
 */
function withNewerState(held, message) {
  if (message.state.version <= held.state.version) return held;
  return { ...held, state: message.state, positions: message.positions };
}

/**
 * Each fill once, newest first; and `event_seq` moves on over those that are there.
 * @param {Portfolio} portfolio
 * @param {Fill[]} fills
 * @returns {Portfolio}
 */
function withFills(portfolio, fills) {
  const bySeq = new Map(fills.map((fill) => [fill.event_seq, fill]));
  let eventSeq = portfolio.event_seq;
  while (bySeq.has(eventSeq + 1)) eventSeq += 1;
  const ordered = [...bySeq.values()].sort((a, b) => b.event_seq - a.event_seq);
  return { ...portfolio, event_seq: eventSeq, fills: ordered.slice(0, FILLS_KEPT) };
}

// Selectors: each gives back what is held, so that nothing renders without a change ------------

/** @param {PortfolioData} state */
export const selectAccountIds = (state) => state.accountIds;

/** The chosen account, or the first one as long as none is. @param {PortfolioData} state */
export const selectSelectedId = (state) =>
  state.selectedId !== null && state.portfolios[state.selectedId]
    ? state.selectedId
    : (state.accountIds[0] ?? null);

/** @param {number} id */
export const selectState = (id) => (/** @type {PortfolioData} */ state) =>
  state.portfolios[id]?.state;

/** @param {number} id */
export const selectPositions = (id) => (/** @type {PortfolioData} */ state) =>
  state.portfolios[id]?.positions;

/** @param {number} id */
export const selectFills = (id) => (/** @type {PortfolioData} */ state) =>
  state.portfolios[id]?.fills;

/** Whether the figures on the page are the latest there are. @param {PortfolioData} state */
export const selectIsCurrent = (state) =>
  state.connection.phase === 'live' && state.databaseLostAt === null;

/**
 * Event time of the oldest quote that values a position of any account.
 * @param {PortfolioData} state
 * @returns {string | null}
 */
export function selectPricedAt(state) {
  let oldest = null;
  for (const id of state.accountIds) {
    const pricedAt = state.portfolios[id]?.state.priced_at ?? null;
    if (pricedAt !== null && (oldest === null || Date.parse(pricedAt) < Date.parse(oldest))) {
      oldest = pricedAt;
    }
  }
  return oldest;
}

export const usePortfolioStore = create(
  /** @type {import('zustand').StateCreator<PortfolioStore>} */ (
    (set) => ({
      ...EMPTY,
      receive: (messages, receivedAt) =>
        set((state) =>
          messages.reduce((next, message) => applyMessage(next, message, receivedAt), {
            ...state,
            receivedAt,
          }),
        ),
      setConnection: (connection) => set((state) => applyConnection(state, connection)),
      selectAccount: (accountId) => set({ selectedId: accountId }),
      forget: () => set(EMPTY),
    })
  ),
);
