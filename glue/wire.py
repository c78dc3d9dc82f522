"""The messages between relay and page, subprotocol `tidemark.v1`: JSON, one object a frame.

Every amount is a decimal string made in SQL, and null where it is unknown. Instants are ISO 8601 in
UTC. State is carried whole: a client keeps, per account, the state with the highest `version`. What
happens (trades, discrepancies, alerts) is numbered without gaps per account by `event_seq`: who
finds a number missing asks for a new snapshot.

`make docs` makes docs/asyncapi.json and frontend2/src/services/messages.js from this file.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SUBPROTOCOL = "tidemark.v1"
HEARTBEAT_SECONDS = 5.0
MAX_ACCOUNTS = 1000
MAX_POINTS = 2000
MAX_UPDATES_A_SECOND = 20
MAX_NOTE = 2000

# The end of a pattern is `$(?!\n)`: in Python `$` alone also stands before a last newline.
Amount = Annotated[
    str,
    Meta(title="Amount", description="A decimal string.", pattern=r"^-?\d+(\.\d+)?$(?!\n)"),
]
Instant = Annotated[
    str,
    Meta(
        title="Instant",
        description="ISO 8601 in UTC, up to microseconds.",
        pattern=r"^\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$(?!\n)",
    ),
]
Currency = Annotated[
    str,
    Meta(title="Currency", description="Such as USD.", pattern=r"^[A-Z][A-Z0-9]{2,11}$(?!\n)"),
]
AccountId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
EventSeq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Since = Annotated[dict[AccountId, EventSeq], Meta(max_length=MAX_ACCOUNTS)]
Severity = Literal["info", "warning", "critical"]
ErrorCode = Literal[
    "bad_message",
    "bad_token",
    "not_allowed",
    "unavailable",
    "too_slow",
    "too_many",
    "rate_limited",
]
RefusedCode = Literal["not_allowed", "unknown", "resolved", "acknowledged", "unavailable"]


class AccountState(msgspec.Struct, kw_only=True):
    """A row of api.account_states with the account's name; amounts in `currency`, at its scale."""

    account_id: int
    name: str
    currency: Currency
    position_mode: Literal["netting", "hedging"]
    balance: Amount
    credit: Amount
    unrealized_pnl: Amount | None
    equity: Amount | None
    margin_equity: Amount | None
    margin_used: Amount | None
    margin_available: Amount | None
    margin_level: Amount | None
    """A fraction: 2.5 is 250 %; null when no margin is used."""
    margin_state: Literal["ok", "margin_call", "close_out"] | None
    """By the account's levels; null while a figure is unknown."""
    is_priced: bool
    """False when a position has no price or no conversion rate: figures that need it are null."""
    priced_at: Instant | None
    """Event time of the oldest quote that values or converts a position; null without positions."""
    fresh_until: Instant | None
    """When the first of these quotes becomes stale; null without positions.

    To be compared with the relay's clock: a price goes stale without any message.
    """
    net_flow: Amount
    """Sum of the deposits, withdrawals and credits."""
    high_water_mark: Amount | None
    """Equity at which the account is at its highest performance so far."""
    high_water_at: Instant | None
    """When that was reached; null before the first bar of its curve."""
    drawdown: Amount | None
    """high_water_mark − equity."""
    drawdown_pct: Amount | None
    """Fall of the growth index from its highest, as a fraction; null while it is unknown."""
    max_drawdown: Amount | None
    max_drawdown_pct: Amount | None
    under_water_since: Instant | None
    """high_water_at while there is a drawdown, else null."""
    version: int
    """Grows with every change: of two states the one with the higher version is the newer one."""
    updated_at: Instant


class Position(msgspec.Struct, kw_only=True):
    """A row of api.positions: an open position; `_quote` in `quote_currency`."""

    symbol: str
    quote_currency: Currency
    side: Literal["long", "short"]
    quantity: Amount
    average_price: Amount
    price: Amount | None
    """What closing would bring: the bid for a long, the ask for a short."""
    unrealized_pnl: Amount | None
    unrealized_pnl_quote: Amount | None
    conversion_rate: Amount | None
    margin_used: Amount | None
    is_priced: bool
    priced_at: Instant | None
    """Event time of the oldest quote that values or converts it."""
    fresh_until: Instant | None
    """When the first of these quotes becomes stale, by the relay's clock."""


class Fill(msgspec.Struct, kw_only=True):
    """A row of api.fills; `realized_pnl` and `commission` in the account's currency."""

    fill_id: int
    event_seq: int
    symbol: str
    side: Literal["buy", "sell"]
    quantity: Amount
    price: Amount
    effect: Literal["open", "close", "flip", "reversal"]
    realized_pnl: Amount
    commission: Amount
    event_at: Instant
    recorded_at: Instant
    external_id: str | None


class Discrepancy(msgspec.Struct, kw_only=True):
    """A difference between the broker's books and ours, as it stands now."""

    discrepancy_id: int
    cause: Literal[
        "missing_fill",
        "extra_fill",
        "quantity",
        "average_price",
        "balance",
        "financing",
        "margin",
        "price_side",
        "conversion",
        "stale_price",
        "unknown",
    ]
    severity: Severity
    symbol: str | None
    field: Literal[
        "quantity",
        "average_price",
        "balance",
        "equity",
        "unrealized_pnl",
        "margin_used",
        "fill",
        "entry",
    ]
    """What differs."""
    ours: Amount | None
    theirs: Amount | None
    difference: Amount | None
    unit: str
    """Of the three: a currency, or what the position counts."""
    status: Literal["open", "acknowledged", "resolved"]
    opened_at: Instant
    last_seen_at: Instant
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    note: str | None
    resolved_at: Instant | None
    message: str
    """One sentence that says it in words."""


class Alert(msgspec.Struct, kw_only=True):
    """An alarm as it stands now; one of several accounts comes once for each, with the same id."""

    alert_id: int
    kind: Literal["discrepancy", "reconciliation_stopped", "broker_unreachable", "margin", "test"]
    severity: Severity
    status: Literal["raised", "escalated", "resolved"]
    title: str
    message: str
    raised_at: Instant
    resolved_at: Instant | None
    discrepancy_id: int | None


class Broker(msgspec.Struct, kw_only=True):
    """What an account's broker said last, in the account's currency, and how the comparison stands.

    From api.reconciliation_status; figures are null before the first answer. A run that failed
    changes none of them.
    """

    balance: Amount | None
    equity: Amount | None
    unrealized_pnl: Amount | None
    margin_used: Amount | None
    answered_at: Instant | None
    """When the broker's figures were taken."""
    consistent_since: Instant | None
    """Start of the first of the runs that all passed, up to the last answer.

    Null while something differs, and before the first answer.
    """
    last_run_at: Instant | None
    overdue_at: Instant
    """When the comparison counts as stopped, unless there is a run before.

    To be compared with the relay's clock: a reconciler that has died says nothing.
    """
    failing_since: Instant | None
    """Start of the first of the runs that have failed since; null when the last one did not."""
    failure: str | None
    """Why the last run failed."""
    open_discrepancies: int


class Totals(msgspec.Struct, kw_only=True):
    """A row of api.portfolio_totals: figures of all accounts watched, in one currency."""

    currency: Currency
    accounts: int
    balance: Amount | None
    credit: Amount | None
    unrealized_pnl: Amount | None
    equity: Amount | None
    margin_equity: Amount | None
    margin_used: Amount | None
    margin_available: Amount | None
    margin_level: Amount | None
    is_priced: bool
    is_stale: bool
    priced_at: Instant | None
    unlinked_currency: Currency | None
    """An account's currency from which no instrument leads to `currency`: no figure is known."""


# From the page to the relay -------------------------------------------------------------------


class Hello(msgspec.Struct, tag="hello", kw_only=True, forbid_unknown_fields=True):
    """The first message on a connection: what to send from now on."""

    token: Annotated[str, Meta(max_length=200)]
    account_ids: Annotated[list[AccountId], Meta(min_length=1, max_length=MAX_ACCOUNTS)] | None = (
        None
    )
    """Null is all that the token opens, also those opened later."""
    totals_currency: Currency | None = None
    """Send the totals of these accounts, too, in this currency."""
    only_totals: bool = False
    """Send the totals and no account."""
    since: Since | None = None
    """The last event held of each account: the snapshot's history reaches back to it."""
    updates_a_second: Annotated[int, Meta(ge=1, le=MAX_UPDATES_A_SECOND)] = MAX_UPDATES_A_SECOND
    """So many of an account the client has a use for. It may be sent more, up to the default, where
    others watch the same account."""


class Resync(msgspec.Struct, tag="resync", kw_only=True, forbid_unknown_fields=True):
    """Asks for a new snapshot."""

    since: Since | None = None
    """As in the hello; null is a short history."""


class Ping(msgspec.Struct, tag="ping", kw_only=True, forbid_unknown_fields=True):
    """Asks for a pong, to compare clocks; of several that wait the last one is answered."""

    sent_at: Annotated[float, Meta(ge=0, le=1e15)]
    """Of the page's own clock, milliseconds since 1970; comes back as it was."""


class TotalsRequest(msgspec.Struct, tag="totals", kw_only=True, forbid_unknown_fields=True):
    """Asks for the totals in another currency from now on."""

    currency: Currency | None
    """Null ends them."""


class CurveRequest(msgspec.Struct, tag="curve", kw_only=True, forbid_unknown_fields=True):
    """Asks for a curve over [from_at, to_at); of several that wait the last one is answered."""

    account_id: AccountId | None
    """Null is the first that is watched: so it can be asked for together with the hello."""
    from_at: Instant
    to_at: Instant
    points: Annotated[int, Meta(ge=2, le=MAX_POINTS)]
    """As many at the most."""


class Acknowledge(msgspec.Struct, tag="acknowledge", kw_only=True, forbid_unknown_fields=True):
    """Says that the token's holder looks after a discrepancy.

    The answer is the discrepancy's own event where the account is watched, or `refused`. Saying it
    again with the same note changes nothing.
    """

    discrepancy_id: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    note: Annotated[str, Meta(max_length=MAX_NOTE, pattern=r"^[^\x00]*$")] | None = None


FromPage = Hello | Resync | Ping | TotalsRequest | CurveRequest | Acknowledge


# From the relay to the page -------------------------------------------------------------------


class DiscrepancyChanged(msgspec.Struct, tag="discrepancy", kw_only=True):
    """A discrepancy was found, changed, acknowledged or resolved; never merged."""

    account_id: int
    event_seq: int
    recorded_at: Instant
    discrepancy: Discrepancy


class AlertChanged(msgspec.Struct, tag="alert", kw_only=True):
    """An alert was raised, escalated or resolved; never merged."""

    account_id: int
    event_seq: int
    recorded_at: Instant
    alert: Alert


class Portfolio(msgspec.Struct, kw_only=True):
    """All that the page shows of an account."""

    account_id: int
    event_seq: int
    """Number of the account's last event: a trade, discrepancy or alert."""
    history_from: int
    """All events numbered from here to `event_seq` are in `fills` and `events`.

    Whose own last number is below history_from − 1 does not get what lies between, and says so.
    """
    state: AccountState
    positions: list[Position]
    fills: list[Fill]
    """Newest first: the last 50, or all since `since`, up to 500."""
    events: list[DiscrepancyChanged | AlertChanged]
    """Newest first: those of the history, and the latest of each that is still open."""
    broker: Broker | None
    """Null where the account is not compared with its broker."""


class Snapshot(msgspec.Struct, tag="snapshot", kw_only=True):
    """Everything, as of one database snapshot: replaces all that the page holds."""

    as_of: Instant
    accounts: list[Portfolio]
    totals: Totals | None
    may_acknowledge: bool
    """Whether the token allows to acknowledge discrepancies."""


class Update(msgspec.Struct, tag="update", kw_only=True):
    """An account's new state with all its open positions; merged to the latest when many come."""

    account_id: int
    event_seq: int
    state: AccountState
    positions: list[Position]


class Trade(msgspec.Struct, tag="trade", kw_only=True):
    """A fill, with the state after it and all open positions; sent at once and never merged.

    Several fills that are read together carry the same state, the latest.
    """

    account_id: int
    event_seq: int
    fill: Fill
    committed_at: Instant | None
    """By the database's clock; null where its track_commit_timestamp is off."""
    read_at: Instant
    """When the relay had it, by its own clock."""
    state: AccountState
    positions: list[Position]


class BrokerChanged(msgspec.Struct, tag="broker", kw_only=True):
    """The broker was asked again, or is asked no more; merged to the latest."""

    account_id: int
    broker: Broker | None


class TotalsChanged(msgspec.Struct, tag="totals", kw_only=True):
    """The totals of what is watched; merged to the latest."""

    totals: Totals


class Curve(msgspec.Struct, tag="curve", kw_only=True):
    """An account's curve in buckets of one width, oldest first: columns of equal length.

    Each bucket keeps its extremes. A bucket in which nothing moved is not there.
    """

    account_id: int
    from_at: Instant
    to_at: Instant
    at: list[Instant]
    """When the bucket begins."""
    open: list[Amount | None]
    """Equity, as high, low and close are; null where a price was unknown."""
    high: list[Amount | None]
    low: list[Amount | None]
    close: list[Amount | None]
    performance: list[Amount | None]
    """Equity less net flows, at the close."""
    drawdown: list[Amount | None]
    """Where performance was deepest below its peak since `from_at`."""
    drawdown_pct: list[Amount | None]
    """The same of the growth index, as a fraction."""


class Refused(msgspec.Struct, tag="refused", kw_only=True):
    """Why a discrepancy was not acknowledged, by code, and what to do; the connection goes on."""

    discrepancy_id: int
    code: RefusedCode
    message: str
    remedy: str


class Pong(msgspec.Struct, tag="pong", kw_only=True):
    """The answer to a ping."""

    sent_at: float
    """The ping's."""
    received_at: Instant
    """When the relay had it, by its own clock."""


class Heartbeat(msgspec.Struct, tag="heartbeat", kw_only=True):
    """Every 4 to 5 s: proof of life, and the last event number of each account."""

    sent_at: Instant
    database_ok: bool
    """False while the relay has lost the database: what the page shows may be out of date."""
    data_at: Instant | None
    """All that was committed before it, by the relay's clock, has been sent; null where unknown."""
    event_seqs: dict[str, int]


class Error(msgspec.Struct, tag="error", kw_only=True):
    """What went wrong, by code, and what to do; the relay closes the connection after it."""

    code: ErrorCode
    message: str
    remedy: str


FromRelay = (
    Snapshot
    | Update
    | Trade
    | DiscrepancyChanged
    | AlertChanged
    | BrokerChanged
    | TotalsChanged
    | Curve
    | Refused
    | Pong
    | Heartbeat
    | Error
)
