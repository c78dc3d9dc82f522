"""Any sequence of bookings and ticks gives the figures of the independent calculation.

Examples run on one database: each in a transaction of its own, which is rolled back at its end.
They are the same in every run; TIDEMARK_TEST_EXAMPLES=1000 tries as many new ones instead.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

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
from tests.oracle import Exposure, Figures, Oracle, PositionFigures, Refusal

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


def quantum(number: Decimal) -> Decimal:
    """At 8 decimals, as a quantity is."""
    return number.quantize(Decimal("1e-8")) if number < 10**19 else LIMIT


# What the database says


def all_figures(conn: Connection) -> dict[int, Figures]:
    rows = every(conn, "select * from api.account_states")
    return {row["account_id"]: taken(Figures, row) for row in rows}


def all_positions(conn: Connection) -> list[tuple[int, PositionFigures]]:
    rows = every(conn, "select * from api.positions order by account_id, symbol, side")
    return [(row["account_id"], taken(PositionFigures, row)) for row in rows]


def all_exposures(conn: Connection) -> list[tuple[int, Exposure]]:
    rows = every(conn, 'select * from api.exposures order by account_id, currency collate "C"')
    return [(row["account_id"], taken(Exposure, row)) for row in rows]


def taken(kind: type[Any], row: Row) -> Any:
    return kind(**{field.name: row[field.name] for field in fields(kind)})


def calls(conn: Connection) -> Counter[str]:
    """How often each way of valuation was taken in this transaction."""
    rows = every(
        conn,
        "select funcname, calls from pg_stat_xact_user_functions "
        "where schemaname = 'equity' and funcname like 'value\\_%'",
    )
    return Counter({row["funcname"]: row["calls"] for row in rows})


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

    def ask(self, what: str, ours: Callable[[], Row], theirs: Callable[[], T]) -> tuple[Row, T]:
        """Both answers, or Refusal where both refuse with the same SQLSTATE."""
        answer, refusal = None, None
        try:
            expected = theirs()
        except Refusal as refused:
            refusal = refused
        try:
            with self.conn.transaction():
                answer = ours()
        except psycopg.Error as error:
            assert error.sqlstate == (refusal and refusal.sqlstate), error
        ...

    @initialize(
        opening=st.tuples(*[st.none() | some_ticks(symbol) for symbol in INSTRUMENTS]),
        money=st.booleans(),
    )
    def open(self, opening: tuple[Tick | None, ...], money: bool) -> None:
        self.ticks([tick for tick in opening if tick is not None])
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
            lambda: fill(
                self.conn, account_id, symbol, side, f"{quantity:f}", f"{price:f}", effect,
                f"{commission:f}",
            ),
            lambda: self.oracle.fill(
                account_id, symbol, side, quantity, price, commission, effect
            ),
            "fill",
        )  # fmt: skip
        if row is not None:
            self.fills.append((account_id, number, row["fill_id"]))

    @rule(
        place=st.integers(0, len(ACCOUNTS) - 1),
        symbol=st.sampled_from(list(INSTRUMENTS)),
        side=st.sampled_from(["buy", "sell"]),
        quantity=quantities,
        effect=st.sampled_from(["open", "open", "auto", "close"]),
        commission=st.integers(0, 9),
        data=st.data(),
    )
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
        """A fill of any size in any instrument."""
        if ACCOUNTS[place].mode == "netting" and effect == "open":
            effect = "auto"
        unit = Decimal(1).scaleb(-ACCOUNTS[place].scale)
        price = data.draw(prices(symbol))
        self.fill(self.account_ids[place], symbol, side, quantity, price, effect, commission * unit)

    def held(self) -> list[tuple[int, str, str]]:
        return [
            (account_id, *key)
            for account_id, book in self.oracle.accounts.items()
            for key in book.positions
        ]

    @precondition(lambda self: self.held())
    @rule(
        share=st.sampled_from(["1", "1", "0.5", "0.3333", "0.9999", "1.5"]),
        effect=st.sampled_from(["auto", "close", "close"]),
        data=st.data(),
    )
    def reduce(self, share: str, effect: str, data: st.DataObject) -> None:
        """A fill against a position: closes part of it or all, or flips it."""
        account_id, symbol, leg = data.draw(st.sampled_from(self.held()))
        held = Decimal(self.oracle.accounts[account_id].positions[symbol, leg].quantity.numerator)
        held /= self.oracle.accounts[account_id].positions[symbol, leg].quantity.denominator
        quantity = quantum(abs(held) * Decimal(share))
        if 0 < quantity < LIMIT:
            price = data.draw(prices(symbol))
            side = "sell" if held > 0 else "buy"
            effect = (
                effect if leg == "net" and share != "1.5" else "auto" if leg == "net" else "close"
            )
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
            lambda: one(self.conn, "select * from api.reverse_fill(%s)", [fill_id]),
            lambda: before if again else self.oracle.reverse_fill(account_id, number),
            "repeated reversal" if again else "reversal",
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
        row = one(
            self.conn,
            "select *, null as margin_state from api.portfolio_totals(null, %s, %s)",
            [currency, scale],
        )
        assert taken(Figures, row) == self.oracle.totals(self.account_ids, currency, scale)

    @invariant()
    def every_figure_is_equal(self) -> None:
        each = self.account_ids
        assert all_figures(self.conn) == {id_: self.oracle.figures(id_) for id_ in each}
        assert all_positions(self.conn) == [
            (id_, position) for id_ in each for position in self.oracle.position_figures(id_)
        ]
        assert all_exposures(self.conn) == [
            (id_, exposure) for id_ in each for exposure in self.oracle.exposures(id_)
        ]


def test_any_sequence_gives_the_figures_of_the_independent_calculation(market: Market) -> None:
    seen: Counter[str] = Counter()
    run_state_machine_as_test(lambda: Trading(market, seen), settings=examples(usual=60, steps=30))
    print(seen)
