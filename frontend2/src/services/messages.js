/**
 * The messages of subprotocol `tidemark.v1`, made from glue/wire.py by `make docs`.
 *
 * Every amount is a decimal string made in SQL, and null where it is unknown. Instants are ISO 8601
 * in UTC. State is carried whole: a client keeps, per account, the state with the highest
 * `version`. What happens (trades, discrepancies, alerts) is numbered without gaps per account by
 * `event_seq`: who finds a number missing asks for a new snapshot.
 */

export const SUBPROTOCOL = 'tidemark.v1';
export const HEARTBEAT_SECONDS = 5;
export const MAX_ACCOUNTS = 1000;
export const MAX_POINTS = 2000;
export const MAX_UPDATES_A_SECOND = 20;
export const MAX_NOTE = 2000;

export const ERROR_CODES = /** @type {const} */ ([
  'bad_message',
  'bad_token',
  'not_allowed',
  'unavailable',
  'too_slow',
  'too_many',
  'rate_limited',
]);

export const MESSAGE_TYPES = /** @type {const} */ ([
  'snapshot',
  'update',
  'trade',
  'discrepancy',
  'alert',
  'broker',
  'totals',
  'curve',
  'refused',
  'pong',
  'heartbeat',
  'error',
]);

/**
 * @typedef {string} Amount A decimal string.
 */

/**
 * @typedef {string} Instant ISO 8601 in UTC, up to microseconds.
 */

/**
 * @typedef {string} Currency Such as USD.
 */

/**
 * @typedef {number} AccountId
 */

/**
 * @typedef {number} EventSeq
 */

/**
 * @typedef {Record<string, EventSeq>} Since
 */

/**
 * @typedef {'info' | 'warning' | 'critical'} Severity
 */

/**
 * @typedef {'bad_message' | 'bad_token' | 'not_allowed' | 'unavailable' | 'too_slow' | 'too_many'
 *   | 'rate_limited'} ErrorCode
 */

/**
 * @typedef {'not_allowed' | 'unknown' | 'resolved' | 'acknowledged' | 'unavailable'} RefusedCode
 */

/**
 * A row of api.account_states with the account's name; amounts in `currency`, at its scale.
 * @typedef {object} AccountState
 * @property {number} account_id
 * @property {string} name
 * @property {Currency} currency
 * @property {'netting' | 'hedging'} position_mode
 * @property {Amount} balance
 * @property {Amount} credit
 * @property {Amount | null} unrealized_pnl
 * @property {Amount | null} equity
 * @property {Amount | null} margin_equity
 * @property {Amount | null} margin_used
 * @property {Amount | null} margin_available
 * @property {Amount | null} margin_level A fraction: 2.5 is 250 %; null when no margin is used.
 * @property {'ok' | 'margin_call' | 'close_out' | null} margin_state By the account's levels; null
 *   while a figure is unknown.
 * @property {boolean} is_priced False when a position has no price or no conversion rate: figures
 *   that need it are null.
 * @property {Instant | null} priced_at Event time of the oldest quote that values or converts a
 *   position; null without positions.
 * @property {Instant | null} fresh_until When the first of these quotes becomes stale; null without
 *   positions. To be compared with the relay's clock: a price goes stale without any message.
 * @property {Amount} net_flow Sum of the deposits, withdrawals and credits.
 * @property {Amount | null} high_water_mark Equity at which the account is at its highest
 *   performance so far.
 * @property {Instant | null} high_water_at When that was reached; null before the first bar of its
 *   curve.
 * @property {Amount | null} drawdown high_water_mark − equity.
 * @property {Amount | null} drawdown_pct Fall of the growth index from its highest, as a fraction;
 *   null while it is unknown.
 * @property {Amount | null} max_drawdown
 * @property {Amount | null} max_drawdown_pct
 * @property {Instant | null} under_water_since high_water_at while there is a drawdown, else null.
 * @property {number} version Grows with every change: of two states the one with the higher version
 *   is the newer one.
 * @property {Instant} updated_at
 */

/**
 * A row of api.positions: an open position; `_quote` in `quote_currency`.
 * @typedef {object} Position
 * @property {string} symbol
 * @property {Currency} quote_currency
 * @property {'long' | 'short'} side
 * @property {Amount} quantity
 * @property {Amount} average_price
 * @property {Amount | null} price What closing would bring: the bid for a long, the ask for a
 *   short.
 * @property {Amount | null} unrealized_pnl
 * @property {Amount | null} unrealized_pnl_quote
 * @property {Amount | null} conversion_rate
 * @property {Amount | null} margin_used
 * @property {boolean} is_priced
 * @property {Instant | null} priced_at Event time of the oldest quote that values or converts it.
 * @property {Instant | null} fresh_until When the first of these quotes becomes stale, by the
 *   relay's clock.
 */

/**
 * A row of api.fills; `realized_pnl` and `commission` in the account's currency.
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
 * A difference between the broker's books and ours, as it stands now.
 * @typedef {object} Discrepancy
 * @property {number} discrepancy_id
 * @property {'missing_fill' | 'extra_fill' | 'quantity' | 'average_price' | 'balance' | 'financing'
 *   | 'margin' | 'price_side' | 'conversion' | 'stale_price' | 'unknown'} cause
 * @property {Severity} severity
 * @property {string | null} symbol
 * @property {'quantity' | 'average_price' | 'balance' | 'equity' | 'unrealized_pnl' | 'margin_used'
 *   | 'fill' | 'entry'} field What differs.
 * @property {Amount | null} ours
 * @property {Amount | null} theirs
 * @property {Amount | null} difference
 * @property {string} unit Of the three: a currency, or what the position counts.
 * @property {'open' | 'acknowledged' | 'resolved'} status
 * @property {Instant} opened_at
 * @property {Instant} last_seen_at
 * @property {Instant | null} acknowledged_at
 * @property {string | null} acknowledged_by
 * @property {string | null} note
 * @property {Instant | null} resolved_at
 * @property {string} message One sentence that says it in words.
 */

/**
 * An alarm as it stands now; one of several accounts comes once for each, with the same id.
 * @typedef {object} Alert
 * @property {number} alert_id
 * @property {'discrepancy' | 'reconciliation_stopped' | 'broker_unreachable' | 'margin' | 'test'}
 *   kind
 * @property {Severity} severity
 * @property {'raised' | 'escalated' | 'resolved'} status
 * @property {string} title
 * @property {string} message
 * @property {Instant} raised_at
 * @property {Instant | null} resolved_at
 * @property {number | null} discrepancy_id
 */

/**
 * What an account's broker said last, in the account's currency, and how the comparison stands.
 *
 * From api.reconciliation_status; figures are null before the first answer. A run that failed
 * changes none of them.
 * @typedef {object} Broker
 * @property {Amount | null} balance
 * @property {Amount | null} equity
 * @property {Amount | null} unrealized_pnl
 * @property {Amount | null} margin_used
 * @property {Instant | null} answered_at When the broker's figures were taken.
 * @property {Instant | null} consistent_since Start of the first of the runs that all passed, up to
 *   the last answer. Null while something differs, and before the first answer.
 * @property {Instant | null} last_run_at
 * @property {Instant} overdue_at When the comparison counts as stopped, unless there is a run
 *   before. To be compared with the relay's clock: a reconciler that has died says nothing.
 * @property {Instant | null} failing_since Start of the first of the runs that have failed since;
 *   null when the last one did not.
 * @property {string | null} failure Why the last run failed.
 * @property {number} open_discrepancies
 */

/**
 * A row of api.portfolio_totals: figures of all accounts watched, in one currency.
 * @typedef {object} Totals
 * @property {Currency} currency
 * @property {number} accounts
 * @property {Amount | null} balance
 * @property {Amount | null} credit
 * @property {Amount | null} unrealized_pnl
 * @property {Amount | null} equity
 * @property {Amount | null} margin_equity
 * @property {Amount | null} margin_used
 * @property {Amount | null} margin_available
 * @property {Amount | null} margin_level
 * @property {boolean} is_priced
 * @property {boolean} is_stale
 * @property {Instant | null} priced_at
 * @property {Currency | null} unlinked_currency An account's currency from which no instrument
 *   leads to `currency`: no figure is known.
 */

/**
 * The first message on a connection: what to send from now on.
 * @typedef {object} Hello
 * @property {'hello'} type
 * @property {string} token
 * @property {AccountId[] | null} [account_ids] Null is all that the token opens, also those opened
 *   later.
 * @property {Currency | null} [totals_currency] Send the totals of these accounts, too, in this
 *   currency.
 * @property {boolean} [only_totals] Send the totals and no account.
 * @property {Since | null} [since] The last event held of each account: the snapshot's history
 *   reaches back to it.
 * @property {number} [updates_a_second] So many of an account the client has a use for. It may be
 *   sent more, up to the default, where others watch the same account.
 */

/**
 * Asks for a new snapshot.
 * @typedef {object} Resync
 * @property {'resync'} type
 * @property {Since | null} [since] As in the hello; null is a short history.
 */

/**
 * Asks for a pong, to compare clocks; of several that wait the last one is answered.
 * @typedef {object} Ping
 * @property {'ping'} type
 * @property {number} sent_at Of the page's own clock, milliseconds since 1970; comes back as it
 *   was.
 */

/**
 * Asks for the totals in another currency from now on.
 * @typedef {object} TotalsRequest
 * @property {'totals'} type
 * @property {Currency | null} currency Null ends them.
 */

/**
 * Asks for a curve over [from_at, to_at); of several that wait the last one is answered.
 * @typedef {object} CurveRequest
 * @property {'curve'} type
 * @property {AccountId | null} account_id Null is the first that is watched: so it can be asked for
 *   together with the hello.
 * @property {Instant} from_at
 * @property {Instant} to_at
 * @property {number} points As many at the most.
 */

/**
 * Says that the token's holder looks after a discrepancy.
 *
 * The answer is the discrepancy's own event where the account is watched, or `refused`. Saying it
 * again with the same note changes nothing.
 * @typedef {object} Acknowledge
 * @property {'acknowledge'} type
 * @property {number} discrepancy_id
 * @property {string | null} [note]
 */

/**
 * A discrepancy was found, changed, acknowledged or resolved; never merged.
 * @typedef {object} DiscrepancyChanged
 * @property {'discrepancy'} type
 * @property {number} account_id
 * @property {number} event_seq
 * @property {Instant} recorded_at
 * @property {Discrepancy} discrepancy
 */

/**
 * An alert was raised, escalated or resolved; never merged.
 * @typedef {object} AlertChanged
 * @property {'alert'} type
 * @property {number} account_id
 * @property {number} event_seq
 * @property {Instant} recorded_at
 * @property {Alert} alert
 */

/**
 * All that the page shows of an account.
 * @typedef {object} Portfolio
 * @property {number} account_id
 * @property {number} event_seq Number of the account's last event: a trade, discrepancy or alert.
 * @property {number} history_from All events numbered from here to `event_seq` are in `fills` and
 *   `events`. Whose own last number is below history_from − 1 does not get what lies between, and
 *   says so.
 * @property {AccountState} state
 * @property {Position[]} positions
 * @property {Fill[]} fills Newest first: the last 50, or all since `since`, up to 500.
 * @property {(DiscrepancyChanged | AlertChanged)[]} events Newest first: those of the history, and
 *   the latest of each that is still open.
 * @property {Broker | null} broker Null where the account is not compared with its broker.
 */

/**
 * Everything, as of one database snapshot: replaces all that the page holds.
 * @typedef {object} Snapshot
 * @property {'snapshot'} type
 * @property {Instant} as_of
 * @property {Portfolio[]} accounts
 * @property {Totals | null} totals
 * @property {boolean} may_acknowledge Whether the token allows to acknowledge discrepancies.
 */

/**
 * An account's new state with all its open positions; merged to the latest when many come.
 * @typedef {object} Update
 * @property {'update'} type
 * @property {number} account_id
 * @property {number} event_seq
 * @property {AccountState} state
 * @property {Position[]} positions
 */

/**
 * A fill, with the state after it and all open positions; sent at once and never merged.
 *
 * Several fills that are read together carry the same state, the latest.
 * @typedef {object} Trade
 * @property {'trade'} type
 * @property {number} account_id
 * @property {number} event_seq
 * @property {Fill} fill
 * @property {Instant | null} committed_at By the database's clock; null where its
 *   track_commit_timestamp is off.
 * @property {Instant} read_at When the relay had it, by its own clock.
 * @property {AccountState} state
 * @property {Position[]} positions
 */

/**
 * The broker was asked again, or is asked no more; merged to the latest.
 * @typedef {object} BrokerChanged
 * @property {'broker'} type
 * @property {number} account_id
 * @property {Broker | null} broker
 */

/**
 * The totals of what is watched; merged to the latest.
 * @typedef {object} TotalsChanged
 * @property {'totals'} type
 * @property {Totals} totals
 */

/**
 * An account's curve in buckets of one width, oldest first: columns of equal length.
 *
 * Each bucket keeps its extremes. A bucket in which nothing moved is not there.
 * @typedef {object} Curve
 * @property {'curve'} type
 * @property {number} account_id
 * @property {Instant} from_at
 * @property {Instant} to_at
 * @property {Instant[]} at When the bucket begins.
 * @property {(Amount | null)[]} open Equity, as high, low and close are; null where a price was
 *   unknown.
 * @property {(Amount | null)[]} high
 * @property {(Amount | null)[]} low
 * @property {(Amount | null)[]} close
 * @property {(Amount | null)[]} performance Equity less net flows, at the close.
 * @property {(Amount | null)[]} drawdown Where performance was deepest below its peak since
 *   `from_at`.
 * @property {(Amount | null)[]} drawdown_pct The same of the growth index, as a fraction.
 */

/**
 * Why a discrepancy was not acknowledged, by code, and what to do; the connection goes on.
 * @typedef {object} Refused
 * @property {'refused'} type
 * @property {number} discrepancy_id
 * @property {RefusedCode} code
 * @property {string} message
 * @property {string} remedy
 */

/**
 * The answer to a ping.
 * @typedef {object} Pong
 * @property {'pong'} type
 * @property {number} sent_at The ping's.
 * @property {Instant} received_at When the relay had it, by its own clock.
 */

/**
 * Every 4 to 5 s: proof of life, and the last event number of each account.
 * @typedef {object} Heartbeat
 * @property {'heartbeat'} type
 * @property {Instant} sent_at
 * @property {boolean} database_ok False while the relay has lost the database: what the page shows
 *   may be out of date.
 * @property {Instant | null} data_at All that was committed before it, by the relay's clock, has
 *   been sent; null where unknown.
 * @property {Record<string, number>} event_seqs
 */

/**
 * What went wrong, by code, and what to do; the relay closes the connection after it.
 * @typedef {object} RelayError
 * @property {'error'} type
 * @property {ErrorCode} code
 * @property {string} message
 * @property {string} remedy
 */

/**
 * @typedef {Hello | Resync | Ping | TotalsRequest | CurveRequest | Acknowledge} FromPage
 */

/**
 * @typedef {Snapshot | Update | Trade | DiscrepancyChanged | AlertChanged | BrokerChanged
 *   | TotalsChanged | Curve | Refused | Pong | Heartbeat | RelayError} FromRelay
 */
