"""What the bars of every equity curve must be, computed apart from the SQL: instant by instant.

It follows docs/equity-curve.md and shares no code with the database, whose bookings and ticks it
takes as they are stored: `bars(read(conn), closed_to, max_instants) == stored_bars(conn)`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, localcontext
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.rows import tuple_row

FLOWS = {"deposit", "withdrawal", "credit"}
ZERO, ONE = Decimal(0), Decimal(1)
EXACT = Context(prec=1000, traps=[Inexact, InvalidOperation])
"""Sums and products are exact, or an error."""
ROUNDING = Context(prec=1000)
Row = TypeVar("Row")


class Instrument(NamedTuple):
    """A row of market.instruments."""

    instrument_id: int
    symbol: str
    base: str
    quote: str
    contract_size: Decimal


class Account(NamedTuple):
    """A row of ledger.accounts."""

    account_id: int
    currency: str
    money_scale: int


class Tick(NamedTuple):
    """A row of market.ticks."""

    instrument_id: int
    event_at: datetime
    tick_id: int
    bid: Decimal
    ask: Decimal


class Fill(NamedTuple):
    """A row of ledger.fills, with what it did to its position (cost in quote currency)."""

    account_id: int
    instrument_id: int
    position_side: str
    quantity_change: Decimal
    cost_change: Decimal
    event_at: datetime


class Entry(NamedTuple):
    """A row of ledger.entries, in account currency."""

    account_id: int
    kind: str
    amount: Decimal
    event_at: datetime


@dataclass
class Source:
    """All that bars are made of."""

    instruments: list[Instrument] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


class Bar(NamedTuple):
    """A row of equity.whole_bars."""

    account_id: int
    bucket_at: datetime
    part: int
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    balance: Decimal
    net_flow: Decimal
    base_index: Decimal | None
    base_equity: Decimal | None
    fall: Decimal | None
    fall_pct: Decimal | None
    is_priced: bool
    is_thinned: bool


# Reading a database


def read(conn: psycopg.Connection[Any]) -> Source:
    """Everything that was booked and ticked."""
    return Source(
        _rows(
            conn,
            Instrument,
            "select instrument_id, symbol, base_currency, quote_currency, contract_size "
            "from market.instruments",
        ),
        _rows(conn, Account, "select account_id, currency, money_scale from ledger.accounts"),
        _rows(conn, Tick, "select instrument_id, event_at, tick_id, bid, ask from market.ticks"),
        _rows(
            conn,
            Fill,
            "select account_id, instrument_id, position_side, quantity_change, cost_change, "
            "event_at from ledger.fills",
        ),
        _rows(conn, Entry, "select account_id, kind, amount, event_at from ledger.entries"),
    )


def stored_bars(conn: psycopg.Connection[Any]) -> list[Bar]:
    """The bars that the database has closed, by account, second and part.

    They compare with == to the computed ones: numbers by value, times in whatever zone.
    """
    return sorted(
        _rows(conn, Bar, f"select {', '.join(Bar._fields)} from equity.whole_bars"),
        key=lambda bar: bar[:3],
    )


def _rows(conn: psycopg.Connection[Any], kind: type[Row], query: str) -> list[Row]:
    """The rows of a query with the columns of `kind`, in their order."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return [kind(*row) for row in cursor.execute(query)]


# Rounding


def rounded(value: Decimal, scale: int) -> Decimal:
    """Half away from zero at `scale` decimals."""
    return value.quantize(ONE.scaleb(-scale), ROUND_HALF_UP, ROUNDING)


def quotient(value: Fraction, scale: int) -> Decimal:
    """The same of a fraction."""
    scaled = abs(value) * 10**scale
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(whole if value >= 0 else -whole).scaleb(-scale, ROUNDING)


# Ticks


def second_of(at: datetime) -> datetime:
    """The beginning of the second that an instant is in."""
    return at.replace(microsecond=0)


@dataclass
class Stream:
    """The ticks of an instrument that count, in order, and in which seconds some were left out."""

    ticks: list[Tick] = field(default_factory=list)
    thinned: set[datetime] = field(default_factory=set)


def streams(ticks: Iterable[Tick], max_instants: int | None) -> dict[int, Stream]:
    """The ticks that count of each instrument: one for each instant, of a busy second five at most.

    Without max_instants none is left out.
    """
    found: dict[int, Stream] = defaultdict(Stream)
    in_order = sorted(ticks, key=attrgetter("instrument_id", "event_at", "tick_id"))
    for instrument_id, of_instrument in groupby(in_order, attrgetter("instrument_id")):
        stream = found[instrument_id]
        for second, of_second in groupby(of_instrument, lambda tick: second_of(tick.event_at)):
            # of the ticks of one instant, the one that arrived last
            instants = list({tick.event_at: tick for tick in of_second}.values())
            if max_instants is not None and len(instants) > max_instants:
                instants = representatives(instants)
                stream.thinned.add(second)
            stream.ticks += instants
    return found


def representatives(instants: list[Tick]) -> list[Tick]:
    """The last, and the earliest with the lowest and highest bid and ask."""
    chosen = {instants[-1]}
    for price in (attrgetter("bid"), attrgetter("ask")):
        chosen.add(min(instants, key=price))  # both give the first of equal ones
        chosen.add(max(instants, key=price))
    return sorted(chosen, key=attrgetter("event_at"))


# Conversion


class Leg(NamedTuple):
    """An instrument on the way from one currency to another, from its quote to its base if inverse.

    Converting by it multiplies by its mid, or divides by it if inverse.
    """

    instrument: Instrument
    is_inverse: bool

    @property
    def source(self) -> str:
        return self.instrument.quote if self.is_inverse else self.instrument.base

    @property
    def target(self) -> str:
        return self.instrument.base if self.is_inverse else self.instrument.quote


Path = tuple[Leg, ...]


def paths(instruments: list[Instrument], source: str, target: str) -> list[Path]:
    """All ways from one currency to another in order of preference, the best first.

    The shortest, then direct before inverse, then by pivot: USD, EUR, or the first by name.
    """
    if source == target:
        return [()]
    legs = [Leg(each, is_inverse) for each in instruments for is_inverse in (False, True)]
    single = [(leg,) for leg in legs if (leg.source, leg.target) == (source, target)]
    double = [
        (first, second)
        for first in legs
        for second in legs
        if first.source == source and first.target == second.source and second.target == target
    ]

    def rank(path: Path) -> tuple[object, ...]:
        pivot = path[0].target if len(path) == 2 else ""
        return (
            len(path),
            pivot != "USD",
            pivot != "EUR",
            pivot,
            [leg.is_inverse for leg in path],
            [leg.instrument.instrument_id for leg in path],
        )

    return sorted([*single, *double], key=rank)


# An account as of an instant


@dataclass
class Position:
    """Signed quantity, its cost in quote currency, and what it has brought; None: unknown."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    pnl: Decimal | None = ZERO

    @property
    def is_open(self) -> bool:
        """Also with a cost alone, which fills that are booked late can leave."""
        return bool(self.quantity or self.cost)


@dataclass
class Happened:
    """What happened to an account at one instant."""

    ticks: list[Tick] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    flows: list[Entry] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)


class State:
    """An account as of an instant: what has happened up to there, and what that makes it worth."""

    def __init__(self, account: Account, instruments: list[Instrument], held: set[int]) -> None:
        """`instruments`: all that there are; `held`: the ids of those that it ever holds."""
        self.account = account
        self.instruments = {each.instrument_id: each for each in instruments}
        self.paths = {
            currency: paths(instruments, currency, account.currency)
            for currency in {self.instruments[each].quote for each in held}
        }
        self.moving = held | {
            leg.instrument.instrument_id
            for several in self.paths.values()
            for path in several
            for leg in path
        }
        """The instruments whose ticks can move it."""
        self.quotes: dict[int, Tick] = {}
        self.path: dict[str, Path | None] = {}
        self.rate: dict[str, Decimal | None] = {}
        self.positions: dict[tuple[int, str], Position] = defaultdict(Position)
        self.unknown = 0
        self.unrealized_pnl = ZERO
        self.balance = ZERO
        self.net_flow = ZERO
        self.earned = ZERO
        """Sum of the entries that are no flows."""
        self.held_in_second: set[int] = set()
        """The instruments that it has held at an instant of the second."""
        self.paths_in_second: dict[str, set[int]] = {}
        """From each currency the instruments that it would have been converted through in it."""
        for currency in self.paths:
            self._choose_path(currency)

    @property
    def performance(self) -> Decimal | None:
        """Equity less net flows; None where it is unknown."""
        return None if self.unknown else self.earned + self.unrealized_pnl

    def apply(self, happened: Happened) -> None:
        """All of an instant but its flows."""
        moved = {tick.instrument_id for tick in happened.ticks}
        is_first = bool(moved - self.quotes.keys())
        for tick in happened.ticks:
            self.quotes[tick.instrument_id] = tick
        converted = set()
        for currency, path in self.path.items():
            if is_first or any(leg.instrument.instrument_id in moved for leg in path or ()):
                self._choose_path(currency)
                converted.add(currency)
        filled = set()
        for fill in happened.fills:
            key = fill.instrument_id, fill.position_side
            self.positions[key].quantity += fill.quantity_change
            self.positions[key].cost += fill.cost_change
            filled.add(key)
        for key, position in self.positions.items():
            instrument = self.instruments[key[0]]
            if key in filled or key[0] in moved or instrument.quote in converted:
                self._value(position, instrument)
        self._note_second()
        for entry in happened.others:
            self.balance += entry.amount
            self.earned += entry.amount

    def flow(self, flows: list[Entry]) -> None:
        """The flows of an instant."""
        for entry in flows:
            self.net_flow += entry.amount
            if entry.kind != "credit":
                self.balance += entry.amount

    def _choose_path(self, currency: str) -> None:
        """The best path whose instruments have all had a tick, and its rate at 12 decimals."""
        for path in self.paths[currency]:
            if all(leg.instrument.instrument_id in self.quotes for leg in path):
                break
        else:
            self.path[currency] = self.rate[currency] = None
            return
        product = Fraction(1)
        for leg in path:
            quote = self.quotes[leg.instrument.instrument_id]
            mid = Fraction(quote.bid + quote.ask) / 2
            product = product / mid if leg.is_inverse else product * mid
        self.path[currency] = path
        self.rate[currency] = quotient(product, 12) or None

    def _value(self, position: Position, instrument: Instrument) -> None:
        """At the side's price, rounded in account currency."""
        quote, rate = self.quotes.get(instrument.instrument_id), self.rate[instrument.quote]
        if position.pnl is None:
            self.unknown -= 1
        else:
            self.unrealized_pnl -= position.pnl
        if not position.is_open:
            position.pnl = ZERO
        elif quote is None or rate is None:
            position.pnl = None
        else:
            price = quote.bid if position.quantity > 0 else quote.ask
            pnl_quote = position.quantity * instrument.contract_size * price - position.cost
            position.pnl = rounded(pnl_quote * rate, self.account.money_scale)
        if position.pnl is None:
            self.unknown += 1
        else:
            self.unrealized_pnl += position.pnl

    def begin_second(self) -> None:
        """Forget what was held and converted in the second before."""
        self.held_in_second = set()
        self.paths_in_second = defaultdict(set)
        self._note_second()

    def used_in_second(self) -> set[int]:
        """The instruments that it has held in the second, or been converted through."""
        quotes = {self.instruments[each].quote for each in self.held_in_second}
        return self.held_in_second.union(*(self.paths_in_second[quote] for quote in quotes))

    def _note_second(self) -> None:
        for (instrument_id, _), position in self.positions.items():
            if position.is_open:
                self.held_in_second.add(instrument_id)
        for currency, path in self.path.items():
            self.paths_in_second[currency] |= {leg.instrument.instrument_id for leg in path or ()}


# Bars


class Base(NamedTuple):
    """Growth index and equity just after a flow."""

    growth: Decimal
    equity: Decimal

    def index_at(self, equity: Decimal) -> Decimal:
        """The growth index where equity is this, at 12 decimals."""
        return quotient(Fraction(self.growth) * Fraction(equity) / Fraction(self.equity), 12)


class OpenBar:
    """A bar, or part of one, while it is walked through."""

    def __init__(self, second: datetime, part: int, state: State, base: Base | None) -> None:
        self.second, self.part, self.state, self.base = second, part, state, base
        self.open = self.close = self.high = self.low = state.performance
        self.net_flow = state.net_flow
        self.fall = ZERO
        self.fall_pct = Fraction(0)
        self.is_priced = self.open is not None
        self.exists = False

    def follow(self) -> None:
        """One more instant, as the state is now: without the flows of that instant."""
        performance = self.state.performance
        if performance != self.close:
            self.exists = True
            self.close = performance
        if performance is None:
            self.is_priced = False
            return
        if performance + self.net_flow <= 0:
            self.base = None
        self.low = performance if self.low is None else min(self.low, performance)
        if self.high is None or performance >= self.high:
            self.high = performance
            return
        fall = self.high - performance
        self.fall = max(self.fall, fall)
        if self.base is not None:
            self.fall_pct = max(self.fall_pct, Fraction(fall) / Fraction(self.high + self.net_flow))

    def finished(self) -> Bar:
        base_index, base_equity = self.base or (None, None)
        is_known, is_indexed = self.high is not None, self.base is not None
        return Bar(
            self.state.account.account_id,
            self.second,
            self.part,
            self.open,
            self.high,
            self.low,
            self.close,
            self.state.balance,
            self.net_flow,
            base_index,
            base_equity,
            self.fall if is_known else None,
            quotient(self.fall_pct, 12) if is_known and is_indexed else None,
            self.is_priced,
            False,  # whether ticks were left out is known at the end of the second
        )


def bars(
    source: Source,
    closed_to: datetime | None = None,
    max_instants: int | None = None,
    since: datetime | None = None,
) -> list[Bar]:
    """The bars of all seconds from `since` up to `closed_to`, by account, second and part.

    Without bounds all that there are; without max_instants every tick counts.
    """
    counting = streams(source.ticks, max_instants)
    with localcontext(EXACT):
        return [
            bar
            for account in sorted(source.accounts)
            for bar in bars_of(account, source, counting, closed_to)
            if since is None or bar.bucket_at >= since
        ]


def bars_of(
    account: Account, source: Source, counting: dict[int, Stream], closed_to: datetime | None
) -> Iterator[Bar]:
    """The bars of an account, from the ticks that count."""
    fills = [each for each in source.fills if each.account_id == account.account_id]
    entries = [each for each in source.entries if each.account_id == account.account_id]
    state = State(account, source.instruments, {each.instrument_id for each in fills})
    timeline: dict[datetime, Happened] = defaultdict(Happened)
    for fill in fills:
        timeline[fill.event_at].fills.append(fill)
    for entry in entries:
        happened = timeline[entry.event_at]
        (happened.flows if entry.kind in FLOWS else happened.others).append(entry)
    for instrument_id in state.moving & counting.keys():
        for tick in counting[instrument_id].ticks:
            timeline[tick.event_at].ticks.append(tick)
    base: Base | None = None
    for second, instants in groupby(sorted(timeline), second_of):
        if closed_to is not None and second >= closed_to:
            return
        of_second: list[Bar] = []
        state.begin_second()
        thinned = {each for each, stream in counting.items() if second in stream.thinned}
        bar = OpenBar(second, 0, state, base)
        for at in instants:
            happened = timeline[at]
            state.apply(happened)
            bar.follow()
            if happened.fills or happened.others:
                bar.exists = True
            if happened.flows:
                if bar.exists:
                    of_second.append(bar.finished())
                base = chained(bar.base, state, happened.flows)
                bar = OpenBar(second, bar.part + 1, state, base)
                bar.exists = True  # a flow was booked at its first instant
        if bar.exists:
            of_second.append(bar.finished())
        is_thinned = not thinned.isdisjoint(state.used_in_second())
        base = bar.base
        yield from (each._replace(is_thinned=is_thinned) for each in of_second)


def chained(base: Base | None, state: State, flows: list[Entry]) -> Base | None:
    """Apply the flows of an instant to the state; the base of the index after them."""
    performance, net_flow_before = state.performance, state.net_flow
    state.flow(flows)
    if performance is None or performance + state.net_flow <= 0:
        return None
    index = ONE if base is None else base.index_at(performance + net_flow_before)
    return Base(index, performance + state.net_flow)
