"""The demo as a whole: whatever ends it, nothing of it goes on, and the next start continues."""

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from glue import db
from glue.demo.accounts import ACCOUNTS
from glue.local.server import EmbeddedServer
from tests.conftest import Connection
from tests.supervisors import Up, home_with_programs, running_up, until

NOWHERE = {
    "TIDEMARK_DSN": "host=127.0.0.1 port=1 dbname=books",
    "TIDEMARK_KAFKA": "127.0.0.1:1",
    "PGHOSTADDR": "127.0.0.1",
    "PGSERVICE": "books",
    "PGOPTIONS": "-c default_transaction_read_only=on",
}
"""What an environment may name and the demo must not use."""


@pytest.fixture
def home() -> Iterator[Path]:
    with home_with_programs() as path:
        yield path


def demo(home: Path, listen: str = "127.0.0.1:0") -> AbstractContextManager[Up]:
    return running_up("--demo", "--listen", listen, TIDEMARK_HOME=str(home), **NOWHERE)


def connect(home: Path) -> Connection:
    return db.connect(EmbeddedServer(home).dsn)


def equities(connection: Connection) -> list[tuple]:
    return connection.execute(
        "select account_id, equity from api.account_states order by account_id"
    ).fetchall()


def fills(connection: Connection) -> int:
    return connection.execute("select count(*) from api.fills").fetchone()[0]


def numbers(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("select broker_account_id, account_id from api.accounts"))


def assert_nothing_is_left(up: Up, home: Path) -> None:
    up.wait_until_gone()
    assert EmbeddedServer(home).status().pid is None


def test_ctrl_c_stops_all(home):
    with demo(home) as up:
        up.wait_until_ready()
        with connect(home) as connection:
            until(lambda: fills(connection) >= 3 * len(ACCOUNTS), "first positions")
            before = equities(connection)
            until(lambda: equities(connection) != before, "equity moves")
            assert connection.execute("select * from api.verify_equity()").fetchall() == []
        names = set(up.children())
        code = up.press_ctrl_c()
        assert_nothing_is_left(up, home)

    assert code == 0, up.output
    services = {"ingest", "relay", "watch", "reconcile"}
    assert names == {"glue.local.keeper", "feed", "broker", "trade"} | services
    assert "Traceback" not in up.output


def test_killing_the_supervisor_stops_all_and_the_next_start_continues(home):
    with demo(home) as up:
        up.wait_until_ready()
        with connect(home) as connection:
            until(lambda: fills(connection) >= 3 * len(ACCOUNTS), "first positions")
            accounts = numbers(connection)
        up.process.kill()
        with demo(home) as again:
            again.wait_until_ready()
            left = up.processes()
            with connect(home) as connection:
                assert numbers(connection) == accounts
                assert connection.execute("select from api.tokens where is_valid").rowcount == 1
                entries = "select from api.entries where kind = 'deposit'"
                assert connection.execute(entries).rowcount == len(ACCOUNTS)
                before = equities(connection)
                until(lambda: equities(connection) != before, "equity moves again")
                assert connection.execute("select * from api.verify_ledger()").fetchall() == []
            assert again.press_ctrl_c() == 0
            assert_nothing_is_left(again, home)

    assert left == []
    assert set(accounts) == {account.number for account in ACCOUNTS}
    assert urlsplit(again.page).fragment != urlsplit(up.page).fragment


@pytest.mark.parametrize(
    ("command", "name"), [("feed", "feed"), ("glue.local.keeper", "the embedded server")]
)
def test_a_child_that_dies_takes_the_rest_down(home, command, name):
    with demo(home) as up:
        up.wait_until_ready()
        os.kill(up.children()[command], signal.SIGKILL)
        code = up.wait()
        assert_nothing_is_left(up, home)

    assert code == 1
    assert f"tidemark: {name} has ended (killed by SIGKILL)" in up.output


def test_ctrl_c_while_it_starts_leaves_nothing(home):
    with demo(home) as up:
        until(lambda: "glue.local.keeper" in up.children(), "the first child")
        code = up.press_ctrl_c()
        assert_nothing_is_left(up, home)

    assert code == 0, up.output


def test_takes_the_next_port_and_refuses_a_second_demo(home):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with demo(home, f"127.0.0.1:{port}") as up:
            up.wait_until_ready()
            with demo(home) as second:
                assert second.wait() == 1
            found = urlsplit(up.page)
            with urllib.request.urlopen(f"http://{found.netloc}/", timeout=5) as answer:
                assert answer.status == 200
            up.process.send_signal(signal.SIGTERM)
            assert up.wait() == 0
            assert_nothing_is_left(up, home)

    assert found.port > port
    assert f"another process listens on 127.0.0.1:{port}" in up.output
    assert found.fragment.startswith("token=tm_")
    assert f"already up with {home} (process {up.process.pid})" in second.output
