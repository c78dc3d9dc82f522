"""1,000 clients on one relay, each watching an account that changes ten times a second.

Beside it, in the same run, the simplest thing people write: a NOTIFY a row, sent on as it is
(naive_relay.py). It carries the account's figures alone; the relay's updates carry its open
positions as well. Latency is from the commit of the tick statement that wrote a state, by the
database's clock, to the state's arrival in a process with all clients, on one machine.
"""

import bisect
import os
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from tests.bench import books
from tests.bench.clients import Arrival, Clients, Hello
from tests.bench.naive_relay import STATES, NaiveRelay
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Connection, Database
from tests.factories import every, one
from tests.glue.relays import running_relay

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

CLIENTS = int(os.environ.get("TIDEMARK_BENCH_CLIENTS", "1000"))
CHANGES = 10
"""A second, of every account."""
SECONDS = 20.0
POSITIONS = 2
INGEST = """
select from api.ingest_ticks(
    %s, array_fill(clock_timestamp(), array[cardinality(%s::text[])]), %s::numeric[], %s::numeric[]
)
"""


class Cost(NamedTuple):
    """What a process has used so far."""

    cpu: float
    memory: float


class Outcome(NamedTuple):
    """What became of the states of one run."""

    name: str
    changes: int
    late: list[float]
    """Seconds from commit to arrival, of each delivery."""
    cpu: float
    memory: float
    """Bytes a client."""
    statements: list[float]
    seconds: float
    """That the changes took."""


def test_bench_fanout(conn: Connection, database: Database) -> None:
    books.load(conn, CLIENTS, POSITIONS)
    hellos = [
        Hello(row["token"], row["account_id"])
        for row in every(
            conn,
            "select account_id, token from api.accounts,"
            " api.issue_token('bench ' || account_id, array[account_id])",
        )
    ]
    outcomes = []
    with running_relay(database.dsn, *unlimited()) as relay:
        outcomes.append(
            run(conn, "tidemark relay", relay.host, relay.port, relay.process.pid, hellos)
        )
    with NaiveRelay(conn, database, STATES) as naive:
        outcomes.append(run(conn, "NOTIFY a row", naive.host, naive.port, naive.pid, hellos))
    table(
        f"{CLIENTS:,} clients on one relay, each on an account of {POSITIONS} positions that"
        f" changes {CHANGES} times a second, {SECONDS:.0f} s",
        [
            *(
                "",
                "changes/s",
                "deliveries/s",
                "of all changes",
                "commit → client p50",
                "p95",
                "p99",
            ),
            *("p99 ÷ 100 ms", "relay's CPU", "a delivery", "memory a client", "tick statement p50"),
        ],
        [cells(outcome) for outcome in outcomes],
    )


def unlimited() -> list[str]:
    """All clients come from one address."""
    return ["--max-clients", "2000", "--max-clients-per-address", "2000"]


def run(
    conn: Connection, name: str, host: str, port: int, pid: int, hellos: Sequence[Hello]
) -> Outcome:
    alone = cost(pid)
    with Clients(host, port, hellos) as clients:
        with_clients = cost(pid)
        change_all(conn, 2.0)
        time.sleep(1)
        clients.begin()
        began = cost(pid)
        started = time.monotonic()
        commits, statements = change_all(conn, SECONDS)
        seconds = time.monotonic() - started
        time.sleep(1)
        used = cost(pid).cpu - began.cpu
        arrivals = clients.arrivals()
    return Outcome(
        name,
        len(commits) * len(hellos),
        [lateness(arrival, commits) for arrival in arrivals],
        used,
        (with_clients.memory - alone.memory) / len(hellos),
        statements,
        seconds,
    )


def change_all(conn: Connection, seconds: float) -> tuple[list[float], list[float]]:
    """A tick of every instrument CHANGES times a second: when committed, and what each took."""
    chance = random.Random(1)
    symbols = list(books.PAIRS)
    commits, statements = [], []
    due = time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1 / CHANGES
        quotes = [books.quote(chance) for _ in symbols]
        began = time.perf_counter()
        conn.execute(INGEST, [symbols, symbols, [q[0] for q in quotes], [q[1] for q in quotes]])
        statements.append(time.perf_counter() - began)
        commits.append(
            float(
                one(
                    conn,
                    "select extract(epoch from pg_xact_commit_timestamp(xmin)) as at"
                    " from equity.account_states where account_id = 1",
                )["at"]
            )
        )
    return commits, statements


def lateness(arrival: Arrival, commits: Sequence[float]) -> float:
    """Tick statements follow one another: a state's commit is the first after it was written."""
    place = bisect.bisect_left(commits, arrival.updated_at)
    return arrival.received_at - commits[min(place, len(commits) - 1)]


def cost(pid: int) -> Cost:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    return Cost(
        (int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
    )


def cells(outcome: Outcome) -> list[str]:
    late = outcome.late
    return [
        outcome.name,
        f"{outcome.changes / outcome.seconds:,.0f}",
        f"{len(late) / outcome.seconds:,.0f}",
        f"{len(late) / outcome.changes:.0%}",
        milliseconds(percentile(late, 0.5)),
        milliseconds(percentile(late, 0.95)),
        milliseconds(percentile(late, 0.99)),
        f"{percentile(late, 0.99) / 0.1:.2f}",
        f"{outcome.cpu / outcome.seconds:.0%}",
        f"{outcome.cpu / len(late) * 1e6:.0f} µs",
        f"{outcome.memory / 1000:.0f} kB",
        milliseconds(percentile(outcome.statements, 0.5)),
    ]
