"""Reconciler, broker and database are killed at any moment, and time goes by with steady trading:
nothing is lost, nothing is doubled, every planted fault is found and nothing else is.

`TIDEMARK_SOAK_SECONDS` lets the soak last longer than the suite has time for: `make soak`.
"""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from glue import db, migrate
from glue.brokers.simulated import SimulatedBroker
from glue.errors import ServerError
from glue.local.server import EmbeddedServer
from tests.factories import assert_sound, every, one
from tests.glue.desks import Desk, Reconciler, reconciler
from tests.supervisors import PATIENCE, crash, until

SOAK_SECONDS = float(os.environ.get("TIDEMARK_SOAK_SECONDS", "25"))
BEAT = 1.0
GRACE = 1.5
"""Seconds: more than a busy machine keeps a thread waiting between broker and ledger."""
KILLS = 12
PAIR = "EUR/USD"
D = Decimal


@contextlib.contextmanager
def desk_at(dsn: str, broker: SimulatedBroker) -> Iterator[Desk]:
    with db.connect(dsn) as connection:
        desk = Desk(dsn, connection, broker)
        connection.execute(
            "select from api.set_reconciliation_settings(make_interval(secs => %s),"
            " p_price_window => '0.5 seconds')",
            [GRACE],
        )
        yield desk


class Trader:
    """Trades on both sides, the broker first, in a thread: what the database does not take at once
    is booked when it is back, under the same id."""

    def __init__(self, desk: Desk, account_ids: list[int], *, pause: float, seed: int) -> None:
        self._desk = desk
        self._account_ids = account_ids
        self._pause = pause
        self._random = random.Random(seed)
        self._end = threading.Event()
        self._failure: BaseException | None = None
        self._mid = D("1.10000")
        self.held: dict[int, threading.Lock] = {each: threading.Lock() for each in account_ids}
        """Nobody trades on an account whose lock is held."""
        self.trades = 0

    def __enter__(self) -> "Trader":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish the trade under way."""
        self._end.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._end.wait(self._pause):
                self._persist(self._tick)
                account_id = self._random.choice(self._account_ids)
                if self.held[account_id].acquire(blocking=False):
                    try:
                        self._trade(account_id)
                    finally:
                        self.held[account_id].release()
        except BaseException as failure:
            self._failure = failure

    def _tick(self, desk: Desk) -> None:
        self._mid += self._random.choice((D("-0.00002"), D(0), D("0.00002")))
        half = D("0.00050")
        desk.tick({PAIR: (f"{self._mid - half}", f"{self._mid + half}")})

    def _trade(self, account_id: int) -> None:
        side = self._random.choice(("buy", "sell"))
        quantity = self._random.randint(1, 9) * 1000
        number = self._desk.number_of[account_id]
        price = self._desk.price(PAIR, side)
        transaction_id = self._desk.books.record_fill(number, PAIR, side, D(quantity), price)
        self._persist(
            lambda desk: desk.connection.execute(
                "select from api.record_fill(%s, %s, %s, %s, %s, p_external_id => %s)",
                [account_id, PAIR, side, quantity, price, transaction_id],
            )
        )
        self.trades += 1

    def _persist(self, work: Callable[[Desk], object]) -> None:
        """Do it until it is done: the database may be away."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self._desk.connection.closed:
                    self._desk.connection = db.connect(self._desk.dsn)
                work(self._desk)
            except (psycopg.OperationalError, ServerError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return


def assert_both_sides_have_the_same(desk: Desk, account_ids: list[int]) -> None:
    """Fill by fill, by the broker's ids."""
    for account_id in account_ids:
        account = desk.books.account(desk.number_of[account_id])
        theirs = [
            str(number)
            for number, booked in account.booked.items()
            if type(booked.event).__name__ == "Fill"
        ]
        ours = every(
            desk.connection,
            "select external_id from api.fills where account_id = %s order by event_seq",
            [account_id],
        )
        assert sorted(row["external_id"] for row in ours) == sorted(theirs)


def test_killing_anything_at_any_moment_loses_and_doubles_nothing(
    home: Path, tmp_path: Path
) -> None:
    server = EmbeddedServer(home)
    dsn = server.ensure_started(may_install=True)
    migrate.to_head(dsn)
    chance = random.Random(os.environ.get("TIDEMARK_SEED", "17"))
    with SimulatedBroker() as broker, desk_at(dsn, broker) as desk:
        account_ids = [desk.open(f"K-{number}") for number in range(4)]
        for account_id in account_ids:
            desk.trade(account_id)
        desk.connection.execute(
            "select api.set_reconciliation_terms(%s, p_repair => true)", [account_ids[0]]
        )
        running = [Reconciler(desk, tmp_path / f"log{n}", **FAST) for n in range(2)]
        try:
            own = Desk.beside(desk)
            with Trader(own, account_ids[1:], pause=0.1, seed=3):
                until(desk.has_first_answers, "all were compared once")
                for kill in range(KILLS):
                    time.sleep(chance.uniform(0.1, 1.2))
                    match chance.choice(("reconciler", "broker", "database", "sessions")):
                        case "reconciler":
                            victim = chance.randrange(2)
                            running[victim].kill()
                            running[victim] = Reconciler(desk, tmp_path / f"again{kill}", **FAST)
                        case "broker":
                            broker.go_away(chance.uniform(0.1, 2.0))
                        case "database":
                            crash(server)
                        case "sessions":
                            with db.connect(dsn) as connection:
                                connection.execute(
                                    "select pg_terminate_backend(pid) from pg_stat_activity"
                                    " where application_name like 'tidemark reconcile%'"
                                )
                    desk.trade_at_broker(account_ids[0])  # and booked by the reconciler
            desk.connection = db.connect(dsn)
            traded_at = datetime.now(UTC)

            def agrees(account_id: int) -> bool:
                run = desk.runs(account_id)[-1]
                seen = (run["outcome"], run["differences"])
                return run["started_at"] > traded_at and seen == ("passed", 0)

            until(lambda: all(map(agrees, account_ids)), lambda: f"all agree\n{desk.lasting()}")
        finally:
            for each in running:
                each.kill()

        assert_both_sides_have_the_same(desk, account_ids)
        assert_sound(desk.connection)
        assert {row["cause"] for row in desk.discrepancies()} <= {"missing_fill"}
        assert {row["account_id"] for row in desk.discrepancies()} <= {account_ids[0]}
        told = Counter(row["discrepancy_id"] for row in desk.alerts())
        assert told == Counter(row["discrepancy_id"] for row in desk.discrepancies())
        assert {row["status"] for row in desk.alerts()} <= {"resolved"}


FAST = {"TIDEMARK_RECONCILE_BEAT": f"{BEAT:g}"}


class Planted(NamedTuple):
    """A fault: what it is to be called, how it is planted, and how it is mended."""

    cause: str
    plant: Callable[[Desk, int], str | None]
    mend: Callable[[Desk, int, str | None], object]


def _change_balance(desk: Desk, account_id: int, by: str) -> None:
    number = desk.number_of[account_id]
    desk.books.set_balance(number, desk.books.account(number).balance + D(by))


def _change_position(desk: Desk, account_id: int, by: int) -> None:
    number = desk.number_of[account_id]
    (position,) = desk.books.account(number).positions.values()
    quantity = position.quantity + by
    desk.books.set_position(
        number,
        PAIR,
        "long" if quantity > 0 else "short",
        abs(quantity),
        position.cost / position.quantity,
    )


def _distort(desk: Desk, account_id: int, **how: object) -> None:
    desk.books.distort(desk.number_of[account_id], **how)


def _charge(desk: Desk, account_id: int) -> str:
    return desk.books.record_entry(desk.number_of[account_id], "financing", D("-2.50"))


PLANTED = (
    Planted(
        "missing_fill",
        lambda desk, account_id: desk.trade_at_broker(account_id, quantity=7000),
        lambda desk, account_id, fill: desk.connection.execute(
            "select from api.record_fill(%s, %s, 'buy', 7000, %s, p_external_id => %s)",
            [
                account_id,
                PAIR,
                desk.books.account(desk.number_of[account_id]).booked[int(fill or 0)].event.price,  # type: ignore[union-attr]
                fill,
            ],
        ),
    ),
    Planted(
        "extra_fill",
        lambda desk, account_id: str(desk.trade_in_ledger(account_id, quantity=7000)),
        lambda desk, _, fill: desk.connection.execute("select from api.reverse_fill(%s)", [fill]),
    ),
    Planted(
        "balance",
        lambda desk, account_id: _change_balance(desk, account_id, "-12.34"),
        lambda desk, account_id, _: _change_balance(desk, account_id, "12.34"),
    ),
    Planted(
        "quantity",
        lambda desk, account_id: _change_position(desk, account_id, 500),
        lambda desk, account_id, _: _change_position(desk, account_id, -500),
    ),
    Planted(
        "financing",
        _charge,
        lambda desk, account_id, entry: desk.connection.execute(
            "select from api.record_entry(%s, 'financing', -2.50, p_external_id => %s)",
            [account_id, entry],
        ),
    ),
    Planted(
        "price_side",
        lambda desk, account_id: _distort(desk, account_id, price_side="mid"),
        lambda desk, account_id, _: _distort(desk, account_id),
    ),
)


@pytest.mark.timeout(SOAK_SECONDS + 180)
def test_no_false_alarm_and_no_fault_missed_while_time_goes_by(home: Path, tmp_path: Path) -> None:
    dsn = EmbeddedServer(home).ensure_started(may_install=True)
    migrate.to_head(dsn)
    chance = random.Random(os.environ.get("TIDEMARK_SEED", "5"))
    expected: list[tuple[int, str]] = []
    with SimulatedBroker() as broker, desk_at(dsn, broker) as desk:
        desk.tick({PAIR: ("1.09950", "1.10050")})
        account_ids = [desk.open(f"S-{number}") for number in range(6)]
        for account_id in account_ids:
            desk.trade(account_id, "buy", 500_000)
        with (
            reconciler(desk, tmp_path / "log", **FAST) as running,
            Trader(Desk.beside(desk), account_ids, pause=0.05, seed=11) as trader,
        ):

            def state() -> str:
                return f"{desk.lasting()}\n{running.logged()}"

            def is_found() -> bool:
                found = [(row["account_id"], row["cause"]) for row in desk.discrepancies()]
                assert found == expected[: len(found)], state()
                return found == expected

            def is_resolved() -> bool:
                return is_found() and desk.open_causes() == []

            until(desk.has_first_answers, lambda: f"all were compared once\n{state()}")
            end = time.monotonic() + SOAK_SECONDS
            while time.monotonic() < end:
                # late answers of some accounts, and now and then a broker that restarts
                number = chance.randrange(6)
                broker.misbehave(f"S-{number}", delay=chance.uniform(0, 0.6 * BEAT), times=3)
                if chance.random() < 0.2:
                    broker.go_away(chance.uniform(0.1, 1.5))
                fault, account_id = chance.choice(PLANTED), chance.choice(account_ids)
                with trader.held[account_id]:
                    what = fault.plant(desk, account_id)
                    expected.append((account_id, fault.cause))
                    until(is_found, lambda: f"{expected[-1]} is found\n{state()}", 30)
                    fault.mend(desk, account_id, what)
                    until(is_resolved, lambda: f"{expected[-1]} is resolved\n{state()}", 30)
            assert running.stop() == 0
        assert "Traceback" not in running.logged()

        assert is_resolved()
        assert len(expected) >= SOAK_SECONDS / 12
        alerts = desk.alerts()
        assert [row["discrepancy_id"] for row in alerts] == [
            row["discrepancy_id"] for row in desk.discrepancies()
        ]
        assert {row["status"] for row in alerts} == {"resolved"}
        assert trader.trades > SOAK_SECONDS
        counted = one(desk.connection, "select count(*) as n from api.reconciliation_runs")
        assert counted["n"] > SOAK_SECONDS
        assert_sound(desk.connection)
