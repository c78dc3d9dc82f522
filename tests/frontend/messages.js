/** Messages as the relay sends them, with what a test does not name filled in. */

import { asFromRelay } from './contract.js';

/** @import * as Wire from '#page/services/messages.js' */

export const AT = '2014-05-02T12:30:00.000000Z';

/** @param {Partial<Wire.AccountState>} [fields] @returns {Wire.AccountState} */
export const state = (fields = {}) => ({
  account_id: 1,
  name: 'Harbour',
  currency: 'USD',
  position_mode: 'netting',
  balance: '1000.00',
  credit: '0.00',
  unrealized_pnl: '10.00',
  equity: '1010.00',
  margin_equity: '1010.50',
  margin_used: '100.00',
  margin_available: '910.00',
  margin_level: '10.1',
  margin_state: 'ok',
  is_priced: true,
  priced_at: AT,
  fresh_until: '2014-05-02T12:31:00.000000Z',
  net_flow: '1000.00',
  high_water_mark: '1015.00',
  high_water_at: AT,
  drawdown: '5.00',
  drawdown_pct: '0.004926108374',
  max_drawdown: '20.00',
  max_drawdown_pct: '0.02',
  under_water_since: AT,
  version: 1,
  updated_at: AT,
  ...fields,
});

/** @param {Partial<Wire.Position>} [fields] @returns {Wire.Position} */
export const position = (fields = {}) => ({
  symbol: 'EUR/USD',
  quote_currency: 'USD',
  side: 'long',
  quantity: '1000.00',
  average_price: '1.3869400000',
  price: '1.38705',
  unrealized_pnl: '0.11',
  unrealized_pnl_quote: '0.11',
  conversion_rate: '1.000000000000',
  margin_used: '46.23',
  is_priced: true,
  priced_at: AT,
  fresh_until: '2014-05-02T12:31:00.000000Z',
  ...fields,
});

/** @param {Partial<Wire.Fill>} [fields] @returns {Wire.Fill} */
export const fill = (fields = {}) => ({
  fill_id: 100 + (fields.event_seq ?? 1),
  event_seq: 1,
  symbol: 'EUR/USD',
  side: 'buy',
  quantity: '1000',
  price: '1.38694',
  effect: 'open',
  realized_pnl: '0.00',
  commission: '0.10',
  event_at: AT,
  recorded_at: AT,
  external_id: null,
  ...fields,
});

/** With a history that reaches back to the first event. @param {Partial<Wire.Portfolio>} [fields] @returns {Wire.Portfolio} */
export const portfolio = ({ account_id = 1, ...fields } = {}) => ({
  account_id,
  event_seq: 0,
  history_from: 1,
  state: state({ account_id }),
  positions: [position()],
  fills: [],
  events: [],
  broker: null,
  ...fields,
});

/** @param {Partial<Wire.Totals>} [fields] @returns {Wire.Totals} */
export const totals = (fields = {}) => ({
  currency: 'USD',
  accounts: 2,
  balance: '2000.00',
  credit: '0.00',
  unrealized_pnl: '20.00',
  equity: '2020.00',
  margin_equity: '2021.00',
  margin_used: '200.00',
  margin_available: '1820.00',
  margin_level: '10.1',
  is_priced: true,
  is_stale: false,
  priced_at: AT,
  unlinked_currency: null,
  ...fields,
});

/** @param {Wire.Portfolio[]} accounts @returns {Wire.Snapshot} */
export const snapshot = (...accounts) =>
  asFromRelay({ type: 'snapshot', as_of: AT, accounts, totals: null, may_acknowledge: false });

/** @param {Partial<Wire.Totals>} [fields] @returns {Wire.TotalsChanged} */
export const totalsChanged = (fields) => asFromRelay({ type: 'totals', totals: totals(fields) });

/**
 * @param {Partial<Wire.AccountState>} [fields]
 * @param {Partial<Wire.Update>} [rest]
 * @returns {Wire.Update}
 */
export const update = (fields = {}, rest = {}) =>
  asFromRelay({
    type: 'update',
    account_id: fields.account_id ?? 1,
    event_seq: 0,
    state: state(fields),
    positions: [position()],
    ...rest,
  });

/**
 * @param {number} eventSeq
 * @param {Partial<Wire.AccountState>} [fields]
 * @param {Partial<Wire.Trade>} [rest]
 * @returns {Wire.Trade}
 */
export const trade = (eventSeq, fields = {}, rest = {}) =>
  asFromRelay({
    type: 'trade',
    account_id: fields.account_id ?? 1,
    event_seq: eventSeq,
    fill: fill({ event_seq: eventSeq }),
    committed_at: AT,
    read_at: AT,
    state: state({ version: 1 + eventSeq, ...fields }),
    positions: [position()],
    ...rest,
  });

/**
 * @param {number} eventSeq
 * @param {Partial<Wire.Discrepancy>} [fields]
 * @param {number} [accountId]
 * @returns {Wire.DiscrepancyChanged}
 */
export const discrepancy = (eventSeq, fields = {}, accountId = 1) =>
  asFromRelay({
    type: 'discrepancy',
    account_id: accountId,
    event_seq: eventSeq,
    recorded_at: AT,
    discrepancy: {
      discrepancy_id: 5,
      cause: 'missing_fill',
      severity: 'warning',
      symbol: 'EUR/USD',
      field: 'quantity',
      ours: '1000',
      theirs: '3000',
      difference: '-2000',
      unit: 'EUR',
      status: 'open',
      opened_at: AT,
      last_seen_at: AT,
      acknowledged_at: null,
      acknowledged_by: null,
      note: null,
      resolved_at: null,
      message: 'A fill of 2,000 EUR/USD is missing here.',
      ...fields,
    },
  });

/**
 * @param {number} eventSeq
 * @param {Partial<Wire.Alert>} [fields]
 * @param {number} [accountId]
 * @returns {Wire.AlertChanged}
 */
export const alert = (eventSeq, fields = {}, accountId = 1) =>
  asFromRelay({
    type: 'alert',
    account_id: accountId,
    event_seq: eventSeq,
    recorded_at: AT,
    alert: {
      alert_id: 8,
      kind: 'broker_unreachable',
      severity: 'critical',
      status: 'raised',
      title: 'The broker does not answer',
      message: 'Nothing has been compared for five minutes.',
      raised_at: AT,
      resolved_at: null,
      discrepancy_id: null,
      ...fields,
    },
  });

/** Three points an hour apart, unless told otherwise. @param {Partial<Wire.Curve>} [fields] @returns {Wire.Curve} */
export const curve = (fields = {}) =>
  asFromRelay({
    type: 'curve',
    account_id: 1,
    from_at: '2014-05-02T09:00:00.000000Z',
    to_at: AT,
    at: ['09:00', '10:00', '11:00'].map((time) => `2014-05-02T${time}:00.000000Z`),
    open: ['1000.00', '1005.00', null],
    high: ['1010.00', '1020.00', null],
    low: ['995.00', '1000.00', null],
    close: ['1005.00', '1010.00', null],
    performance: ['5.00', '10.00', null],
    drawdown: ['15.00', '20.00', null],
    drawdown_pct: ['0.0148', '0.0196', null],
    ...fields,
  });

/**
 * @param {Record<string, number>} eventSeqs
 * @param {Partial<Wire.Heartbeat>} [fields]
 * @returns {Wire.Heartbeat}
 */
export const heartbeat = (eventSeqs, fields = {}) =>
  asFromRelay({
    type: 'heartbeat',
    sent_at: AT,
    database_ok: true,
    data_at: AT,
    event_seqs: eventSeqs,
    ...fields,
  });

/** @param {number} sentAt @param {Wire.Instant} receivedAt @returns {Wire.Pong} */
export const pong = (sentAt, receivedAt) =>
  asFromRelay({ type: 'pong', sent_at: sentAt, received_at: receivedAt });

/**
 * @param {Wire.RelayError['code']} code
 * @returns {Wire.RelayError}
 */
export const relayError = (code) =>
  asFromRelay({ type: 'error', code, message: 'What went wrong.', remedy: 'What to do.' });
