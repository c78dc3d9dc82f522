"""Any sequence of bookings and ticks gives the figures of the independent calculation.

Examples run on one database: each in a transaction of its own, which is rolled back at its end, and
begins with ticks, as one with both ticks and bookings must.
They are the same in every run; with TIDEMARK_TEST_EXAMPLES=1000 and --timeout=0 as many new ones
are tried instead.
"""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.pq import TransactionStatus

from tests.factories import (
    START,
    Connection,
    Row,
    account,
    assert_sound,
    entry,
    every,
    fill,
    instrument,
    one,
    tick,
    ticks,
)
from tests.oracle import (
    Exposure,
    Figures,
    Oracle,
    PositionFigures,
    Refusal,
    decimal,
    decimal_or_none,
)

T = TypeVar("T")
WANTED = os.environ.get("TIDEMARK_TEST_EXAMPLES")


def examples(usual: int, steps: int = 1) -> settings:
    """The same ones in every run; new ones, each with a blob to repeat it, when asked for."""
    return settings(
        max_examples=int(WANTED or usual),
        stateful_step_count=steps,
        derandomize=WANTED is None,
        database=None,
        print_blob=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


# The market and the accounts, the same for all examples


class Terms(NamedTuple):
    """Of an instrument: margin rate, contract size, a usual price and its decimals."""

    margin_rate: str
    contract_size: str
    usual: str
    decimals: int


INSTRUMENTS = {
    "EUR/USD": Terms("0.0333", "1", "1.1", 5),
    "USD/JPY": Terms("0.04", "1", "150", 3),
    "EUR/JPY": Terms("0.04", "1000", "165", 3),
    "GBP/USD": Terms("0.05", "100000", "1.3", 5),
    "XAU/USD": Terms("0.05", "100", "2400", 2),
    "XAU/EUR": Terms("1", "0.00000001", "2200", 2),
    "GBP/CHF": Terms("0", "0.1", "1.15", 5),
    "USD/NOK": Terms("0.05", "1", "10", 4),
}


class AccountTerms(NamedTuple):
    currency: str
    mode: str
    markup: str
    scale: int
    hedged_margin: str


ACCOUNTS = [
    AccountTerms("USD", "netting", "0", 2, "larger_side"),
    AccountTerms("JPY", "netting", "0", 0, "larger_side"),
    AccountTerms("EUR", "hedging", "0.005", 2, "larger_side"),
    AccountTerms("USD", "hedging", "0", 8, "net"),
    AccountTerms("GBP", "netting", "0.99", 3, "net"),
    AccountTerms("NOK", "hedging", "0", 2, "net"),
]
CURRENCIES = ["USD", "JPY", "EUR", "GBP", "XAU", "CHF", "NOK"]


@dataclass(frozen=True)
class Market:
    """A database with instruments without prices and accounts without money."""

    conn: Connection
    account_ids: list[int]

    def oracle(self) -> Oracle:
        """The same in the independent calculation."""
        oracle = Oracle()
        for symbol, terms in INSTRUMENTS.items():
            oracle.instrument(
                symbol, *symbol.split("/"), Decimal(terms.margin_rate), Decimal(terms.contract_size)
            )
        for account_id, terms in zip(self.account_ids, ACCOUNTS, strict=True):
            oracle.account(account_id, terms.currency, terms.mode, terms.markup, terms.scale)
            oracle.margin_terms(account_id, terms.hedged_margin, "1", "0.5")
        return oracle


@pytest.fixture
def market(conn: Connection) -> Market:
    for symbol, terms in INSTRUMENTS.items():
        instrument(conn, symbol, terms.margin_rate, terms.contract_size)
    # the day's chunk of the hypertable, by a tick that moves nothing else
    instrument(conn, "AAA/BBB")
    tick(conn, "AAA/BBB", 0, "1", "1")
    account_ids = []
    for terms in ACCOUNTS:
        account_id = account(conn, terms.currency, None, terms.mode, terms.markup, terms.scale)
        conn.execute("select api.set_margin_terms(%s, %s)", [account_id, terms.hedged_margin])
        account_ids.append(account_id)
    conn.execute("set track_functions = 'all'")
    return Market(conn, account_ids)


# What may be drawn


def numbers(decimals: int, limit: Decimal) -> st.SearchStrategy[Decimal]:
    """Of up to 12 significant digits, positive, of any size below the limit, down to one unit of
    the last decimal."""
    return (
        st.tuples(st.integers(1, 10**12 - 1), st.integers(-decimals, 12))
        .map(lambda drawn: Decimal(drawn[0]).scaleb(drawn[1]))
        .filter(lambda number: number < limit)
    )


LIMIT = Decimal(10**15)
quantities = st.one_of(
    st.integers(1, 5000).map(Decimal),
    st.integers(1, 10**6).map(lambda units: Decimal(units).scaleb(-2)),
    numbers(8, LIMIT),
    st.sampled_from([Decimal("0.00000001"), LIMIT - 1, Decimal("999999999999999.99999999")]),
)


def prices(symbol: str) -> st.SearchStrategy[Decimal]:
    """Around the usual one with the instrument's decimals, or any."""
    usual, decimals = Decimal(INSTRUMENTS[symbol].usual), INSTRUMENTS[symbol].decimals
    unit = Decimal(1).scaleb(-decimals)
    near = st.integers(9500, 10500).map(lambda part: (usual * part / 10**4).quantize(unit))
    return st.one_of(near, near, near, numbers(10, LIMIT))


def spreads(symbol: str) -> st.SearchStrategy[Decimal]:
    unit = Decimal(1).scaleb(-INSTRUMENTS[symbol].decimals)
    return st.one_of(
        st.just(Decimal(0)), st.integers(1, 30).map(lambda units: units * unit), numbers(10, LIMIT)
    )


Prices = tuple[tuple[Decimal, Decimal], ...]
"""Bid and ask of each instrument."""


class Tick(NamedTuple):
    """lateness is in seconds behind the newest tick."""

    symbol: str
    lateness: int
    bid: Decimal
    ask: Decimal


@st.composite
def some_ticks(draw: st.DrawFn, symbol: str | None = None) -> Tick:
    symbol = symbol or draw(st.sampled_from(list(INSTRUMENTS)))
    bid = draw(prices(symbol))
    ask = bid + draw(spreads(symbol))
    lateness = draw(st.sampled_from([0, 0, 0, 1, 4]))
    return Tick(symbol, lateness, bid, ask if ask < LIMIT else bid)


def sides(tick: Tick) -> tuple[Decimal, Decimal]:
    return tick.bid, tick.ask


@st.composite
def some_amounts(draw: st.DrawFn) -> tuple[int, str, Decimal]:
    """The place of an account, a kind of entry and an amount that it takes."""
    place = draw(st.integers(0, len(ACCOUNTS) - 1))
    unit = Decimal(1).scaleb(-ACCOUNTS[place].scale)
    amount = draw(
        st.one_of(
            st.integers(1, 10**6).map(Decimal),
            st.integers(1, 10**6).map(lambda units: units * unit),
            st.just(LIMIT - unit),
        )
    )
    kind = draw(st.sampled_from(["deposit", "withdrawal", "credit", "financing", "adjustment"]))
    sign = {"deposit": 1, "withdrawal": -1}.get(kind) or draw(st.sampled_from([1, -1]))
    return place, kind, sign * amount


trades = {
    "place": st.integers(0, len(ACCOUNTS) - 1),
    "symbol": st.sampled_from(list(INSTRUMENTS)),
    "side": st.sampled_from(["buy", "sell"]),
    "quantity": quantities,
    "commission": st.sampled_from([0, 0, 7]),
}


# What the database says


def all_figures(conn: Connection) -> dict[int, Figures]:
    rows = every(conn, "select * from api.account_states")
    return {row["account_id"]: taken(Figures, row) for row in rows}


def all_positions(conn: Connection) -> list[tuple[int, PositionFigures]]:
    rows = every(conn, "select * from api.positions order by account_id, symbol, side")
    return [(row["account_id"], taken(PositionFigures, row)) for row in rows]


def all_converted_costs(conn: Connection) -> list[tuple[int, str, str, Decimal | None]]:
    rows = every(
        conn,
        "select account_id, symbol, position_side, converted_cost "
        "from ledger.positions join market.instruments using (instrument_id)",
    )
    return sorted((tuple(row.values()) for row in rows), key=lambda row: row[:3])


def all_exposures(conn: Connection) -> list[tuple[int, Exposure]]:
    rows = every(conn, 'select * from api.exposures order by account_id, currency collate "C"')
    return [(row["account_id"], taken(Exposure, row)) for row in rows]


def taken(kind: type[Any], row: Row) -> Any:
    return kind(**{field.name: row[field.name] for field in fields(kind)})


WAYS = ["value_accounts", "value_by_change", "value_all_accounts"]


def calls(conn: Connection) -> Counter[str]:
    """How often each way of valuation was taken in this transaction."""
    rows = every(
        conn,
        "select funcname, calls from pg_stat_xact_user_functions "
        "where schemaname = 'equity' and funcname = any (%s)",
        [WAYS],
    )
    return Counter({row["funcname"]: row["calls"] for row in rows})


def predicted(theirs: Callable[[], T]) -> T | str:
    """What the independent calculation says, or the SQLSTATE with which it refuses."""
    try:
        return theirs()
    except Refusal as refused:
        return refused.sqlstate


# Any sequence


class Trading(RuleBasedStateMachine):
    """Everything that can happen in accounts, in any order, beside the independent calculation."""

    def __init__(self, market: Market, seen: Counter[str]) -> None:
        super().__init__()
        self.conn, self.account_ids, self.seen = market.conn, market.account_ids, seen
        self.oracle = market.oracle()
        self.second = 0
        self.fills: list[tuple[int, int, int]] = []
        self.entries: list[tuple[int, int, int]] = []
        self.conn.execute("begin")

    def teardown(self) -> None:
        try:
            if self.conn.info.transaction_status == TransactionStatus.INTRANS:
                assert_sound(self.conn)
                self.seen += calls(self.conn)
        finally:
            self.conn.execute("rollback")

    def book(self, what: str, ours: Callable[[], Row], theirs: Callable[[], Decimal]) -> Row | None:
        """Book in both, which realizes the same; None where both refuse with the same SQLSTATE."""
        row, expected = self.answer(ours), predicted(theirs)
        self.seen[f"{what} {row if isinstance(row, str) else 'booked'}"] += 1
        if isinstance(row, str):
            assert row == expected
            return None
        assert row["realized_pnl"] == expected
        return row

    def answer(self, ours: Callable[[], Row]) -> Row | str:
        """The row, or the SQLSTATE of a refusal."""
        try:
            with self.conn.transaction():
                return ours()
        except psycopg.Error as error:
            note(f"refused: {error}")
            return str(error.sqlstate)

    @initialize(
        opening=st.tuples(*[some_ticks(symbol) for symbol in INSTRUMENTS]),
        unquoted=st.one_of(
            st.just(set()), st.just(set()), st.sets(st.sampled_from(list(INSTRUMENTS)))
        ),
        money=st.booleans(),
    )
    def open(self, opening: tuple[Tick, ...], unquoted: set[str], money: bool) -> None:
        self.ticks([each for each in opening if each.symbol not in unquoted])
        if money:
            for place in range(len(ACCOUNTS)):
                self.entry((place, "deposit", Decimal(100_000)))

    @rule(batch=st.lists(some_ticks(), min_size=1, max_size=5))
    def ticks(self, batch: list[Tick]) -> None:
        self.second += 1
        for each in batch:
            at = START + timedelta(seconds=self.second - each.lateness)
            self.oracle.tick(each.symbol, at, each.bid, each.ask)
        counts = ticks(
            self.conn,
            *[(t.symbol, self.second - t.lateness, f"{t.bid:f}", f"{t.ask:f}") for t in batch],
        )
        assert counts == {"accepted": len(batch), "rejected": 0}

    @rule(tick=some_ticks())
    def tick(self, tick: Tick) -> None:
        self.ticks([tick])

    @rule(cash=some_amounts())
    def entry(self, cash: tuple[int, str, Decimal]) -> None:
        place, kind, amount = cash
        account_id = self.account_ids[place]
        row = entry(self.conn, account_id, kind, f"{amount:f}")
        self.entries.append(
            (account_id, len(self.oracle.accounts[account_id].entries), row["entry_id"])
        )
        self.oracle.entry(account_id, kind, amount)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def reverse_entry(self, data: st.DataObject) -> None:
        account_id, number, entry_id = data.draw(st.sampled_from(self.entries))
        one(self.conn, "select * from api.reverse_entry(%s)", [entry_id])
        self.oracle.reverse_entry(account_id, number)

    def fill(
        self,
        account_id: int,
        symbol: str,
        side: str,
        quantity: Decimal,
        price: Decimal,
        effect: str,
        commission: Decimal,
    ) -> None:
        number = len(self.oracle.accounts[account_id].fills)
        row = self.book(
            "fill",
            lambda: fill(
                self.conn, account_id, symbol, side, f"{quantity:f}", f"{price:f}", effect,
                f"{commission:f}",
            ),
            lambda: self.oracle.fill(
                account_id, symbol, side, quantity, price, commission, effect
            ),
        )  # fmt: skip
        if row is not None:
            self.fills.append((account_id, number, row["fill_id"]))

    @rule(data=st.data(), **trades)
    def open_or_add(self, place: int, data: st.DataObject, **trade: Any) -> None:
        """A fill that no account refuses for its effect; in a netting one it may close, too."""
        effect = "open" if ACCOUNTS[place].mode == "hedging" else "auto"
        self.trade(place, data=data, effect=effect, **trade)

    @rule(data=st.data(), effect=st.sampled_from(["auto", "open", "close"]), **trades)
    def trade_with_any_effect(self, data: st.DataObject, **trade: Any) -> None:
        self.trade(data=data, **trade)

    def trade(
        self,
        place: int,
        symbol: str,
        side: str,
        quantity: Decimal,
        effect: str,
        commission: int,
        data: st.DataObject,
    ) -> None:
        self.fill(
            self.account_ids[place], symbol, side, quantity, data.draw(prices(symbol)), effect,
            commission * Decimal(1).scaleb(-ACCOUNTS[place].scale),
        )  # fmt: skip

    def held(self) -> list[tuple[int, str, str]]:
        return [
            (account_id, *key)
            for account_id, book in self.oracle.accounts.items()
            for key in book.positions
        ]

    @precondition(lambda self: self.held())
    @rule(share=st.sampled_from(["1", "1", "0.5", "0.3333", "0.9999"]), data=st.data())
    def close(self, share: str, data: st.DataObject) -> None:
        """A fill that closes a part of a position or all of it."""
        self.trade_held("close", Decimal(share), data)

    @precondition(lambda self: self.held())
    @rule(share=st.sampled_from(["-1", "-0.3333", "1.5", "2"]), data=st.data())
    def add_or_flip(self, share: str, data: st.DataObject) -> None:
        """A fill that adds to a position, or one beyond zero: a hedging account refuses that."""
        self.trade_held("auto", Decimal(share), data)

    def trade_held(self, effect: str, share: Decimal, data: st.DataObject) -> None:
        account_id, symbol, leg = data.draw(st.sampled_from(self.held()))
        held = decimal(self.oracle.accounts[account_id].positions[symbol, leg].quantity)
        traded = -held * share
        quantity = abs(traded).quantize(Decimal("1e-8")) if abs(traded) < LIMIT else LIMIT - 1
        if leg != "net":
            effect = "close" if share > 0 else "open"
        if quantity > 0:
            side = "buy" if traded > 0 else "sell"
            price = data.draw(prices(symbol))
            self.fill(account_id, symbol, side, quantity, price, effect, Decimal(0))

    @precondition(lambda self: self.fills)
    @rule(data=st.data())
    def reverse_fill(self, data: st.DataObject) -> None:
        """A fill, the same one perhaps again."""
        account_id, number, fill_id = data.draw(st.sampled_from(self.fills))
        before = one(
            self.conn,
            "select max(realized_pnl) as realized_pnl from api.fills where reverses_fill_id = %s",
            [fill_id],
        )["realized_pnl"]
        again = before is not None
        self.book(
            "repeated reversal" if again else "reversal",
            lambda: one(self.conn, "select * from api.reverse_fill(%s)", [fill_id]),
            lambda: before if again else self.oracle.reverse_fill(account_id, number),
        )

    @rule(
        place=st.integers(0, len(ACCOUNTS) - 1),
        hedged_margin=st.sampled_from(["net", "larger_side"]),
        levels=st.sampled_from([("1", "0.5"), ("0", "0"), ("100", "100"), ("1.2", "0.75")]),
    )
    def margin_terms(self, place: int, hedged_margin: str, levels: tuple[str, str]) -> None:
        account_id = self.account_ids[place]
        self.conn.execute(
            "select api.set_margin_terms(%s, %s, %s::numeric, %s::numeric)",
            [account_id, hedged_margin, *levels],
        )
        self.oracle.margin_terms(account_id, hedged_margin, *levels)

    @rule(currency=st.sampled_from(CURRENCIES), scale=st.sampled_from([0, 2, 8]))
    def totals(self, currency: str, scale: int) -> None:
        query = "select *, null as margin_state from api.portfolio_totals(null, %s, %s)"
        row = self.answer(lambda: one(self.conn, query, [currency, scale]))
        assert (row if isinstance(row, str) else taken(Figures, row)) == predicted(
            lambda: self.oracle.totals(self.account_ids, currency, scale)
        )

    @invariant()
    def every_figure_is_equal(self) -> None:
        each = self.account_ids
        assert all_figures(self.conn) == {id_: self.oracle.figures(id_) for id_ in each}
        assert all_positions(self.conn) == [
            (id_, position) for id_ in each for position in self.oracle.position_figures(id_)
        ]
        assert all_converted_costs(self.conn) == [
            (id_, *key, decimal_or_none(position.converted_cost))
            for id_ in each
            for key, position in sorted(self.oracle.accounts[id_].positions.items())
        ]
        assert all_exposures(self.conn) == [
            (id_, exposure) for id_ in each for exposure in self.oracle.exposures(id_)
        ]


def test_any_sequence_gives_the_figures_of_the_independent_calculation(market: Market) -> None:
    seen: Counter[str] = Counter()
    run_state_machine_as_test(lambda: Trading(market, seen), settings=examples(usual=60, steps=50))
    assert all(seen[what] for what in [*WAYS, "fill booked", "reversal booked"]), seen


# The three ways of valuation


class Leg(NamedTuple):
    """A fill that opens a position."""

    place: int
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal


def fives(symbol: str) -> st.SearchStrategy[Decimal]:
    """Prices near the usual one whose last decimal is 0 or 5."""
    decimals = INSTRUMENTS[symbol].decimals
    usual = int(Decimal(INSTRUMENTS[symbol].usual).scaleb(decimals)) // 5
    near = st.integers(usual - 100, usual + 100).map(lambda n: Decimal(5 * n).scaleb(-decimals))
    return near | st.sampled_from([Decimal("0.5"), Decimal(1), Decimal("2.5")])


@st.composite
def tying_legs(draw: st.DrawFn) -> Leg:
    """An odd multiple of the quantity that gains half a minor unit when the last decimal gains 5;
    or a hair more of it."""
    place, symbol = draw(st.sampled_from(UNCONVERTED))
    terms, scale = INSTRUMENTS[symbol], ACCOUNTS[place].scale
    unit = Decimal(1).scaleb(terms.decimals - scale - 1) / Decimal(terms.contract_size)
    times = 2 * draw(st.integers(0, 10 ** draw(st.integers(1, 6)))) + 1
    hair = draw(st.sampled_from(["0", "0", "0.00000001"]))
    side = draw(st.sampled_from(["buy", "sell"]))
    return Leg(place, symbol, side, times * unit + Decimal(hair), draw(fives(symbol)))


UNCONVERTED = [
    (place, symbol)
    for place, terms in enumerate(ACCOUNTS)
    for symbol in INSTRUMENTS
    if symbol.endswith(terms.currency)
]


@st.composite
def any_legs(draw: st.DrawFn) -> Leg:
    """Of all sizes: wide ones of 10^14 units, tiny ones, and all between them."""
    place = draw(st.integers(0, len(ACCOUNTS) - 1))
    symbol = draw(st.sampled_from(list(INSTRUMENTS)))
    wide = st.integers(1, 10**6).map(lambda part: 10**14 + Decimal(part).scaleb(-6))
    tiny = st.integers(1, 100).map(lambda part: Decimal(part).scaleb(-8))
    quantity = draw(st.one_of(quantities, wide, tiny))
    side = draw(st.sampled_from(["buy", "sell"]))
    return Leg(place, symbol, side, quantity, draw(st.one_of(fives(symbol), prices(symbol))))


kinds_of_legs = [tying_legs(), any_legs(), tying_legs() | any_legs()]
some_prices = st.tuples(
    *[
        st.one_of(*[fives(symbol).map(lambda bid: (bid, bid))] * 3, some_ticks(symbol).map(sides))
        for symbol in INSTRUMENTS
    ]
)


def unrealized_pnls(conn: Connection) -> dict[int, Decimal]:
    rows = every(conn, "select account_id, unrealized_pnl from equity.account_states")
    return {row["account_id"]: row["unrealized_pnl"] for row in rows}


def sums_of_positions(conn: Connection, account_ids: list[int]) -> dict[int, Decimal]:
    rows = every(
        conn,
        "select account_id, coalesce(sum(v.unrealized_pnl), 0) as unrealized_pnl "
        "from unnest(%s) account_id left join equity.position_values v using (account_id) "
        "group by account_id",
        [account_ids],
    )
    return {row["account_id"]: row["unrealized_pnl"] for row in rows}


def ties(conn: Connection) -> int:
    """Positions whose P&L lies exactly between two minor units."""
    query = (
        "select count(*) as ties from equity.position_values "
        "where abs(unrealized_pnl_quote * conversion_rate) * power(10::numeric, money_scale) % 1 "
        "    = 0.5"
    )
    return int(one(conn, query)["ties"])


def test_the_three_ways_of_valuation_give_the_same_figures(market: Market) -> None:
    """All ticks in one statement value all accounts, one at a time they value changes."""
    conn, seen = market.conn, Counter[str]()

    def open_legs(legs: list[Leg]) -> None:
        for place, symbol, side, quantity, price in legs:
            effect = "open" if ACCOUNTS[place].mode == "hedging" else "auto"
            with suppress(psycopg.Error), conn.transaction():  # no path, or P&L beyond all bounds
                fill(
                    conn, market.account_ids[place], symbol, side,
                    f"{quantity:f}", f"{price:f}", effect,
                )  # fmt: skip

    def move(second: int, moved: Prices) -> None:
        batch = [
            (symbol, second, f"{bid:f}", f"{ask:f}")
            for symbol, (bid, ask) in zip(INSTRUMENTS, moved, strict=True)
        ]
        with conn.transaction(force_rollback=True):
            ticks(conn, *batch)
            together = unrealized_pnls(conn)
        for each in batch:
            ticks(conn, each)
        expected = sums_of_positions(conn, market.account_ids)
        assert unrealized_pnls(conn) == expected
        assert together == expected
        seen["ties"] += ties(conn)

    @examples(usual=40)
    @given(
        opening=some_prices,
        legs=st.one_of(*[st.lists(each, min_size=8, max_size=25) for each in kinds_of_legs]),
        moves=st.lists(some_prices, min_size=2, max_size=4),
    )
    def check(opening: Prices, legs: list[Leg], moves: list[Prices]) -> None:
        with conn.transaction(force_rollback=True):
            move(1, opening)
            for second, moved in enumerate(moves, 2):
                open_legs(legs[second % 2 :: 2])
                move(second, moved)
            seen.update(calls(conn))
            assert_sound(conn)

    check()
    assert all(seen[what] for what in [*WAYS, "ties"]), seen
