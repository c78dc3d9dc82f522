"""What it costs to compare 500 accounts with their broker, and how soon a fault is seen."""

import os
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from glue import up
from glue.brokers.simulated import TOKEN, Control
from glue.settings import Address
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Connection, Database
from tests.factories import assert_sound, every, instrument, one
from tests.supervisors import until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ACCOUNTS = 500
SYMBOLS = [f"{currency}/USD" for currency in ("EUR", "GBP", "AUD", "NZD", "XAU")]
ANSWER = 0.02
"""Seconds that the broker takes for an answer."""
FAULTS = 15
BEAT = 30.0
QUANTITY = 10_000


@contextmanager
def simulated_broker() -> Iterator[tuple[str, Control]]:
    """A broker in a process of its own."""
    address = up.free_address(Address("127.0.0.1", 0), "it")
    with subprocess.Popen(
        [sys.executable, "-m", "glue.brokers.simulated", "--listen", str(address)]
    ) as process:
        try:
            url = f"http://{address}"
            until(lambda: not up.is_free(address), "the broker listens")
            yield url, Control(url)
        finally:
            process.terminate()


def open_accounts(conn: Connection, broker: Control) -> list[int]:
    """500 accounts with five positions each, the same on both sides."""
    for symbol in SYMBOLS:
        instrument(conn, symbol)
    broker.call("set_prices", prices=[[symbol, "1.10000", "1.10010"] for symbol in SYMBOLS])
    conn.execute(
        "select from api.ingest_ticks(%s, %s, array_fill(1.10000, array[5]),"
        " array_fill(1.10010, array[5]))",
        [SYMBOLS, [datetime.now(UTC)] * len(SYMBOLS)],
    )
    ids = []
    for number in range(ACCOUNTS):
        name = f"B-{number}"
        account_id = one(
            conn,
            "select account_id from api.open_account(%s, 'USD', p_broker => 'oanda',"
            " p_broker_account_id => %s)",
            [name, name],
        )["account_id"]
        conn.execute("select from api.record_entry(%s, 'deposit', 100000)", [account_id])
        broker.call("create_account", account=name, currency="USD", balance="100000")
        for symbol in SYMBOLS:
            trade(conn, broker, account_id, number, symbol)
        ids.append(account_id)
    return ids


def trade(
    conn: Connection | None, broker: Control, account_id: int, number: int, symbol: str
) -> None:
    """A trade on both sides; without a connection at the broker only."""
    transaction_id = broker.call(
        "record_fill",
        account=f"B-{number}",
        symbol=symbol,
        side="buy",
        quantity=str(QUANTITY),
        price="1.10010",
    )
    if conn is not None:
        conn.execute(
            "select from api.record_fill(%s, %s, 'buy', %s, 1.10010, p_external_id => %s)",
            [account_id, symbol, QUANTITY, transaction_id],
        )


def figures(address: Address) -> dict[str, float]:
    """What the reconciler serves for Prometheus."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def peak_memory(pid: int) -> float:
    """The most that a process has had in memory, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def test_500_accounts(database: Database, conn: Connection) -> None:
    chance = random.Random(1)
    with simulated_broker() as (url, broker):
        ids = open_accounts(conn, broker)
        broker.call("misbehave", delay=ANSWER)
        metrics = up.free_address(Address("127.0.0.1", 0), "it")
        reconciler = subprocess.Popen(
            [sys.executable, "-m", "glue", "reconcile", "--metrics-listen", str(metrics)],
            env={
                **os.environ,
                "TIDEMARK_DSN": database.dsn,
                "TIDEMARK_OANDA": url,
                "TIDEMARK_OANDA_TOKEN": TOKEN,
            },
            stderr=subprocess.DEVNULL,
        )
        try:
            durations = []

            def runs() -> int:
                return int(figures(metrics)["tidemark_reconcile_run_seconds_count"])

            def finish(number: int) -> None:
                until(lambda: runs() >= number, f"run {number}", 2 * BEAT)
                total = figures(metrics)["tidemark_reconcile_run_seconds_sum"]
                durations.append(total - sum(durations))

            until(lambda: every(conn, "select from api.reconciliation_runs limit 1"), "it runs")
            finish(1)
            for number, account_id in enumerate(ids):
                trade(conn, broker, account_id, number, SYMBOLS[number % len(SYMBOLS)])
            finish(2)
            assert every(conn, "select * from api.discrepancies") == []

            planted: dict[int, datetime] = {}
            for number in chance.sample(range(ACCOUNTS), FAULTS):
                trade(None, broker, ids[number], number, SYMBOLS[0])
                planted[ids[number]] = datetime.now(UTC)
                time.sleep(chance.uniform(0.5, 1.5) * BEAT / FAULTS)
            until(
                lambda: len(every(conn, "select from api.discrepancies")) == FAULTS,
                "all are seen",
                2 * BEAT,
            )
            memory = peak_memory(reconciler.pid)
        finally:
            reconciler.terminate()
            reconciler.wait()

    found = every(
        conn,
        "select account_id, d.opened_at, min(r.finished_at) as seen_at"
        " from api.discrepancies d join api.reconciliation_runs r using (account_id)"
        " where r.differences > 0 group by 1, 2",
    )
    seen, opened = (
        [(row[at] - planted[row["account_id"]]) / timedelta(seconds=1) for row in found]
        for at in ("seen_at", "opened_at")
    )
    compared = [
        float(row["seconds"])
        for row in every(
            conn,
            "select extract(epoch from r.finished_at - s.received_at) as seconds"
            " from recon.runs r join recon.broker_snapshots s using (run_id, account_id)",
        )
    ]
    assert {row["outcome"] for row in every(conn, "select outcome from recon.runs")} == {
        "passed",
        "discrepancies",
    }
    assert_sound(conn)
    table(
        f"Reconciliation of {ACCOUNTS} accounts × {len(SYMBOLS)} positions: the broker answers in"
        f" {ANSWER * 1000:.0f} ms, at OANDA's pace of 100 requests a second",
        ["what", "measured", "wanted"],
        [
            ["a run, nothing new at the broker", f"{durations[0]:.1f} s", "< 10 s"],
            ["a run, a trade in every account", f"{durations[1]:.1f} s", "—"],
            ["comparing an account, p50", milliseconds(percentile(compared, 0.5)), "< 5 ms"],
            ["comparing an account, p99", milliseconds(percentile(compared, 0.99)), "—"],
            [f"{FAULTS} faults: seen after, p50", f"{percentile(seen, 0.5):.1f} s", "—"],
            [f"{FAULTS} faults: seen after, worst", f"{max(seen):.1f} s", "< 35 s"],
            ["open (seen twice, 5 s apart) after, worst", f"{max(opened):.1f} s", "—"],
            ["memory of the reconciler at most", f"{memory:.0f} MB", "< 150 MB"],
        ],
    )
