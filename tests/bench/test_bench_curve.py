"""What it costs to keep equity curves: to close a second of bars, and what a tick pays for it."""

import random
import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from tests.bench import books
from tests.bench.report import milliseconds, percentile, table
from tests.factories import Connection, assert_sound, one

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

TICKS = 1_000
"""In the second that is closed."""
ROUNDS = 15


class Second:
    """Seconds of ticks, one after another, and their closing."""

    def __init__(self, conn: Connection, symbols: Sequence[str]) -> None:
        self._conn = conn
        self._symbols = symbols
        self._chance = random.Random(3)
        self._now: datetime = one(
            conn, "select date_trunc('second', clock_timestamp()) + interval '1 second' as now"
        )["now"]

    def tick(self, number: int, width: float = 1.0) -> None:
        """So many ticks within the second, or the first part of it, in one statement."""
        rows = [
            (
                self._chance.choice(self._symbols),
                self._now + timedelta(seconds=width * place / number),
                *books.quote(self._chance),
            )
            for place in range(number)
        ]
        self._conn.execute(
            "select api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
            [list(column) for column in zip(*rows, strict=True)],
        )

    def tick_next(self, number: int) -> None:
        """So many ticks, each newer than all before, in one statement."""
        self._now += timedelta(seconds=0.01)
        self.tick(number, width=0.01)

    def close(self) -> float:
        """Close the second and go on to the next; seconds that it took."""
        self._now += timedelta(seconds=1)
        began = time.perf_counter()
        self._conn.execute("select equity.announce_closing(%s)", [self._now])
        self._conn.execute("select api.close_next_bars('1 second')")
        return time.perf_counter() - began


@pytest.mark.parametrize(
    ("accounts", "symbols", "target"), [(1_000, books.PAIRS, 0.150), (10_000, books.FIFTY, 1.0)]
)
def test_bench_closing_a_second(
    conn: Connection, accounts: int, symbols: Sequence[str], target: float
) -> None:
    books.load(conn, accounts, 10, symbols)
    conn.execute("set synchronous_commit = off")  # as the processes that close bars do
    second = Second(conn, symbols)
    second.close()
    rows = []
    for max_instants in (6, 10, 20):
        conn.execute("update equity.curve_settings set max_instants = %s", [max_instants])
        took = []
        for number in range(ROUNDS + 1):
            second.tick(TICKS)
            seconds = second.close()
            if number > 0:
                took.append(seconds)
        rows.append(
            [
                max_instants,
                *(milliseconds(percentile(took, fraction)) for fraction in (0.5, 0.95)),
                f"{percentile(took, 0.5) / target:.2f}",
                f"{accounts / percentile(took, 0.5):,.0f}",
            ]
        )
    table(
        f"Closing a second with {TICKS:,} ticks: {accounts:,} accounts × 10 positions,"
        f" {len(books.CURRENCIES)} currencies, {len(symbols)} instruments, all in the second",
        ["N", "p50", "p95", f"p50 ÷ {milliseconds(target)}", "bars/s"],
        rows,
    )
    closed = one(conn, "select count(*) as bars, count(distinct bucket_at) from equity.curve_bars")
    assert closed["bars"] >= accounts * 3 * ROUNDS


def test_bench_what_a_tick_pays_for_curves(conn: Connection) -> None:
    """The tick statement looks whether a tick is late: with that, and without."""
    books.load(conn, 1_000, 10, books.PAIRS)
    second = Second(conn, books.PAIRS)
    second.close()
    with_curves = one(conn, "select pg_get_functiondef('equity.tg_value_ticks'::regproc) as text")[
        "text"
    ]
    without, cuts = re.subn(
        r"    if exists \(\s+select from new_ticks where event_at.*?end if;\n", "", with_curves,
        flags=re.DOTALL,
    )  # fmt: skip
    assert cuts == 1
    took: dict[tuple[int, str], list[float]] = {}
    for _ in range(8):
        for name, text in (("without", without), ("with", with_curves)):
            conn.execute(text)
            for number in (1, 50):
                for place in range(22):
                    began = time.perf_counter()
                    second.tick_next(number)
                    if place >= 2:
                        took.setdefault((number, name), []).append(time.perf_counter() - began)
    medians = {key: percentile(seconds, 0.5) for key, seconds in took.items()}
    table(
        "A tick statement without and with curves: 1,000 accounts × 10 positions, 28 pairs",
        ["ticks in it", "without, p50", "with, p50", "with ÷ without"],
        [
            [
                number,
                milliseconds(medians[number, "without"]),
                milliseconds(medians[number, "with"]),
                f"{medians[number, 'with'] / medians[number, 'without']:.2f}",
            ]
            for number in (1, 50)
        ],
    )
    assert_sound(conn)
