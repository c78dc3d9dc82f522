/**
 * The messages of subprotocol `tidemark.v1`, as glue/wire.py defines them: same names, same fields.
 * Every amount is a decimal string and stays one; null means unknown, never zero.
 */

export const SUBPROTOCOL = 'tidemark.v1';
export const HEARTBEAT_SECONDS = 5;

/** @typedef {string} Amount a decimal string, `^-?\d+(\.\d+)?$` */
/** @typedef {string} Instant ISO 8601 in UTC */

/**
 * Amounts in `currency`, at its scale.
 * @typedef {object} AccountState
 * @property {number} account_id
 * @property {string} name
 * @property {string} currency
 * @property {'netting' | 'hedging'} position_mode
 * @property {Amount} balance
 * @property {Amount} credit
 * @property {Amount | null} unrealized_pnl
 * @property {Amount | null} equity
 * @property {Amount | null} margin_equity
 * @property {Amount | null} margin_used
 * @property {Amount | null} margin_available
 * @property {Amount | null} margin_level a fraction, 2.5 is 250 %; null when no margin is used
 * @property {boolean} is_priced false when a position has no price or no conversion rate
 * @property {Instant | null} priced_at event time of the oldest quote that values a position
 * @property {number} version
 * @property {Instant} updated_at
 */

/**
 * An open position; `_quote` in `quote_currency`.
 * @typedef {object} Position
 * @property {string} symbol
 * @property {string} quote_currency
 * @property {'long' | 'short'} side
 * @property {Amount} quantity
 * @property {Amount} average_price
 * @property {Amount | null} price what closing would bring: the bid for a long, the ask for a short
 * @property {Amount | null} unrealized_pnl
 * @property {Amount | null} unrealized_pnl_quote
 * @property {Amount | null} conversion_rate
 * @property {Amount | null} margin_used
 * @property {boolean} is_priced
 * @property {Instant | null} priced_at event time of the quote
 */

/**
 * `realized_pnl` and `commission` in the account's currency.
 * @typedef {object} Fill
 * @property {number} fill_id
 * @property {number} event_seq
 * @property {string} symbol
 * @property {'buy' | 'sell'} side
 * @property {Amount} quantity
 * @property {Amount} price
 * @property {'open' | 'close' | 'flip' | 'reversal'} effect
 * @property {Amount} realized_pnl
 * @property {Amount} commission
 * @property {Instant} event_at
 * @property {Instant} recorded_at
 * @property {string | null} external_id
 */

/**
 * All that the page shows of an account; `fills` are the last ones, newest first.
 * @typedef {object} Portfolio
 * @property {number} account_id
 * @property {number} event_seq number of the account's last event
 * @property {AccountState} state
 * @property {Position[]} positions
 * @property {Fill[]} fills
 */

/** @typedef {{ type: 'hello', token: string, account_ids?: number[] | null }} Hello */
/** @typedef {{ type: 'resync' }} Resync */
/** @typedef {Hello | Resync} FromPage */

/** @typedef {{ type: 'snapshot', as_of: Instant, accounts: Portfolio[] }} Snapshot */

/**
 * @typedef {object} Update
 * @property {'update'} type
 * @property {number} account_id
 * @property {number} event_seq
 * @property {AccountState} state
 * @property {Position[]} positions
 */

/**
 * @typedef {object} Trade
 * @property {'trade'} type
 * @property {number} account_id
 * @property {number} event_seq
 * @property {Fill} fill
 * @property {AccountState} state
 * @property {Position[]} positions
 */

/**
 * @typedef {object} Heartbeat
 * @property {'heartbeat'} type
 * @property {Instant} sent_at
 * @property {boolean} database_ok
 * @property {Record<string, number>} event_seqs
 */

/**
 * Named after what it is on the wire, but not like JavaScript's own Error.
 * @typedef {object} RelayError
 * @property {'error'} type
 * @property {'bad_message' | 'bad_token' | 'not_allowed' | 'unavailable' | 'too_slow'} code
 * @property {string} message
 * @property {string} remedy
 */

/** @typedef {Snapshot | Update | Trade | Heartbeat | RelayError} FromRelay */

const TYPES = new Set(['snapshot', 'update', 'trade', 'heartbeat', 'error']);

/**
 * Reads one frame. A type that this page does not know yet is null and may be skipped; what is no
 * message at all throws a SyntaxError.
 * @param {unknown} text
 * @returns {FromRelay | null}
 */
export function parseMessage(text) {
  const message = JSON.parse(String(text));
  if (typeof message !== 'object' || message === null || typeof message.type !== 'string') {
    throw new SyntaxError('a message is an object with a type');
  }
  return TYPES.has(message.type) ? message : null;
}
