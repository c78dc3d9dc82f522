"""Sessions that write at the same time: two in a chosen order, and many at random.

The random ones stand for a busy day: traders book on a few accounts and take some of it back,
feeders store ticks of overlapping instruments, and a checker asks all the while what is wrong.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

import psycopg

from tests.conftest import Database
from tests.factories import (
    START,
    Connection,
    Row,
    account,
    entry,
    every,
    fill,
    instrument,
    one,
    positions,
    state,
    ticks,
)
from tests.oracle import Account, Figures, Fill, Oracle, PositionFigures

T = TypeVar("T")

# Two sessions


@contextmanager
def transaction(database: Database) -> Iterator[Connection]:
    """A session of one transaction, which commits at the end of the block."""
    with database.connect() as connection:
        connection.autocommit = False
        yield connection


def pid(connection: Connection) -> int:
    return connection.info.backend_pid


@dataclass(frozen=True)
class Waiting(Generic[T]):
    """A session that waits for a lock, and what its action will return or raise."""

    pid: int
    outcome: Future[T]

    def result(self) -> T:
        return self.outcome.result(timeout=60)


def waiting(database: Database, behind: int, action: Callable[[Connection], T]) -> Waiting[T]:
    """Start an action in a session of its own; returns once it waits behind that session."""
    session = database.connect()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            with session:
                result = action(session)
            outcome.set_result(result)
        except BaseException as error:  # whoever asks for the result gets it
            outcome.set_exception(error)

    started = Waiting(pid(session), outcome)
    threading.Thread(target=run, daemon=True).start()
    with database.connect() as watcher:
        while not waits(watcher, started.pid, behind):
            assert not outcome.done(), f"it did not wait: {outcome.exception()}"
    return started


def waits(watcher: Connection, waiter: int, behind: int) -> bool:
    query = "select %s = any (pg_blocking_pids(%s)) as is_so"
    return bool(one(watcher, query, [behind, waiter])["is_so"])


# A market and accounts for the random sessions

Terms = tuple[str, str, str, int]  # currency, position mode, mark-up, money scale


@dataclass(frozen=True)
class Scene:
    """Instruments with a usual price and a contract size, and accounts."""

    instruments: dict[str, tuple[str, str]]
    accounts: list[Terms]
    unquoted: frozenset[str] = frozenset()

    def open(self, conn: Connection) -> list[int]:
        """Make all of it, with a first price of what is not unquoted; the accounts' ids."""
        for symbol, (_price, contract_size) in self.instruments.items():
            instrument(conn, symbol, contract_size=contract_size)
        quoted = [symbol for symbol in self.instruments if symbol not in self.unquoted]
        ticks(conn, *[(symbol, 0, *[self.instruments[symbol][0]] * 2) for symbol in quoted])
        return [
            account(conn, currency, "1000000", mode, markup, scale)
            for currency, mode, markup, scale in self.accounts
        ]


WIDE = Scene(
    {
        "EUR/USD": ("1.1", "1"),
        "GBP/USD": ("1.3", "1"),
        "USD/JPY": ("150", "1"),
        "USD/CHF": ("0.9", "1"),
        "EUR/GBP": ("0.85", "1"),
        "EUR/JPY": ("165", "1"),
        "GBP/JPY": ("195", "1"),
        "XAU/USD": ("2400", "100"),
        "XAG/USD": ("30", "5000"),
        "OIL/USD": ("80", "1000"),
        "US500/USD": ("5000", "0.1"),
        "DE40/EUR": ("18000", "1"),
        "JP225/JPY": ("39000", "10"),
    },
    [
        ("USD", "netting", "0", 2),
        ("USD", "hedging", "0.005", 2),
        ("EUR", "netting", "0.01", 2),
        ("EUR", "hedging", "0", 4),
        ("JPY", "netting", "0", 0),
        ("JPY", "hedging", "0.005", 0),
        ("GBP", "netting", "0", 2),
        ("CHF", "hedging", "0", 2),
    ],
    frozenset({"USD/CHF", "JP225/JPY", "OIL/USD"}),
)
NARROW = Scene(
    {"EUR/USD": ("1.1", "1"), "GBP/USD": ("1.3", "1")},
    [("USD", "netting", "0", 2), ("EUR", "netting", "0", 2)],
)


# Random sessions

TRADERS = 5
FEEDERS = 3
FIRST_QUOTES_AFTER = 100
"""Steps of a feeder before it feeds what was unquoted."""
BUSINESS = {
    "TM131",  # a close of more than is open
    "TM133",  # a realization before the first price of its conversion
    "TM154",  # a reversal of what a later fill closed
}


@dataclass
class Tally:
    """What happened to the sessions; shared by all of them."""

    calls: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    checks: int = 0

    def __str__(self) -> str:
        calls, refusals = Counter(self.calls), Counter(self.refusals)
        return (
            f"{len(self.calls)} calls {dict(calls)}, refused {dict(refusals)}, "
            f"{self.checks} checks, errors {self.errors[:5]}, broken {self.broken[:5]}"
        )


class Booked(NamedTuple):
    account_id: int
    what: str
    id: int


class Trader:
    """Books at random on accounts that others book on too, and takes back some of its own."""

    def __init__(
        self,
        connection: Connection,
        chance: random.Random,
        tally: Tally,
        scene: Scene,
        accounts: list[int],
    ) -> None:
        self.connection, self.chance, self.tally, self.scene = connection, chance, tally, scene
        self.accounts = accounts
        self.modes = {id_: terms[1] for id_, terms in zip(accounts, scene.accounts, strict=True)}
        self.booked: list[Booked] = []

    def step(self) -> None:
        roll = self.chance.random()
        if roll < 0.75:
            self.booked += self.book(self.chance.choice(self.accounts), nullcontext())
        elif roll < 0.95:
            self.book_several([self.chance.choice(self.accounts)])
        else:
            self.book_several(self.chance.sample(self.accounts, 2))

    def book_several(self, account_ids: list[int]) -> None:
        """Two to four bookings in one transaction, which is sometimes taken back whole."""
        booked: list[Booked] = []
        with self.connection.transaction(force_rollback=self.chance.random() < 0.1) as whole:
            if len(account_ids) > 1:
                self.connection.execute("select api.lock_accounts(%s)", [account_ids])
            for _ in range(self.chance.randint(2, 4)):
                account_id = self.chance.choice(account_ids)
                booked += self.book(account_id, self.connection.transaction())
        if not whole.force_rollback:
            self.booked += booked

    def book(self, account_id: int, scope: AbstractContextManager[object]) -> list[Booked]:
        """One booking; none where it was refused as it may be."""
        act = self.chance.choices(
            [self.fill, self.entry, self.reverse, self.margin_terms], [65, 15, 18, 2]
        )[0]
        self.tally.calls.append(act.__name__)
        try:
            with scope:
                return act(account_id)
        except psycopg.Error as error:
            if error.sqlstate not in BUSINESS:
                raise
            self.tally.refusals.append(error.sqlstate)
            return []

    def fill(self, account_id: int) -> list[Booked]:
        symbol = self.chance.choice(list(self.scene.instruments))
        price = Decimal(self.scene.instruments[symbol][0]) * self.chance.randint(9800, 10200)
        hedging = self.modes[account_id] == "hedging"
        row = fill(
            self.connection,
            account_id,
            symbol,
            self.chance.choice(["buy", "sell"]),
            str(self.chance.choice([self.chance.randint(1, 500), 100])),
            str(price.scaleb(-4)),
            self.chance.choice(["open", "open", "close"]) if hedging else "auto",
            str(self.chance.choice([0, 0, self.chance.randint(1, 9)])),
        )
        return [Booked(account_id, "fill", row["fill_id"])]

    def entry(self, account_id: int) -> list[Booked]:
        kind = self.chance.choice(["deposit", "credit", "financing", "adjustment"])
        sign = 1 if kind == "deposit" else self.chance.choice([1, -1])
        row = entry(self.connection, account_id, kind, str(sign * self.chance.randint(1, 999)))
        return [Booked(account_id, "entry", row["entry_id"])]

    def reverse(self, account_id: int) -> list[Booked]:
        """Of what it has booked on the account, the latest more often than what came before."""
        own = [booked for booked in self.booked if booked.account_id == account_id]
        if own:
            chosen = self.chance.choice(self.chance.choice([own, own[-3:]]))
            self.connection.execute(f"select api.reverse_{chosen.what}(%s)", [chosen.id])
        return []

    def margin_terms(self, account_id: int) -> list[Booked]:
        terms = self.chance.choice(["net", "larger_side"])
        self.connection.execute("select api.set_margin_terms(%s, %s)", [account_id, terms])
        return []


class Feeder:
    """Stores ticks of any instruments, most of them in order and some of them late."""

    def __init__(
        self, connection: Connection, chance: random.Random, tally: Tally, scene: Scene
    ) -> None:
        self.connection, self.chance, self.tally, self.scene = connection, chance, tally, scene
        self.second = 0

    def step(self) -> None:
        self.second += 1
        act = self.chance.choices(
            [self.ingest, self.ingest_twice, self.insert, self.terms], [70, 14, 14, 2]
        )[0]
        self.tally.calls.append(act.__name__)
        act()

    def prices(self) -> list[tuple[str, float, str, str]]:
        """One to five, of which some may be of the same instrument."""
        symbols = [
            symbol
            for symbol in self.scene.instruments
            if symbol not in self.scene.unquoted or self.second > FIRST_QUOTES_AFTER
        ]
        number = self.chance.choice([1, 1, 2, 5])
        return [self.price(symbol) for symbol in self.chance.choices(symbols, k=number)]

    def price(self, symbol: str) -> tuple[str, float, str, str]:
        usual = Decimal(self.scene.instruments[symbol][0])
        bid = (usual * self.chance.randint(9000, 11000)).scaleb(-4)
        ask = bid + (usual * self.chance.randint(0, 3)).scaleb(-4)
        late = self.chance.choice([0, 0, 0, self.chance.randint(1, 60)])
        return symbol, self.second - late, str(bid), str(ask)

    def ingest(self) -> None:
        ticks(self.connection, *self.prices())

    def ingest_twice(self) -> None:
        """As for two partitions, in one transaction."""
        with self.connection.transaction():
            self.ingest()
            self.ingest()

    def insert(self) -> None:
        rows = self.prices()
        self.connection.execute(
            "insert into market.ticks (event_at, instrument_id, bid, ask) "
            "select event_at, instrument_id, bid, ask "
            "from unnest("
            "    %s::text[], %s::timestamptz[], %s::text[]::numeric[], %s::text[]::numeric[]"
            ") n (symbol, event_at, bid, ask) "
            "join api.instruments using (symbol)",
            [
                [row[0] for row in rows],
                [START + timedelta(seconds=row[1]) for row in rows],
                [row[2] for row in rows],
                [row[3] for row in rows],
            ],
        )

    def terms(self) -> None:
        """Another margin rate, which moves no price but waits as if it did."""
        symbol = self.chance.choice(list(self.scene.instruments))
        margin_rate = str(Decimal(self.chance.randint(1, 50)) / 100)
        instrument(self.connection, symbol, margin_rate, self.scene.instruments[symbol][1])


@dataclass
class Sessions:
    """Five traders, three feeders and a checker, each in a session and a thread of its own."""

    database: Database
    scene: Scene
    seed: int
    tally: Tally = field(default_factory=Tally)

    def run(self, steps: int, *, until_broken: bool = False) -> Tally:
        """So many steps of each; or fewer, when the checker shall stop them at what it finds."""
        with self.database.connect() as conn:
            accounts = self.scene.open(conn)
        written = threading.Event()
        found = threading.Event()

        def write(number: int) -> None:
            role = "tidemark_trading" if number < TRADERS else None  # None may insert ticks
            with self.database.connect(role) as connection:
                session = self.session(number, connection, accounts)
                for _ in range(steps):
                    if until_broken and found.is_set():
                        return
                    try:
                        session.step()
                    except psycopg.Error as error:
                        self.tally.errors.append(f"session {number}: {error.sqlstate} {error}")

        def check() -> None:
            with self.database.connect("tidemark_trading") as connection:
                while not written.is_set():
                    self.check(connection)
                    if self.tally.broken:
                        found.set()

        with ThreadPoolExecutor(TRADERS + FEEDERS + 1) as threads:
            checker = threads.submit(check)
            writers = [threads.submit(write, number) for number in range(TRADERS + FEEDERS)]
            try:
                for writer in writers:
                    writer.result()
            finally:
                written.set()
            checker.result()
        with self.database.connect("tidemark_trading") as connection:
            self.check(connection)
        return self.tally

    def run_one_after_another(self, steps: int) -> Tally:
        """The same sessions, each step alone."""
        with self.database.connect() as connection:
            accounts = self.scene.open(connection)
            sessions = [
                self.session(number, connection, accounts) for number in range(TRADERS + FEEDERS)
            ]
            for _ in range(steps):
                for session in sessions:
                    session.step()
            self.check(connection)
        return self.tally

    def session(self, number: int, connection: Connection, accounts: list[int]) -> Trader | Feeder:
        chance = random.Random(f"{self.seed} {number}")
        if number < TRADERS:
            return Trader(connection, chance, self.tally, self.scene, accounts)
        return Feeder(connection, chance, self.tally, self.scene)

    def check(self, connection: Connection) -> None:
        for function in ("verify_equity", "verify_ledger"):
            rows = every(connection, f"select * from api.{function}()")
            self.tally.broken += [f"{function}: {row}" for row in rows]
        self.tally.checks += 1


# What all of it must come to


class Replay(Oracle):
    """The books that there are, calculated anew from what was booked and what ticked."""

    def __init__(self, conn: Connection) -> None:
        super().__init__()
        for row in every(conn, "select * from api.instruments order by instrument_id"):
            self.instrument(
                row["symbol"],
                row["base_currency"],
                row["quote_currency"],
                row["margin_rate"],
                row["contract_size"],
            )
        for row in every(conn, "select symbol, event_at, bid, ask from api.ticks order by tick_id"):
            self.tick(**row)
        for row in every(conn, "select * from api.accounts order by account_id"):
            self.replay(conn, row)

    def replay(self, conn: Connection, row: Row) -> None:
        """An account with its entries, and its fills but those that were taken back."""
        account_id = row["account_id"]
        self.account(
            account_id,
            row["currency"],
            row["position_mode"],
            row["conversion_markup"],
            row["money_scale"],
        )
        self.margin_terms(
            account_id, row["hedged_margin"], row["margin_call_level"], row["close_out_level"]
        )
        entries = (
            "select kind, amount from api.entries where account_id = %s and fill_id is null "
            "order by entry_id"
        )
        for booked in every(conn, entries, [account_id]):
            self.entry(account_id, **booked)
        fills = (
            "select * from api.fills f where account_id = %s and reverses_fill_id is null "
            "and not exists (select from api.fills where reverses_fill_id = f.fill_id) "
            "order by fill_id"
        )
        account = self.accounts[account_id]
        self._rebuild(
            account,
            [self.as_booked(account, booked) for booked in every(conn, fills, [account_id])],
            Fraction(0),
        )

    def as_booked(self, account: Account, row: Row) -> Fill:
        """With the rate of then, which is not that of now."""
        rate = row["conversion_rate"]
        return Fill(
            symbol=row["symbol"],
            leg=self._leg(account, row["side"], row["effect"]),
            traded=Fraction(row["quantity"]) * (1 if row["side"] == "buy" else -1),
            unit_value=Fraction(row["price"]) * self.instruments[row["symbol"]].contract_size,
            commission=Fraction(row["commission"]),
            rate=None if rate is None else Fraction(rate),
        )


def assert_replayed(conn: Connection) -> None:
    """Every figure of every account and position is what the replay says."""
    replay = Replay(conn)
    for account_id in replay.accounts:
        now = state(conn, account_id)
        assert Figures(**only(now, Figures)) == replay.figures(account_id)
        held = [
            PositionFigures(**only(row, PositionFigures)) for row in positions(conn, account_id)
        ]
        assert held == replay.position_figures(account_id)


def only(row: Row, shape: type) -> Row:
    return {each.name: row[each.name] for each in fields(shape)}
