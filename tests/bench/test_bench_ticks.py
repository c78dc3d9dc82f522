"""What a tick statement and a fill cost, and how fast a file goes in."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import replay_check
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Database
from tests.factories import Connection, fill, instrument, ticks
from tests.glue.test_replay_check import write_day

pytestmark = pytest.mark.bench

CURRENCIES = ["EUR", "GBP", "AUD", "NZD", "USD", "CAD", "CHF", "JPY"]
PAIRS = [f"{a}/{b}" for place, a in enumerate(CURRENCIES) for b in CURRENCIES[place + 1 :]]
ACCOUNTS, POSITIONS = 1_000, 10
STATEMENTS = 300


def load(conn: Connection) -> None:
    """28 quoted pairs, and accounts in five currencies with ten positions each."""
    for pair in PAIRS:
        instrument(conn, pair)
    ticks(conn, *[(pair, 0, "1.10000", "1.10010") for pair in PAIRS])
    conn.execute(
        "select api.open_account('Bench ' || n, (%s::text[])[1 + n %% 5])"
        " from generate_series(1, %s) n",
        [["USD", "EUR", "GBP", "JPY", "CHF"], ACCOUNTS],
    )
    conn.execute(
        "select api.record_fill(account_id, (%s::text[])[1 + (account_id + place * 3) %% 28],"
        " case place %% 2 when 0 then 'buy' else 'sell' end, 1000 + place, 1.1)"
        " from api.accounts, generate_series(1, %s) place",
        [PAIRS, POSITIONS],
    )
    conn.execute("vacuum analyze")


def timed(action: Callable[[int], object], times: int = STATEMENTS) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        action(number)
        seconds.append(time.perf_counter() - began)
    return seconds


def test_bench_tick_statements_and_fills(conn: Connection) -> None:
    load(conn)
    chance = random.Random(1)
    clock = iter(range(1, 1_000_000))

    def tick_one(_: int) -> None:
        price = f"1.1{chance.randint(1000, 9999)}"
        ticks(conn, (chance.choice(PAIRS), float(next(clock)), price, price))

    def tick_all(_: int) -> None:
        price = f"1.1{chance.randint(1000, 9999)}"
        second = float(next(clock))
        ticks(conn, *[(pair, second, price, price) for pair in PAIRS])

    def bare_update(_: int) -> None:
        conn.execute(
            "update equity.account_states set unrealized_pnl = unrealized_pnl + 0.01,"
            " unpriced_positions = unpriced_positions, version = version + 1,"
            " updated_at = clock_timestamp()"
        )

    def book(number: int) -> None:
        fill(conn, 1 + number % ACCOUNTS, chance.choice(PAIRS), "buy", "100", "1.1")

    runs = {
        "bare update of all account states (the floor)": timed(bare_update, 50),
        "tick statement, all 28 pairs": timed(tick_all, 50),
        "tick statement, one pair": timed(tick_one),
        "api.record_fill": timed(book),
    }
    floor = percentile(runs["bare update of all account states (the floor)"], 0.5)
    table(
        f"{ACCOUNTS} accounts × {POSITIONS} positions, 5 currencies, 28 pairs, one session",
        ["statement", "p50", "p99", "p50 ÷ floor"],
        [
            [
                name,
                milliseconds(percentile(seconds, 0.5)),
                milliseconds(percentile(seconds, 0.99)),
                f"{percentile(seconds, 0.5) / floor:.1f}",
            ]
            for name, seconds in runs.items()
        ],
    )


def test_bench_replay(database: Database, tmp_path: Path) -> None:
    write_day(tmp_path / "day.csv.gz", seed=1, count=100_000)
    outcome = replay_check.run(database.dsn, tmp_path / "day.csv.gz", parts=1)
    assert outcome.is_equal
    table(
        "tidemark replay --speed max, generated ticks of 3 instruments, 6 accounts × 3 positions",
        ["ticks", "seconds", "ticks/s"],
        [[outcome.ticks, f"{outcome.seconds:.1f}", f"{outcome.ticks / outcome.seconds:,.0f}"]],
    )
