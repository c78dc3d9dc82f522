"""From the topic into equity: `tidemark ingest` at 20,000 ticks/s, at its limit, and beyond it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench import books
from tests.bench.producer import ProducerProcess, Quote, Sent
from tests.bench.report import milliseconds, table
from tests.conftest import Connection, Database
from tests.factories import assert_sound, one
from tests.glue.broker import TOPIC, IngestProcess, ingest, until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
ACCOUNTS, POSITIONS = 1_000, 10
RATE = 20_000
LATENCY = 0.250
"""Target for a tick's way into equity at p99, in seconds."""
MEMORY = 150
"""Target for the process' peak, in MB."""
AIM = 50_000
"""Target for the highest rate, in ticks/s."""
STEPS = range(20_000, 100_001, 10_000)
CALM, OVERLOAD = 5_000, 120_000
MOST_BEHIND = 500_000
"""Ticks: the broker has room for about twice as many."""
LOAD = (
    f"{ACCOUNTS:,} accounts × {POSITIONS} positions, {len(books.CURRENCIES)} currencies,"
    f" {len(books.PAIRS)} pairs; librdkafka's broker and the producer in one process,"
    f" tidemark ingest, and the server on {os.cpu_count()} cores"
)


@pytest.fixture(autouse=True)
def loaded(conn: Connection) -> None:
    if one(conn, "show track_commit_timestamp") != {"track_commit_timestamp": "on"}:
        pytest.skip("needs track_commit_timestamp = on")
    books.load(conn, ACCOUNTS, POSITIONS)


@dataclass
class Bench:
    """The running processes, and a connection to look at what they stored."""

    conn: Connection
    producer: ProducerProcess
    process: IngestProcess

    def stored(self) -> int:
        """Ticks stored so far; their offsets are counted, as the ticks are too many."""
        query = "select coalesce(sum(next_offset), 0)::bigint as ticks from api.ingest_offsets"
        return int(one(self.conn, query)["ticks"])

    def behind(self) -> int:
        """Ticks that are sent and not stored."""
        sent = self.producer.sent
        return max(0, sent - self.stored())

    def send(self, rate: float, seconds: float) -> "Run":
        """Send at this rate, and wait until all is stored."""
        began_at, cpu = time.time(), self.cpu()
        self.producer.start(rate)
        most_behind = 0
        while time.time() < began_at + seconds and most_behind < MOST_BEHIND:
            time.sleep(0.1)
            most_behind = max(most_behind, self.behind())
        sent = self.producer.stop()
        cores = {name: (used - cpu[name]) / sent.seconds for name, used in self.cpu().items()}
        ended_at, left = time.time(), self.behind()
        until(lambda: self.behind() == 0, "all ticks stored", 120)
        return Run(sent, began_at, ended_at, time.time() - ended_at, most_behind, left, cores)

    def cpu(self) -> dict[str, float]:
        """Seconds of a core that each process has used."""
        backend = one(
            self.conn,
            "select pid from pg_stat_activity where application_name = 'tidemark ingest'"
            " and datname = current_database()",
        )
        return {
            "ingest": cpu_seconds(self.process._process.pid),
            "its backend": cpu_seconds(backend["pid"]),
            "broker and producer": cpu_seconds(self.producer.pid),
        }

    def memory_peak(self) -> int:
        """The most memory that the ingest process had resident so far, in MB."""
        return memory_peak(self.process._process.pid)

    def check(self) -> None:
        """Every tick that was sent is stored, and no invariant is broken."""
        ticks = one(
            self.conn,
            "select (select count(*) from market.ticks where event_at >= %s) as stored,"
            " (select count(*) from api.rejected_ticks) as rejected",
            [self.began_at],
        )
        assert ticks == {"stored": self.producer.sent, "rejected": 0}
        assert_sound(self.conn)


@dataclass(frozen=True)
class Run:
    """Ticks that were sent at one rate."""

    sent: Sent
    began_at: float
    ended_at: float
    catch_up: float
    """Seconds from the last tick sent until all were stored."""
    most_behind: int
    left_behind: int
    """Ticks that were sent and not stored when the sending ended."""
    cores: dict[str, float]
    """What each process used while ticks were sent."""
