/** Messages as the relay sends them, with what a test does not name filled in. */

/** @import * as Wire from '#page/services/wire.js' */

export const AT = '2014-05-02T12:30:00.000Z';

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
  is_priced: true,
  priced_at: AT,
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

/** @param {Partial<Wire.Portfolio>} [fields] @returns {Wire.Portfolio} */
export const portfolio = ({ account_id = 1, ...fields } = {}) => ({
  account_id,
  event_seq: 0,
  state: state({ account_id }),
  positions: [position()],
  fills: [],
  ...fields,
});

/** @param {Wire.Portfolio[]} accounts @returns {Wire.Snapshot} */
export const snapshot = (...accounts) => ({ type: 'snapshot', as_of: AT, accounts });

/**
 * @param {Partial<Wire.AccountState>} [fields]
 * @param {Partial<Wire.Update>} [rest]
 * @returns {Wire.Update}
 */
export const update = (fields = {}, rest = {}) => ({
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
 * @returns {Wire.Trade}
 */
export const trade = (eventSeq, fields = {}) => ({
  type: 'trade',
  account_id: fields.account_id ?? 1,
  event_seq: eventSeq,
  fill: fill({ event_seq: eventSeq }),
  state: state({ version: 1 + eventSeq, ...fields }),
  positions: [position()],
});

/**
 * @param {Record<string, number>} eventSeqs
 * @param {Partial<Wire.Heartbeat>} [fields]
 * @returns {Wire.Heartbeat}
 */
export const heartbeat = (eventSeqs, fields = {}) => ({
  type: 'heartbeat',
  sent_at: AT,
  database_ok: true,
  event_seqs: eventSeqs,
  ...fields,
});

/**
 * @param {Wire.RelayError['code']} code
 * @returns {Wire.RelayError}
 */
export const relayError = (code) => ({
  type: 'error',
  code,
  message: 'What went wrong.',
  remedy: 'What to do.',
});
