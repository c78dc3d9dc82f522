"""Ten minutes of ticks and fills: updates stay HOT, and no table but the records grows."""

import os
import random
import threading
import time

import pytest

from tests.bench import books
from tests.bench.report import table
from tests.conftest import Database
from tests.factories import Connection, assert_sound, every, fill, ticks

pytestmark = pytest.mark.bench

SECONDS = float(os.environ.get("TIDEMARK_BENCH_SOAK", "600"))
TICKS_A_SECOND = 5_000
FILLS_A_SECOND = 20
STEADY = [
    "market.quotes", "market.conversion_rates", "ledger.accounts", "ledger.positions",
    "equity.account_states", "equity.legs", "equity.leg_classes",
]  # fmt: skip
"""Tables that hold what is, not what has happened."""


@pytest.mark.timeout(SECONDS + 300)
def test_bench_soak(database: Database, conn: Connection) -> None:
    books.load(conn)
    over = threading.Event()
    counts = {"ticks": 0, "fills": 0}
    began = time.monotonic()

    def feed() -> None:
        chance = random.Random(1)
        with database.connect() as connection:
            connection.execute("set synchronous_commit = off")
            while not over.wait(0.01):
                seconds = 2 + time.monotonic() - began
                due = int((seconds - 2) * TICKS_A_SECOND) - counts["ticks"]
                symbols = chance.choices(books.PAIRS, k=due)
                ticks(connection, *[(name, seconds, *books.quote(chance)) for name in symbols])
                counts["ticks"] += due

    def book() -> None:
        chance = random.Random(2)
        with database.connect() as connection:
            while not over.wait(1 / FILLS_A_SECOND):
                side, quantity = chance.choice(["buy", "sell"]), str(chance.randint(1, 5_000))
                account_id = chance.randint(1, 1_000)
                symbol = books.held(account_id, chance.randrange(10), books.PAIRS)
                fill(connection, account_id, symbol, side, quantity, "1.2")
                counts["fills"] += 1

    def sizes() -> dict[str, int]:
        return {
            row["name"]: row["kb"]
            for row in every(
                conn,
                "select name, pg_table_size(name::regclass) / 1024 as kb"
                " from unnest(%s::text[]) name",
                [STEADY],
            )
        }

    conn.execute("select pg_stat_force_next_flush()")
    conn.execute("select pg_stat_reset()")
    threads = [threading.Thread(target=feed), threading.Thread(target=book)]
    for thread in threads:
        thread.start()
    samples = []
    for part in range(1, 11):
        while time.monotonic() - began < SECONDS * part / 10:
            time.sleep(0.1)
        samples.append(sizes())
    over.set()
    for thread in threads:
        thread.join()

    conn.execute("select pg_stat_force_next_flush()")
    hot = {
        row["name"]: row["percent"]
        for row in every(
            conn,
            "select schemaname || '.' || relname as name,"
            " round(100.0 * n_tup_hot_upd / nullif(n_tup_upd, 0), 1) as percent"
            " from pg_stat_user_tables",
        )
    }
    table(
        f"{SECONDS:.0f} s of {counts['ticks'] / SECONDS:,.0f} ticks/s and"
        f" {counts['fills'] / SECONDS:.0f} fills/s, 1,000 accounts × 10 positions, 28 pairs",
        ["table", "kB after a tenth", "half", "all of the time", "HOT updates, %"],
        [
            [name, samples[0][name], samples[4][name], samples[9][name], hot[name] or "none"]
            for name in STEADY
        ],
    )
    assert_sound(conn)
