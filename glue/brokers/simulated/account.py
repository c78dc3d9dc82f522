"""An account of the simulated broker, with arithmetic of its own.

It shares no code with the ledger, so that the two can be compared. An account is what its events
make of it, one after the other: to lose a fill is to go through them again without it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple

Side = Literal["buy", "sell"]
PositionSide = Literal["long", "short"]
Effect = Literal["auto", "open", "close"]
EntryKind = Literal["deposit", "withdrawal", "financing", "dividend", "adjustment"]
Matching = Literal["average", "fifo"]


class SimulationError(ValueError):
    """What the books cannot do; the message says why."""


class UnknownError(SimulationError):
    """An account or transaction that the books do not have."""


class NoPriceError(SimulationError):
    """A price that is needed and has not come yet."""


class Price(NamedTuple):
    """A quote in quote currency."""

    symbol: str
    bid: Decimal
    ask: Decimal
    at: datetime

    @property
    def mid(self) -> Decimal:
        """Between bid and ask."""
        return (self.bid + self.ask) / 2


@dataclass(frozen=True)
class Fill:
    """A trade, as it was told."""

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    at: datetime
    effect: Effect
    commission: Decimal
    financing: Decimal
    realized_pnl: Decimal | None
    """In account currency; None has the books work it out."""
    conversion_rate: Decimal | None
    """Account currency for one of quote currency, when it was booked."""
    client_id: str | None
    order_id: int | None
    reason: str


@dataclass(frozen=True)
class Entry:
    """A cash movement."""

    kind: EntryKind
    amount: Decimal
    at: datetime
    comment: str | None


@dataclass(frozen=True)
class Order:
    """A market order that is filled by the next transaction."""

    symbol: str
    units: Decimal
    at: datetime
    client_id: str | None


@dataclass(frozen=True)
class Lost:
    """What stands in the place of a transaction that has not happened: ids have no holes."""

    at: datetime
    was_fill: bool


@dataclass(frozen=True)
class Opening:
    """The account's beginning."""

    at: datetime


@dataclass(frozen=True)
class PositionChange:
    """A position that is something else all of a sudden, without a transaction."""

    symbol: str
    side: PositionSide
    quantity: Decimal
    average_price: Decimal | None
    """None keeps it."""


@dataclass(frozen=True)
class BalanceChange:
    """A balance that is something else all of a sudden, without a transaction."""

    balance: Decimal


Booking = Fill | Entry | Order | Opening | Lost
Event = Booking | PositionChange | BalanceChange


@dataclass
class Trade:
    """A part of a position: what one fill opened and is still open."""

    trade_id: int
    quantity: Decimal
    """Signed, as everything of a position."""
    price: Decimal
    opened_at: datetime


@dataclass
class Position:
    """The net position of an instrument, or in a hedging account its long or short one."""

    symbol: str
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    """In quote currency, with the sign of the quantity."""
    trades: list[Trade] = field(default_factory=list)

    @property
    def side(self) -> PositionSide:
        """Long or short."""
        return "long" if self.quantity > 0 else "short"

    def close(self, quantity: Decimal, matching: Matching) -> tuple[Decimal, list[Trade]]:
        """Take `quantity` (with the position's sign) off; the cost released, and what was closed.

        `average`: each unit costs the same, as in Tidemark. `fifo`: the oldest trades go first at
        their own prices, as at OANDA.
        """
        closed = []
        left = quantity
        while left:
            trade = self.trades[0]
            part = left if abs(left) < abs(trade.quantity) else trade.quantity
            closed.append(replace(trade, quantity=part))
            trade.quantity -= part
            left -= part
            if not trade.quantity:
                self.trades.pop(0)
        if quantity == self.quantity:
            released = self.cost
        elif matching == "fifo":
            released = sum((part.quantity * part.price for part in closed), Decimal(0))
        else:
            released = self.cost * quantity / self.quantity
        self.quantity -= quantity
        self.cost -= released
        return released, closed

    def open(self, trade: Trade) -> None:
        """Add to the position."""
        self.trades.append(trade)
        self.quantity += trade.quantity
        self.cost += trade.quantity * trade.price


class ClosedTrade(NamedTuple):
    """What a fill took off a trade."""

    trade_id: int
    quantity: Decimal
    """With the trade's sign."""
    realized_pnl: Decimal
    financing: Decimal
    is_gone: bool
    """Nothing of the trade is left."""


class Booked(NamedTuple):
    """A transaction: an event with what it did."""

    transaction_id: int
    event: Booking
    balance: Decimal
    """After it."""
    realized_pnl: Decimal = Decimal(0)
    closed: tuple[ClosedTrade, ...] = ()
    opened: Trade | None = None


class Account:
    """An account: its terms, its events, and what they make of it."""

    def __init__(
        self,
        account_id: str,
        currency: str,
        *,
        money_scale: int,
        is_hedging: bool,
        matching: Matching,
        conversion_markup: Decimal,
        first_id: int,
    ) -> None:
        self.account_id = account_id
        self.currency = currency
        self.money_scale = money_scale
        self.is_hedging = is_hedging
        self.matching = matching
        self.conversion_markup = conversion_markup
        self.last_id = first_id
        self.events: list[tuple[int | None, Event]] = []
        self.fills_to_lose = 0
        self.frozen_prices: Mapping[str, Price] | None = None
        """The prices that it is valued at, where not the market's."""
        self.is_valued_at_mid = False
        self.conversion_factor = Decimal(1)
        """By how much its conversion rates are off."""
        self._clear()

    def _clear(self) -> None:
        self.balance = Decimal(0)
        self.positions: dict[tuple[str, str], Position] = {}
        self.booked: dict[int, Booked] = {}
        """By transaction id, ascending."""

    @property
    def last_transaction_id(self) -> str:
        """As a client reads it."""
        return str(self.last_id)

    def money(self, amount: Decimal) -> Decimal:
        """Rounded as the account's money is."""
        return amount.quantize(Decimal(1).scaleb(-self.money_scale), ROUND_HALF_UP)

    def book(self, event: Booking, transaction_id: int) -> None:
        """Add a transaction."""
        self.last_id = transaction_id
        self.events.append((transaction_id, event))
        self._apply(transaction_id, event)

    def change(self, event: PositionChange | BalanceChange) -> None:
        """Change something without a transaction."""
        self.events.append((None, event))
        self._apply(None, event)

    def lose(self, transaction_id: int) -> None:
        """Have a fill or entry not have happened; something that does nothing has its id."""
        booked = self.booked.get(transaction_id)
        if booked is None or not isinstance(booked.event, Fill | Entry):
            raise UnknownError(f"{self.account_id} has no fill or entry {transaction_id}")
        lost = Lost(booked.event.at, isinstance(booked.event, Fill))
        self.events = [
            (number, lost if number == transaction_id else event) for number, event in self.events
        ]
        self._clear()
        for number, event in self.events:
            self._apply(number, event)

    def find(self, client_id: str) -> Booked | None:
        """The fill with a client's id."""
        return next(
            (
                booked
                for booked in self.booked.values()
                if isinstance(booked.event, Fill) and booked.event.client_id == client_id
            ),
            None,
        )

    def key(self, fill: Fill) -> tuple[str, str]:
        """Which position a fill belongs to."""
        if not self.is_hedging:
            return fill.symbol, "net"
        return fill.symbol, "long" if (fill.side == "buy") == (fill.effect != "close") else "short"

    def closing_units(self, fill: Fill) -> Decimal:
        """How much of its position the fill takes off, with the position's sign."""
        position = self.positions.get(self.key(fill))
        traded = fill.quantity if fill.side == "buy" else -fill.quantity
        if position is None or (position.quantity > 0) == (traded > 0):
            return Decimal(0)
        return -traded if abs(traded) < abs(position.quantity) else position.quantity

    def _apply(self, number: int | None, event: Event) -> None:
        match event:
            case PositionChange():
                self._change_position(event)
            case BalanceChange():
                self.balance = event.balance
            case Fill():
                assert number is not None
                self._apply_fill(number, event)
            case Entry():
                assert number is not None
                self.balance += event.amount
                self.booked[number] = Booked(number, event, self.balance)
            case Order() | Opening() | Lost():
                assert number is not None
                self.booked[number] = Booked(number, event, self.balance)

    def _apply_fill(self, number: int, fill: Fill) -> None:
        key = self.key(fill)
        position = self.positions.setdefault(key, Position(fill.symbol))
        traded = fill.quantity if fill.side == "buy" else -fill.quantity
        closing = self.closing_units(fill)
        released, parts = position.close(closing, self.matching)
        realized = fill.realized_pnl
        if realized is None:
            gained = (closing * fill.price - released) * (fill.conversion_rate or Decimal(0))
            markup = self.conversion_markup if gained < 0 else -self.conversion_markup
            realized = self.money(gained * (1 + markup))
        opened = None
        if traded + closing and fill.effect != "close":
            opened = Trade(number, traded + closing, fill.price, fill.at)
            position.open(replace(opened))
        if not position.quantity:
            del self.positions[key]
        self.balance += realized + fill.financing - fill.commission
        still_open = {trade.trade_id for trade in position.trades}
        closed = tuple(
            ClosedTrade(part.trade_id, part.quantity, pnl, paid, part.trade_id not in still_open)
            for part, pnl, paid in zip(
                parts,
                self._shares(realized, parts),
                self._shares(fill.financing, parts),
                strict=True,
            )
        )
        self.booked[number] = Booked(number, fill, self.balance, realized, closed, opened)

    def _shares(self, amount: Decimal, parts: list[Trade]) -> Iterator[Decimal]:
        """An amount divided over trades by their quantities; the shares add up to it."""
        total = sum((part.quantity for part in parts), Decimal(0))
        left = amount
        for part in parts[:-1]:
            share = self.money(amount * part.quantity / total)
            left -= share
            yield share
        if parts:
            yield left

    def _change_position(self, change: PositionChange) -> None:
        key = (change.symbol, change.side if self.is_hedging else "net")
        old = self.positions.pop(key, None)
        if not change.quantity:
            return
        average = change.average_price
        if average is None:
            if old is None:
                raise SimulationError(f"a new position in {change.symbol} needs an average price")
            average = old.cost / old.quantity
        quantity = change.quantity if change.side == "long" else -change.quantity
        position = Position(change.symbol)
        kept = old.trades[0] if old else None
        position.open(
            Trade(
                kept.trade_id if kept else self.last_id,
                quantity,
                average,
                kept.opened_at if kept else datetime.now(UTC),
            )
        )
        self.positions[key] = position
