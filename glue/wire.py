"""The messages between relay and page, subprotocol `tidemark.v1`: JSON, one object a frame.

Every amount is a decimal string (`^-?\\d+(\\.\\d+)?$`) made in SQL, and null where it is unknown.
Instants are ISO 8601 in UTC. State is carried whole: a client keeps, per account, the state with
the highest `version`, and asks for a new snapshot when `event_seq` leaves a gap.
"""

from typing import Annotated, Literal

import msgspec

SUBPROTOCOL = "tidemark.v1"
HEARTBEAT_SECONDS = 5.0

Amount = Annotated[str, msgspec.Meta(pattern=r"^-?\d+(\.\d+)?$")]
Instant = str


class AccountState(msgspec.Struct, kw_only=True):
    """A row of api.account_states with the account's name; amounts in `currency`, at its scale."""

    account_id: int
    name: str
    currency: str
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
    is_priced: bool
    """False when a position has no price or no conversion rate: figures that need it are null."""
    priced_at: Instant | None
    """Event time of the oldest quote that values a position; null when there is none."""
    version: int
    updated_at: Instant


class Position(msgspec.Struct, kw_only=True):
    """A row of api.positions: an open position; `_quote` in `quote_currency`."""

    symbol: str
    quote_currency: str
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
    """Event time of the quote."""


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


class Portfolio(msgspec.Struct, kw_only=True):
    """All that the page shows of an account; `fills` are the last ones, newest first."""

    account_id: int
    event_seq: int
    """Number of the account's last event: trades have theirs, without gaps."""
    state: AccountState
    positions: list[Position]
    fills: list[Fill]


# From the page to the relay -------------------------------------------------------------------


class Hello(msgspec.Struct, tag="hello", kw_only=True, forbid_unknown_fields=True):
    """The first message on a connection. `account_ids` null is all that the token opens."""

    token: str
    account_ids: list[int] | None = None


class Resync(msgspec.Struct, tag="resync", kw_only=True, forbid_unknown_fields=True):
    """Asks for a new snapshot."""


FromPage = Hello | Resync


# From the relay to the page -------------------------------------------------------------------


class Snapshot(msgspec.Struct, tag="snapshot", kw_only=True):
    """Everything, as of one database snapshot: replaces all that the page holds."""

    as_of: Instant
    accounts: list[Portfolio]


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
    state: AccountState
    positions: list[Position]


class Heartbeat(msgspec.Struct, tag="heartbeat", kw_only=True):
    """Every 5 s: proof of life, and the last event number of each account."""

    sent_at: Instant
    database_ok: bool
    """False while the relay has lost the database: what the page shows may be out of date."""
    event_seqs: dict[str, int]


class Error(msgspec.Struct, tag="error", kw_only=True):
    """What went wrong, by code, and what to do; the relay closes the connection after it."""

    code: Literal["bad_message", "bad_token", "not_allowed", "unavailable", "too_slow"]
    message: str
    remedy: str


FromRelay = Snapshot | Update | Trade | Heartbeat | Error
