"""`tidemark watch`: margins are judged, through a database that goes away, until told to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from glue.sessions import beats
from glue.stop import Stop
from tests.conftest import Connection, Database
from tests.factories import account, every, fill, instrument, tick
from tests.supervisors import until


@pytest.fixture
def watch(database: Database) -> Iterator[subprocess.Popen[str]]:
    """The process; ended with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "glue", "watch"],
        env={**os.environ, "TIDEMARK_DSN": database.dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


def states(conn: Connection) -> list[str]:
    """What has been judged, in order."""
    rows = every(conn, "select margin_state from api.margin_changes order by change_id")
    return [row["margin_state"] for row in rows]


def stand_close_to_the_call(conn: Connection) -> None:
    """An account of 100 that holds 1,000 EUR/USD at a margin rate of 5 %."""
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.10", "1.10")
    fill(conn, account(conn, deposit="100"), "EUR/USD", "buy", "1000", "1.10")


def test_an_account_that_comes_into_a_margin_call_is_logged_once(
    conn: Connection, watch: subprocess.Popen[str]
) -> None:
    stand_close_to_the_call(conn)
    tick(conn, "EUR/USD", 1, "1.05", "1.05")
    until(lambda: states(conn) == ["margin_call"], "the margin call is recorded")
    tick(conn, "EUR/USD", 2, "1.02", "1.02")
    until(lambda: states(conn) == ["margin_call", "close_out"], "the close-out is recorded")
    tick(conn, "EUR/USD", 3, "1.10", "1.10")
    until(lambda: states(conn)[-1] == "ok", "the end of it is recorded")

    watch.send_signal(signal.SIGTERM)
    output, _ = watch.communicate(timeout=20)
    assert watch.returncode == 0, output
    assert output.count("margin state changed") == 3
    assert "now=margin_call" in output


def test_it_goes_on_when_its_connection_was_lost(
    conn: Connection, watch: subprocess.Popen[str]
) -> None:
    stand_close_to_the_call(conn)

    def backends() -> list[int]:
        found = every(
            conn,
            "select pid from pg_stat_activity"
            " where application_name = 'tidemark watch' and datname = current_database()"
            " and query like '%judge_%'",
        )
        return [row["pid"] for row in found]

    until(lambda: backends() != [], "it judges")
    lost = backends()
    conn.execute("select pg_terminate_backend(pid) from unnest(%s) pid", [lost])
    tick(conn, "EUR/USD", 1, "1.05", "1.05")
    until(lambda: states(conn) == ["margin_call"], "the margin call is recorded")
    assert set(backends()).isdisjoint(lost)

    watch.send_signal(signal.SIGTERM)
    output, _ = watch.communicate(timeout=20)
    assert watch.returncode == 0, output
    assert "trying again" in output


def test_it_says_why_it_cannot_start(database: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glue", "watch"],
        env={**os.environ, "TIDEMARK_DSN": "host=127.0.0.1 port=1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("tidemark: no connection to the database")


def test_beats_that_are_missed_are_left_out() -> None:
    stop = Stop()
    times = 0
    for _ in beats(0.001, stop):
        times += 1
        if times == 1:
            stop.wait(0.05)
        if times == 5:
            stop.set()
    assert times == 5


def test_bars_are_closed_by_the_clock_and_rebuilt_after_what_came_late(
    conn: Connection, watch: subprocess.Popen[str]
) -> None:
    instrument(conn, "EUR/USD")
    conn.execute("select api.ingest_ticks('{EUR/USD}', array[clock_timestamp()], '{1.1}', '{1.1}')")
    account_id = account(conn)

    def net_flows() -> list[int]:
        rows = every(
            conn,
            "select net_flow from api.equity_curve_1s where account_id = %s order by bucket_at",
            [account_id],
        )
        return [int(row["net_flow"]) for row in rows]

    until(lambda: net_flows() == [10_000], "the deposit's bar is closed")
    conn.execute(
        "select api.record_entry(%s, 'deposit', 500, clock_timestamp() - interval '1 minute')",
        [account_id],
    )
    assert every(conn, "select reason from api.curve_marks") == [{"reason": "late entry"}]
    until(lambda: net_flows() == [500, 10_500], "the bars are rebuilt")
    assert every(conn, "select * from api.curve_marks") == []

    watch.send_signal(signal.SIGTERM)
    output, _ = watch.communicate(timeout=20)
    assert watch.returncode == 0, output
    assert "bars rebuilt" in output
