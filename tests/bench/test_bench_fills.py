"""What booking a fill costs while 5,000 ticks/s move the prices and bars are closed.

The feeder does not wait for the disk (feeder.py); bookings wait for theirs.

How long a fill waits for the lock of the prices is told by the server's clock inside the statement
that books it: a call of its own takes the lock first, and `api.record_fill` then finds it held.
What a fill takes besides the two is the commit, and the way to the server and back.
"""

import os
import random
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from glue.curve import CurveKeeper
from tests.bench import books
from tests.bench.feeder import RATE, Fed, Feeder, Quote, quotes_of
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Connection, Database
from tests.factories import assert_sound, one
from tests.glue.broker import count

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

SECONDS = min(25.0, float(os.environ.get("BENCH_SECONDS", "25")))
PAUSE = 0.030
"""Seconds between two fills of a session, at the mean."""
SESSIONS = (1, 4)
BOOK = """
select
    clock_timestamp() as asked_at,
    market.lock_prices_to_book(),
    clock_timestamp() as locked_at,
    (api.record_fill(%s, %s, %s, %s, %s)).fill_id,
    clock_timestamp() as booked_at
"""


class Booked(NamedTuple):
    """Seconds of one fill."""

    total: float
    """As the client sees it."""
    waited: float
    """For the lock of the prices."""
    worked: float
    """Inside `api.record_fill`."""


def book(database: Database, quotes: Sequence[Quote], accounts: int, seed: int) -> list[Booked]:
    """Book fills one after another, with pauses, for SECONDS."""
    chance = random.Random(seed)
    booked = []
    end = time.monotonic() + SECONDS
    with database.connect() as connection:
        while time.monotonic() < end:
            time.sleep(chance.uniform(0, 2 * PAUSE))
            symbol, bid, _ = chance.choice(quotes)
            account, quantity = chance.randint(1, accounts), chance.randint(1, 50) * 100
            began = time.perf_counter()
            row = one(
                connection, BOOK, [account, symbol, chance.choice(["buy", "sell"]), quantity, bid]
            )
            total = time.perf_counter() - began
            waited = row["locked_at"] - row["asked_at"]
            worked = row["booked_at"] - row["locked_at"]
            booked.append(Booked(total, waited.total_seconds(), worked.total_seconds()))
    return booked


def book_at_once(
    database: Database, quotes: Sequence[Quote], accounts: int, sessions: int
) -> list[Booked]:
    """What so many sessions booked, each as `book` does."""
    booked: list[Booked] = []
    threads = [
        threading.Thread(
            target=lambda seed=seed: booked.extend(book(database, quotes, accounts, seed))
        )
        for seed in range(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return booked


@pytest.mark.parametrize(
    ("accounts", "symbols", "target"), [(1_000, books.PAIRS, 0.020), (10_000, books.FIFTY, 0.100)]
)
def test_bench_fills_beside_ticks(
    conn: Connection, database: Database, accounts: int, symbols: Sequence[str], target: float
) -> None:
    books.load(conn, accounts, 10, symbols)
    books.make_wal_files(conn)
    quotes = quotes_of(conn)
    is_durable = one(conn, "show fsync") == {"fsync": "on"}
    fills_before, ticks_before = count(conn, "ledger.fills"), count(conn)
    bookings: dict[int, list[Booked]] = {}
    feeds: dict[int, Fed] = {}
    closed: dict[int, list[str]] = {}
    for sessions in SESSIONS:
        closed_before = count(conn, "equity.curve_bars")
        with (
            CurveKeeper(database.dsn, role="tidemark_watch", process="bench"),
            Feeder(database, quotes) as feeder,
        ):
            bookings[sessions] = book_at_once(database, quotes, accounts, sessions)
            closed[sessions] = closed_bars(conn, closed_before)
        feeds[sessions] = feeder.fed
    load = (
        f"{accounts:,} accounts × 10 positions, {len(books.CURRENCIES)} currencies,"
        f" {len(symbols)} instruments, {RATE:,} ticks/s, fsync {'on' if is_durable else 'OFF'}"
    )
    table(
        f"api.record_fill with synchronous commit, {PAUSE * 1000:.0f} ms between two fills of a"
        f" session; the wait for the prices timed by a call of its own in the statement: {load}",
        [
            *("sessions", "fills", "p50", "p99", "slowest", f"p99 ÷ {milliseconds(target)}"),
            *("waiting: p50", "p99", "of all time", "record_fill: p50", "p99"),
            *("commit and way: p50", "p99"),
        ],
        [fill_cells(sessions, booked, target) for sessions, booked in bookings.items()],
    )
    table(
        f"The ticks meanwhile: {load}",
        ["sessions that book", "stored/s", "ticks a statement", "statement p50", "p99", "slowest"],
        [tick_cells(sessions, fed) for sessions, fed in feeds.items()],
    )
    table(
        f"The bars of equity curves meanwhile: {load}",
        ["sessions that book", "bars closed/s", "event time behind the clock", "marked late"],
        [[str(sessions), *cells] for sessions, cells in closed.items()],
    )
    assert count(conn, "ledger.fills") - fills_before == sum(map(len, bookings.values()))
    assert count(conn) - ticks_before == sum(fed.ticks for fed in feeds.values())
    assert_sound(conn)


def closed_bars(conn: Connection, before: int) -> list[str]:
    """Bars closed a second, how far behind, and how many stretches something late has marked."""
    status = one(
        conn, "select clock_timestamp() - closed_to as behind, marks from api.curve_status"
    )
    bars = count(conn, "equity.curve_bars") - before
    return [
        f"{bars / SECONDS:,.0f}",
        f"{status['behind'].total_seconds():.1f} s",
        str(status["marks"]),
    ]


def fill_cells(sessions: int, booked: Sequence[Booked], target: float) -> list[str]:
    total = [fill.total for fill in booked]
    waited = [fill.waited for fill in booked]
    worked = [fill.worked for fill in booked]
    rest = [fill.total - fill.waited - fill.worked for fill in booked]
    return [
        str(sessions),
        f"{len(booked):,}",
        *ends(total),
        milliseconds(max(total)),
        f"{percentile(total, 0.99) / target:.2f}",
        *ends(waited),
        f"{sum(waited) / sum(total):.0%}",
        *ends(worked),
        *ends(rest),
    ]


def tick_cells(sessions: int, fed: Fed) -> list[str]:
    return [
        str(sessions),
        f"{fed.ticks / fed.seconds:,.0f}",
        f"{fed.ticks / len(fed.statements):.0f}",
        *ends(fed.statements),
        milliseconds(max(fed.statements)),
    ]


def ends(seconds: Sequence[float]) -> list[str]:
    """The cells of p50 and p99."""
    return [milliseconds(percentile(seconds, fraction)) for fraction in (0.5, 0.99)]
