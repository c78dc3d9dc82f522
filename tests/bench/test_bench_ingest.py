"""From the topic into equity: `tidemark ingest` at 20,000 ticks/s, at its limit, and beyond it.

A tick's latency is from the producer's clock, which is its `event_at`, to the commit of the
transaction that stored it, in which the accounts moved.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from tests.bench import books
from tests.bench.producer import ProducerProcess, Quote, Sent
from tests.bench.report import milliseconds, table
from tests.conftest import Connection, Database
from tests.factories import Row, assert_sound, every, one
from tests.glue.broker import TOPIC, IngestProcess, ingest, until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
"""Of the steady rate; the phases of the other two last a quarter, and seven seconds at least."""
PHASE = max(7.0, SECONDS / 4)
ACCOUNTS, POSITIONS = 1_000, 10
RATE = 20_000
LATENCY = 0.250
"""Target for a tick's way into equity at p99, in seconds."""
MEMORY = 150
"""Target for the most memory of the process, in MB."""
AIM = 50_000
"""Target for the highest rate, in ticks/s."""
STEPS = range(20_000, 100_001, 10_000)
CALM, OVERLOAD = 5_000, 80_000
MOST_BEHIND = 500_000
"""Ticks, where an overload ends early: the broker keeps about twice as many."""
LOAD = (
    f"{ACCOUNTS:,} accounts × {POSITIONS} positions, {len(books.CURRENCIES)} currencies,"
    f" {len(books.PAIRS)} pairs; tidemark ingest, the server, and librdkafka's broker with the"
    f" producer in one process share {os.cpu_count()} cores"
)
MEASURED = """
select
    count(*) as ticks,
    count(distinct xid) as transactions,
    extract(epoch from max(committed_at) - min(committed_at))::float8 as seconds,
    (percentile_disc(0.5) within group (order by latency))::float8 as p50,
    (percentile_disc(0.99) within group (order by latency))::float8 as p99,
    max(latency)::float8 as slowest
from (
    select ticks.xmin::text as xid, committed_at,
           extract(epoch from committed_at - event_at) as latency
    from market.ticks cross join lateral pg_xact_commit_timestamp(ticks.xmin) committed_at
    where event_at >= to_timestamp(%s) and committed_at < to_timestamp(%s)
) t
"""


@dataclass(frozen=True)
class Run:
    """Ticks that were sent at one rate."""

    sent: Sent
    began_at: float
    ended_at: float
    stored_at: float
    """When the last of them was stored; like the others, seconds since 1970."""
    behind: list[int]
    """Ticks that were sent and not stored, every tenth of a second."""
    cores: dict[str, float]
    """What each process used of a core while ticks were sent."""

    @property
    def growth(self) -> float:
        """How many ticks more were behind in the second half than in the first, at the median."""
        half = len(self.behind) // 2
        return median(self.behind[half:]) - median(self.behind[:half])


class Bench:
    """The running processes, and a connection to look at what they stored."""

    def __init__(self, conn: Connection, producer: ProducerProcess, process: IngestProcess) -> None:
        self._conn = conn
        self._producer = producer
        self._process = process._process.pid
        self._began_at = time.time()

    def behind(self) -> int:
        """Ticks that are sent and not stored; offsets are counted, as the ticks are many."""
        sent = self._producer.sent
        query = "select coalesce(sum(next_offset), 0)::bigint as ticks from api.ingest_offsets"
        return max(0, sent - int(one(self._conn, query)["ticks"]))

    def send(self, rate: float, seconds: float) -> Run:
        """Send at this rate, and wait until all is stored."""
        before = self._cpu_seconds()
        began_at = time.time()
        self._producer.start(rate)
        behind = [0]
        while time.time() < began_at + seconds and behind[-1] < MOST_BEHIND:
            time.sleep(0.1)
            behind.append(self.behind())
        ended_at = time.time()
        after = self._cpu_seconds()
        sent = self._producer.stop()
        until(lambda: self.behind() == 0, "all ticks stored", 120)
        cores = {name: (after[name] - before[name]) / sent.seconds for name in after}
        return Run(sent, began_at, ended_at, time.time(), behind, cores)

    def measured(self, began_at: float, ended_at: float) -> Row:
        """Of the ticks sent from the one moment on, those stored before the other."""
        return one(self._conn, MEASURED, [began_at, ended_at])

    def memory(self) -> float:
        """The most memory that tidemark ingest had resident so far, in MB."""
        status = Path(f"/proc/{self._process}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024

    def check(self) -> None:
        """Every tick that was sent is stored, and no invariant is broken."""
        stored = one(
            self._conn,
            "select count(*) from market.ticks where event_at >= to_timestamp(%s)",
            [self._began_at],
        )
        assert stored == {"count": self._producer.sent}
        assert every(self._conn, "select * from api.rejected_ticks") == []
        assert_sound(self._conn)

    def _cpu_seconds(self) -> dict[str, float]:
        """Seconds of a core that each process used so far."""
        backend = one(
            self._conn,
            "select pid from pg_stat_activity"
            " where application_name = 'tidemark ingest' and datname = current_database()",
        )
        pids = {
            "ingest": self._process,
            "its session": backend["pid"],
            "broker, producer": self._producer.pid,
        }
        return {name: cpu_seconds(pid) for name, pid in pids.items()}


def cpu_seconds(pid: int) -> float:
    """Seconds of a core that a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def bench(conn: Connection, database: Database, tmp_path: Path) -> Iterator[Bench]:
    """The books are loaded, and ticks have gone the whole way."""
    if one(conn, "show track_commit_timestamp") != {"track_commit_timestamp": "on"}:
        pytest.skip("needs track_commit_timestamp = on")
    books.load(conn, ACCOUNTS, POSITIONS)
    quotes = every(conn, "select symbol, bid, ask from api.quotes")
    with ProducerProcess(TOPIC, [Quote(**quote) for quote in quotes]) as producer:  # noqa: SIM117
        with ingest(database.dsn, producer.address, tmp_path / "ingest.log") as process:
            until(lambda: "consuming" in process.logged(), "start")
            bench = Bench(conn, producer, process)
            bench.send(CALM, 1)
            yield bench
            assert process.is_running(), process.logged()


def latencies(measured: Row) -> list[str]:
    """The cells of p50, p99 and the slowest."""
    return [milliseconds(measured[name]) for name in ("p50", "p99", "slowest")]


def test_bench_a_steady_rate(bench: Bench) -> None:
    run = bench.send(RATE, SECONDS)
    measured = bench.measured(run.began_at, run.stored_at)
    table(
        f"{RATE:,} ticks/s for {SECONDS:.0f} s: {LOAD}",
        [
            *("sent/s", "stored/s", "p50", "p99", "slowest", f"p99 ÷ {milliseconds(LATENCY)}"),
            *("most behind", "ticks a transaction", "transactions/s", "memory", f"÷ {MEMORY} MB"),
        ],
        [
            [
                f"{run.sent.rate:,.0f}",
                f"{measured['ticks'] / measured['seconds']:,.0f}",
                *latencies(measured),
                f"{measured['p99'] / LATENCY:.2f}",
                f"{max(run.behind):,}",
                f"{measured['ticks'] / measured['transactions']:.0f}",
                f"{measured['transactions'] / measured['seconds']:.0f}",
                f"{bench.memory():.0f} MB",
                f"{bench.memory() / MEMORY:.2f}",
            ]
        ],
    )
    bench.check()


def test_bench_the_highest_rate(bench: Bench) -> None:
    """Sustained is a rate at which the ticks behind do not grow, and p99 is within a second."""
    rows: list[list[str]] = []
    highest, cores = 0.0, []
    for rate in STEPS:
        run = bench.send(rate, PHASE)
        measured = bench.measured(run.began_at, run.stored_at)
        is_sustained = run.growth < 0.1 * run.sent.rate and measured["p99"] <= 1.0
        cores = [f"cores: {name}" for name in run.cores]
        rows.append(
            [
                f"{rate:,}",
                f"{run.sent.rate:,.0f}",
                *latencies(measured),
                f"{run.behind[-1]:,}",
                f"{measured['ticks'] / measured['transactions']:.0f}",
                f"{bench.memory():.0f} MB",
                *(f"{used:.2f}" for used in run.cores.values()),
                "yes" if is_sustained else "no",
            ]
        )
        if not is_sustained or run.sent.rate < 0.95 * rate:
            break
        highest = run.sent.rate
    table(
        f"Highest rate of {PHASE:.0f} s each: {highest:,.0f} ticks/s sustained,"
        f" {highest / AIM:.2f} of {AIM:,}: {LOAD}",
        [
            *("wanted/s", "sent/s", "p50", "p99", "slowest", "behind at last"),
            *("ticks a transaction", "memory", *cores, "sustained"),
        ],
        rows,
    )
    bench.check()


def test_bench_overload(bench: Bench) -> None:
    calm = bench.send(CALM, PHASE)
    memory = {"calm": bench.memory()}
    over = bench.send(OVERLOAD, PHASE)
    memory["overload"] = bench.memory()
    after = bench.send(CALM, PHASE)
    memory["calm again"] = bench.memory()
    runs = {"calm": calm, "overload": over, "calm again": after}
    measured = {name: bench.measured(r.began_at, r.stored_at) for name, r in runs.items()}
    table(
        f"Overload until {max(over.behind):,} ticks were behind: {LOAD}",
        [
            *("phase", "sent", "sent/s", "stored/s", "ticks a transaction", "most behind"),
            *("all stored after", "p99", "memory"),
        ],
        [
            [
                name,
                f"{run.sent.ticks:,}",
                f"{run.sent.rate:,.0f}",
                f"{measured[name]['ticks'] / measured[name]['seconds']:,.0f}",
                f"{measured[name]['ticks'] / measured[name]['transactions']:.0f}",
                f"{max(run.behind):,}",
                f"{run.stored_at - run.ended_at:.1f} s",
                milliseconds(measured[name]["p99"]),
                f"{memory[name]:.0f} MB",
            ]
            for name, run in runs.items()
        ],
    )
    bench.check()
