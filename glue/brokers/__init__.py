"""What Tidemark asks of a broker, and what a broker answers: three calls, plain values, errors.

An adapter (`oanda.py`, or your own: docs/brokers.md) turns a broker's answers into these shapes and
decides nothing: what differs from the ledger is found in SQL. Amounts are Decimal, in account
currency and with the broker's digits; instants are aware, in UTC.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from glue.errors import TidemarkError

PositionSide = Literal["long", "short"]
EntryKind = Literal["deposit", "withdrawal", "commission", "financing", "dividend", "adjustment"]


class BrokerPosition(msgspec.Struct, frozen=True, kw_only=True):
    """An open position; a hedging account may have a long and a short one in an instrument."""

    symbol: str
    """As in `api.instruments`: EUR/USD."""
    side: PositionSide
    quantity: Decimal
    """In base units, positive."""
    average_price: Decimal
    """In quote currency."""
    unrealized_pnl: Decimal
    """At the prices that closing would bring."""
    margin_used: Decimal | None
    """None where the broker does not say it for this side."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An account at one moment: every figure is from one answer, under one transaction id."""

    broker_account_id: str
    currency: str
    transaction_id: str
    """The last transaction that the figures contain."""
    requested_at: datetime
    """When the broker was asked; the figures are of a moment between this and `taken_at`."""
    taken_at: datetime
    """When the whole answer was here."""
    balance: Decimal
    equity: Decimal
    """At the prices that closing would bring: OANDA's NAV."""
    unrealized_pnl: Decimal
    """As `equity`."""
    margin_equity: Decimal
    """At mid: OANDA's marginCloseoutNAV."""
    margin_used: Decimal
    margin_closeout_unrealized_pnl: Decimal
    """At mid, as `margin_equity`."""
    is_hedging: bool
    positions: list[BrokerPosition]
    """What is open, in order of symbol and side."""
    raw: bytes
    """The answer, as it came."""


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One booking: exactly one call of `api.record_fill` or `api.record_entry`, or none ('other').

    What a broker books in one transaction but Tidemark in several (a fill at two prices, a fill
    with financing) is as many of these, with the same `transaction_id`. In order, each
    `balance_after` is the one before plus `amount`.
    """

    transaction_id: str
    """The broker's; where `transactions_since` goes on from."""
    external_id: str
    """Unique in the account, the same at each asking: the transaction id, with a suffix (`/2`,
    `/financing`) on the second and later bookings of one transaction."""
    client_id: str | None = None
    """The id that whoever placed the order gave it."""
    kind: Literal["fill", "entry", "other"]
    at: datetime
    """When it happened, by the broker's clock."""
    symbol: str | None = None
    """Fills only, as the next six."""
    side: Literal["buy", "sell"] | None = None
    quantity: Decimal | None = None
    """In base units, positive."""
    opened_quantity: Decimal | None = None
    """The part of it that opens: zero for a close, all for an open, some for a flip."""
    price: Decimal | None = None
    commission: Decimal = Decimal(0)
    """With all fees; positive is a cost."""
    realized_pnl: Decimal | None = None
    """Before commission."""
    entry_kind: EntryKind | None = None
    """Entries only."""
    amount: Decimal = Decimal(0)
    """What it does to the balance: of a fill, realized P&L less commission."""
    balance_after: Decimal | None = None
    """None where the broker does not say it."""
    raw: bytes
    """The broker's transaction, as it came."""


class Transactions(msgspec.Struct, frozen=True, kw_only=True):
    """What was booked after some transaction, oldest first and without a gap."""

    broker_account_id: str
    transaction_id: str
    """How far the list reaches: ask again with this."""
    transactions: list[Transaction]


def as_json(answer: Snapshot | list[Transaction]) -> bytes:
    """What `api.record_broker_answer` takes: all but `raw`, decimals as strings of digits only."""
    return msgspec.json.encode(_plain(answer))


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return {
            name: _plain(getattr(value, name)) for name in value.__struct_fields__ if name != "raw"
        }
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, Decimal):
        # str() would write 0.0000001 as 1E-7
        return f"{value:f}"
    return value


class Broker(Protocol):
    """A connection to a broker, for one event loop; many accounts may be asked for at once.

    Every call raises a BrokerError, and nothing else, when it cannot give the whole answer.
    """

    async def snapshot(self, account: str) -> Snapshot:
        """The account as it stands, from one answer."""

    async def transactions_since(self, account: str, transaction_id: str | None) -> Transactions:
        """All that was booked after a transaction; after none: everything."""

    async def aclose(self) -> None:
        """Let the connections go."""


class BrokerError(TidemarkError):
    """A broker that did not give the answer: the account is unknown, never flat."""


class BrokerUnreachableError(BrokerError):
    """No connection, no answer in time, or the broker's own failure."""


class BrokerRefusedError(BrokerError):
    """A token that is not valid, or may not see the account (401, 403)."""


class UnknownBrokerAccountError(BrokerError):
    """An account that the broker does not know (404)."""


class BrokerBusyError(BrokerError):
    """Too many requests (429)."""

    def __init__(self, message: str, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy)
        self.retry_after = retry_after
        """Seconds to wait, where the broker says so."""


class BrokerAnswerError(BrokerError):
    """An answer that cannot be used: cut, contradictory, no account's; or a refused request."""
