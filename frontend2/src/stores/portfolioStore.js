import { create } from 'zustand';
import { IDLE } from '../services/portfolioSocket.js';
import { issuesOf } from './issues.js';

/**
 * @import {
 *   AlertChanged, BrokerChanged, DiscrepancyChanged, Heartbeat, Instant, Portfolio, Snapshot, Totals, TotalsChanged,
 *   Trade, Update
 * } from '../services/messages.js'
 * @import { ClockEstimate } from '../services/clock.js'
 * @import { Connection, StateMessage } from '../services/portfolioSocket.js'
 * @import { Issues } from './issues.js'
 */

/** Of each account; a longer history that a snapshot brings is kept as long as it is. */
export const FILLS_KEPT = 50;
/** Discrepancies and alerts of each account that are over; those that are open are all kept. */
export const CLOSED_EVENTS_KEPT = 100;

/** @typedef {DiscrepancyChanged | AlertChanged} EventMessage */

/**
 * Events of an account that the page cannot show: more happened while it was away than a snapshot
 * carries.
 * @typedef {object} Missed
 * @property {number} count
 * @property {Instant | null} after when the last event before them was recorded
 * @property {Instant | null} before when the first one after them was recorded
 */

/**
 * An account as the page holds it. `event_seq` is the last event up to which none is missing, `ahead`
 * are those beyond it that came too early; `events` are the latest of each discrepancy and alert.
 * @typedef {Omit<Portfolio, 'history_from'> & { ahead: number[], missed: Missed | null }} Held
 */

/**
 * What the page knows. Portfolios are replaced, never changed, so a selector can compare by
 * identity.
 *
 * @typedef {object} PortfolioData
 * @property {Connection} connection
 * @property {boolean} isSynced a snapshot of this connection has come
 * @property {boolean} wantsResync a snapshot is needed and none has come since
 * @property {number | null} databaseLostAt up to when the database is known to have been read, by the
 *   page's clock, in ms since 1970; null while it is there
 * @property {number | null} receivedAt when the last message came
 * @property {ClockEstimate | null} clock how the relay's clock stands to ours
 * @property {number | null} relayNow the relay's time, about once a second
 * @property {number[]} accountIds in the relay's order
 * @property {Record<number, Held>} portfolios by account
 * @property {Totals | null} totals of all accounts, where they were asked for
 * @property {boolean} mayAcknowledge whether the token allows to acknowledge discrepancies
 * @property {Issues} issues discrepancies and alerts of all accounts
 * @property {number | null} selectedId the account the user chose; see selectSelectedId
 */

/**
 * @typedef {object} PortfolioActions
 * @property {(messages: StateMessage[], receivedAt: number) => void} receive
 * @property {(connection: Connection) => void} setConnection
 * @property {(clock: ClockEstimate | null) => void} setClock
 * @property {(pageTime: number) => void} tick tells the time: freshness is a matter of it
 * @property {(accountId: number) => void} selectAccount
 * @property {() => void} dismissMissed the user has read what is not shown
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
  clock: null,
  relayNow: null,
  accountIds: [],
  portfolios: {},
  totals: null,
  mayAcknowledge: false,
  issues: { discrepancies: [], alerts: [] },
  selectedId: null,
};

// Reducers: from what the page knows and a message to what it knows then -----------------------

/**
 * The first snapshot of a connection wins over what looks newer: the database may be another one, or
 * set back. One that a resync asked for may cross a trade on its way and never takes back what came
 * after it was read.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Snapshot} message
 * @returns {S}
 */
export function applySnapshot(state, message) {
  /** @type {Record<number, Held>} */
  const portfolios = {};
  for (const portfolio of message.accounts) {
    const held = state.portfolios[portfolio.account_id];
    portfolios[portfolio.account_id] = withHistory(portfolio, held, state.isSynced);
  }
  const accountIds = message.accounts.map((portfolio) => portfolio.account_id);
  const isSameList =
    accountIds.length === state.accountIds.length &&
    accountIds.every((id, index) => id === state.accountIds[index]);
  return withIssues({
    ...state,
    isSynced: true,
    wantsResync: false,
    databaseLostAt: null,
    portfolios,
    accountIds: isSameList ? state.accountIds : accountIds,
    totals: message.totals,
    mayAcknowledge: message.may_acknowledge,
  });
}

/**
 * Of many accounts together, since each change of one copies the list of all.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Update[]} updates
 * @returns {S}
 */
export function applyUpdates(state, updates) {
  if (!state.isSynced) return state;
  let next = state;
  for (const message of updates) {
    const held = next.portfolios[message.account_id];
    if (!held) {
      next = wantResync(next);
      continue;
    }
    const portfolio = withNewerState(held, message);
    if (portfolio === held) continue;
    if (next.portfolios === state.portfolios) {
      next = { ...next, portfolios: { ...state.portfolios } };
    }
    next.portfolios[message.account_id] = portfolio;
  }
  return next;
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
  return applyNumbered(state, message, (held) => {
    const fills = [message.fill, ...held.fills].sort((a, b) => b.event_seq - a.event_seq);
    return { ...held, fills: fills.slice(0, Math.max(FILLS_KEPT, held.fills.length)) };
  });
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {EventMessage} message
 * @returns {S}
 */
export function applyEvent(state, message) {
  const next = applyNumbered(state, message, (held) => ({
    ...held,
    events: latestEvents([message, ...held.events]),
  }));
  return next.portfolios === state.portfolios ? next : withIssues(next);
}

/**
 * Of many accounts together, since each change of one copies the list of all.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {BrokerChanged[]} messages
 * @returns {S}
 */
export function applyBrokers(state, messages) {
  const known = messages.filter(({ account_id: id }) => state.portfolios[id]);
  if (!state.isSynced || known.length === 0) return state;
  const portfolios = { ...state.portfolios };
  for (const { account_id: id, broker } of known) {
    const held = portfolios[id];
    if (held) portfolios[id] = { ...held, broker };
  }
  return { ...state, portfolios };
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {TotalsChanged} message
 * @returns {S}
 */
export function applyTotals(state, message) {
  return state.isSynced ? { ...state, totals: message.totals } : state;
}

/**
 * A database that is back does not make the figures current: only a snapshot does.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Heartbeat} message
 * @returns {S}
 */
export function applyHeartbeat(state, message) {
  if (!message.database_ok) {
    const lostAt = Date.parse(message.data_at ?? message.sent_at) - (state.clock?.offset ?? 0);
    return { ...state, databaseLostAt: state.databaseLostAt ?? lostAt };
  }
  const hasMissed = Object.entries(message.event_seqs).some(
    ([id, eventSeq]) => eventSeq > (state.portfolios[Number(id)]?.event_seq ?? -1),
  );
  return state.isSynced && (hasMissed || state.databaseLostAt !== null) ? wantResync(state) : state;
}

/**
 * @template {PortfolioData} S
 * @param {S} state
 * @param {StateMessage[]} messages
 * @returns {S}
 */
export function applyMessages(state, messages) {
  let next = applyUpdates(
    state,
    messages.filter((message) => message.type === 'update'),
  );
  next = applyBrokers(
    next,
    messages.filter((message) => message.type === 'broker'),
  );
  for (const message of messages) {
    if (message.type === 'snapshot') next = applySnapshot(next, message);
    else if (message.type === 'trade') next = applyTrade(next, message);
    else if (message.type === 'totals') next = applyTotals(next, message);
    else if (message.type === 'heartbeat') next = applyHeartbeat(next, message);
    else if (message.type === 'discrepancy' || message.type === 'alert') next = applyEvent(next, message);
  }
  return next;
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
  return { ...state, connection, isSynced: false, wantsResync: false };
}

/** @template {PortfolioData} S @param {S} state @returns {S} */
function wantResync(state) {
  return state.wantsResync ? state : { ...state, wantsResync: true };
}

/**
 * What carries a number of its account counts once; a gap before it asks for a snapshot.
 * @template {PortfolioData} S
 * @param {S} state
 * @param {Trade | EventMessage} message
 * @param {(held: Held) => Held} add
 * @returns {S}
 */
function applyNumbered(state, message, add) {
  if (!state.isSynced) return state;
  const held = state.portfolios[message.account_id];
  if (!held) return wantResync(state);
  const eventSeq = message.event_seq;
  let portfolio = message.type === 'trade' ? withNewerState(held, message) : held;
  if (eventSeq > held.event_seq && !held.ahead.includes(eventSeq)) {
    portfolio = { ...add(portfolio), ...counted(held.event_seq, [...held.ahead, eventSeq]) };
  }
  if (portfolio === held) return state;
  const portfolios = { ...state.portfolios, [portfolio.account_id]: portfolio };
  const next = { ...state, portfolios };
  return portfolio.ahead.length > 0 ? wantResync(next) : next;
}

/** @param {number} eventSeq @param {number[]} others */
function counted(eventSeq, others) {
  const ahead = new Set(others);
  while (ahead.delete(eventSeq + 1)) eventSeq += 1;
  return { event_seq: eventSeq, ahead: [...ahead].filter((other) => other > eventSeq) };
}

/**
 * @param {Held} held
 * @param {Update | Trade} message
 * @returns {Held}
 */
function withNewerState(held, message) {
  if (message.state.version <= held.state.version) return held;
  return { ...held, state: message.state, positions: message.positions };
}

/**
 * An account of a snapshot, with what is held of it besides.
 * @param {Portfolio} portfolio
 * @param {Held | undefined} held
 * @param {boolean} isSynced whether what is held is of the same connection
 * @returns {Held}
 */
function withHistory({ history_from: historyFrom, ...portfolio }, held, isSynced) {
  const sent = { ...portfolio, events: latestEvents(portfolio.events) };
  if (!held || isOther(portfolio, held, isSynced)) return { ...sent, ahead: [], missed: null };
  const newest = isSynced && held.state.version > portfolio.state.version ? held : portfolio;
  const fills = new Map([...held.fills, ...portfolio.fills].map((fill) => [fill.event_seq, fill]));
  // What the snapshot does not name as open is over, unless it came after the snapshot was read.
  const heldEvents = held.events.filter(
    (event) => event.event_seq > portfolio.event_seq || !isOpen(event),
  );
  return {
    ...sent,
    state: newest.state,
    positions: newest.positions,
    fills: [...fills.values()]
      .sort((a, b) => b.event_seq - a.event_seq)
      .slice(0, Math.max(FILLS_KEPT, portfolio.fills.length)),
    events: latestEvents([...portfolio.events, ...heldEvents]),
    ...counted(Math.max(portfolio.event_seq, isSynced ? held.event_seq : 0), held.ahead),
    missed: withMissed(portfolio, historyFrom, held),
  };
}

/**
 * Numbers that go back, or a number that stands for something else: it is another database.
 * @param {Omit<Portfolio, 'history_from'>} portfolio
 * @param {Held} held
 * @param {boolean} isSynced
 */
function isOther(portfolio, held, isSynced) {
  if (isSynced) return false;
  if (Math.max(held.event_seq, ...held.ahead) > portfolio.event_seq) return true;
  const names = new Map(numbered(portfolio));
  return numbered(held).some(([eventSeq, name]) => (names.get(eventSeq) ?? name) !== name);
}

/**
 * What each number of an account stands for. Numbers of fills, discrepancies and alerts may have been
 * given again as well, so their times are told, too.
 * @param {Pick<Portfolio, 'fills' | 'events'>} account
 * @returns {[number, string][]}
 */
const numbered = ({ fills, events }) => [
  ...fills.map((fill) => named(fill.event_seq, `fill ${fill.fill_id}`, fill.recorded_at)),
  ...events.map((event) => named(event.event_seq, subjectOf(event), beganAt(event))),
];

/** @param {number} eventSeq @param {string} subject @param {Instant} at @returns {[number, string]} */
const named = (eventSeq, subject, at) => [eventSeq, `${subject} of ${at}`];

/**
 * @param {Omit<Portfolio, 'history_from'>} portfolio
 * @param {number} historyFrom
 * @param {Held} held
 * @returns {Missed | null}
 */
function withMissed(portfolio, historyFrom, held) {
  const early = held.ahead.filter((eventSeq) => eventSeq < historyFrom).length;
  const count = historyFrom - 1 - held.event_seq - early;
  if (count <= 0) return held.missed;
  const first = portfolio.fills.findLast((fill) => fill.event_seq >= historyFrom);
  return {
    count: count + (held.missed?.count ?? 0),
    after: held.missed ? held.missed.after : (held.fills[0]?.recorded_at ?? null),
    before: first?.recorded_at ?? null,
  };
}

// Discrepancies and alerts ----------------------------------------------------------------------

/** @param {EventMessage} event */
const subjectOf = (event) =>
  event.type === 'discrepancy'
    ? `discrepancy ${event.discrepancy.discrepancy_id}`
    : `alert ${event.alert.alert_id}`;

/** @param {EventMessage} event */
const beganAt = (event) =>
  event.type === 'discrepancy' ? event.discrepancy.opened_at : event.alert.raised_at;

/** @param {EventMessage} event */
const isOpen = (event) =>
  (event.type === 'discrepancy' ? event.discrepancy : event.alert).status !== 'resolved';

/**
 * The latest of each discrepancy and alert, newest first.
 * @param {EventMessage[]} events
 */
function latestEvents(events) {
  /** @type {Map<string, EventMessage>} */
  const latest = new Map();
  for (const event of events) {
    const subject = subjectOf(event);
    const other = latest.get(subject);
    if (!other || event.event_seq > other.event_seq) latest.set(subject, event);
  }
  let closed = 0;
  return [...latest.values()]
    .sort((a, b) => b.event_seq - a.event_seq)
    .filter((event) => isOpen(event) || (closed += 1) <= CLOSED_EVENTS_KEPT);
}

/** @template {PortfolioData} S @param {S} state @returns {S} */
function withIssues(state) {
  const events = state.accountIds.flatMap((id) => state.portfolios[id]?.events ?? []);
  return { ...state, issues: issuesOf(events) };
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

/**
 * What the account's broker said last; null where it is not compared with one.
 * @param {number} id
 */
export const selectBroker = (id) => (/** @type {PortfolioData} */ state) =>
  state.portfolios[id]?.broker;

/** @param {PortfolioData} state */
export const selectTotals = (state) => state.totals;

/** @param {PortfolioData} state */
export const selectIssues = (state) => state.issues;

/**
 * The last event held of each account: what to ask the relay to begin after.
 * @param {PortfolioData} state
 * @returns {Record<string, number> | null} null where nothing is held
 */
export function selectSince(state) {
  if (state.accountIds.length === 0) return null;
  return Object.fromEntries(state.accountIds.map((id) => [id, state.portfolios[id]?.event_seq ?? 0]));
}

/** Whether the figures on the page are the latest there are. @param {PortfolioData} state */
export const selectIsCurrent = (state) =>
  state.connection.phase === 'live' && state.databaseLostAt === null;

/**
 * Up to when the figures on the page are known to be the latest, in ms since 1970, by the page's
 * clock; null while they are.
 * @param {PortfolioData} state
 */
export function selectStaleSince({ connection: { phase, liveUntil }, databaseLostAt }) {
  if (phase === 'live' || liveUntil === null) return databaseLostAt;
  // The line may have been lost after the database: the figures are as old as the first of the two.
  return databaseLostAt === null ? liveUntil : Math.min(databaseLostAt, liveUntil);
}

/**
 * Whether it is past the instant up to which a price can be trusted, by the relay's clock.
 * @param {PortfolioData} state
 * @param {Instant | null | undefined} freshUntil
 */
export function isPast(state, freshUntil) {
  return freshUntil != null && state.relayNow !== null && state.relayNow > Date.parse(freshUntil);
}

/** Whether a quote that values the account is too old to be trusted. @param {number} id */
export const selectIsStale = (id) => (/** @type {PortfolioData} */ state) =>
  isPast(state, state.portfolios[id]?.state.fresh_until);

/** Whether an account should have been compared with its broker by now. @param {number} id */
export const selectIsOverdue = (id) => (/** @type {PortfolioData} */ state) =>
  isPast(state, state.portfolios[id]?.broker?.overdue_at);

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

/**
 * The currency that most accounts have; null where there are no totals to speak of.
 * @param {PortfolioData} state
 */
export function chooseTotalsCurrency({ accountIds, portfolios }) {
  if (accountIds.length < 2) return null;
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const id of accountIds) {
    const currency = portfolios[id]?.state.currency;
    if (currency) counts.set(currency, (counts.get(currency) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
}

/** Accounts with events that are not shown; a new list each time. @param {PortfolioData} state */
export const selectMissedIds = (state) =>
  state.accountIds.filter((id) => state.portfolios[id]?.missed != null);

/** @param {PortfolioData} state @returns {Record<number, Held>} */
function withoutMissed(state) {
  return Object.fromEntries(
    state.accountIds.flatMap((id) => {
      const held = state.portfolios[id];
      return held ? [[id, { ...held, missed: null }]] : [];
    }),
  );
}

export const usePortfolioStore = create(
  /** @type {import('zustand').StateCreator<PortfolioStore>} */ (
    (set) => ({
      ...EMPTY,
      receive: (messages, receivedAt) =>
        set((state) => ({ ...applyMessages(state, messages), receivedAt })),
      setConnection: (connection) => set((state) => applyConnection(state, connection)),
      setClock: (clock) => set({ clock }),
      tick: (pageTime) => set((state) => ({ relayNow: pageTime + (state.clock?.offset ?? 0) })),
      selectAccount: (accountId) => set({ selectedId: accountId }),
      dismissMissed: () => set((state) => ({ portfolios: withoutMissed(state) })),
      forget: () => set(EMPTY),
    })
  ),
);
