"""`tidemark up`: what it refuses, and the services on a database and a cluster of one's own."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from glue import up as process
from glue.brokers.simulated import SimulatedBroker
from glue.errors import SettingsError
from glue.settings import Address
from tests.factories import account, instrument
from tests.glue.broker import Broker, count, message
from tests.supervisors import Up, until

Run = Callable[..., Up]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `tidemark up` in a home without an embedded server."""
    started: list[Up] = []

    def start(*arguments: str, **variables: str) -> Up:
        up = Up(*arguments, **{"TIDEMARK_HOME": str(tmp_path / "home")} | variables)
        started.append(up)
        return up

    yield start
    for up in started:
        up.end()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


class TestServices:
    def test_run_until_told_to_stop(self, run, database, conn):
        instrument(conn, "EUR/USD")
        broker = Broker()
        broker.make_topic()
        address = process.free_address(Address("127.0.0.1", 0), "it")
        up = run(
            *("--dsn", database.dsn, "--kafka", broker.address, "--listen", str(address)),
            TIDEMARK_DSN="host=127.0.0.1 port=1",
        )
        up.wait_until_ready()
        assert up.page == f"http://{address}/"
        assert process.is_healthy(address)
        broker.send(message(1))
        until(lambda: count(conn) == 1, "the tick is stored")
        up.process.terminate()

        assert up.wait() == 0, up.output
        up.wait_until_gone()
        assert not process.is_healthy(address)
        assert "token issue" in up.output
        assert "Traceback" not in up.output

    def test_reconcile_where_there_is_a_broker(self, run, database, conn):
        broker = Broker()
        broker.make_topic()
        with SimulatedBroker() as simulated:
            simulated.books.create_account("U-1", "USD")
            conn.execute(
                "select from api.open_account('Macro', 'USD', p_broker => 'oanda',"
                " p_broker_account_id => 'U-1')"
            )
            up = run(
                *("--dsn", database.dsn, "--kafka", broker.address, "--listen", "127.0.0.1:0"),
                TIDEMARK_OANDA=simulated.url,
                TIDEMARK_OANDA_TOKEN=simulated.token,
            )
            until(lambda: count(conn, "api.reconciliation_runs") == 1, "it is compared")
            assert conn.execute("select outcome from api.reconciliation_runs").fetchone() == (
                "passed",
            )
            assert "reconcile" in up.children()
            up.process.terminate()

            assert up.wait() == 0, up.output
            up.wait_until_gone()

    def test_say_why_the_schema_cannot_be_had(self, run, database, conn):
        conn.execute("create role stranger_of_tidemark login")
        conn.execute("grant usage on schema market, equity to stranger_of_tidemark")
        try:
            stranger = make_conninfo(database.dsn, user="stranger_of_tidemark")
            up = run("--dsn", stranger, "--kafka", "127.0.0.1:1", "--listen", "127.0.0.1:0")
            assert up.wait() == 1
        finally:
            conn.execute("drop owned by stranger_of_tidemark")
            conn.execute("drop role stranger_of_tidemark")
        up.wait_until_gone()
        assert up.output.startswith("tidemark: the schema stays as it was: permission denied")
        assert "Traceback" not in up.output

    def test_need_a_cluster(self, run, database):
        up = run("--dsn", database.dsn)

        assert up.wait() == 1
        assert "there is no Kafka cluster" in up.output
        assert "--kafka" in up.output

    def test_name_the_address_that_is_taken(self, run, database, taken):
        up = run(
            "--kafka",
            "127.0.0.1:1",
            TIDEMARK_DSN=database.dsn,
            TIDEMARK_LISTEN=f"127.0.0.1:{taken}",
        )

        assert up.wait() == 1
        assert f"another process listens on 127.0.0.1:{taken}" in up.output

    def test_name_the_database_that_does_not_answer(self, run):
        up = run("--kafka", "127.0.0.1:1", "--dsn", "host=127.0.0.1 port=1", "--listen", ":0")

        assert up.wait() == 1
        assert "no connection to the database" in up.output

    def test_wrong_address_is_wrong_usage(self, run):
        assert run("--listen", "8017").wait() == 2


class TestDemo:
    def test_refuses_a_database_with_accounts_of_others_before_changing_anything(
        self, run, database, conn
    ):
        account(conn, name="Pension fund")
        conn.execute("drop function api.verify_equity")  # which a migration would make anew
        up = run("--demo", "--dsn", database.dsn)

        assert up.wait() == 1
        up.wait_until_gone()
        assert "accounts that are not its own: Pension fund (1)" in up.output
        assert count(conn, "api.accounts") == 1
        assert count(conn, "api.instruments") == 0
        assert conn.execute("select to_regproc('api.verify_equity')").fetchone() == (None,)

    def test_runs_in_an_empty_database_that_is_named(self, run, empty_database):
        up = run("--demo", "--dsn", empty_database.dsn, "--listen", "127.0.0.1:0")
        up.wait_until_ready()
        with empty_database.connect() as connection:
            until(lambda: count(connection, "api.fills") > 0, "the first trade")
        assert up.press_ctrl_c() == 0
        up.wait_until_gone()

        assert "Traceback" not in up.output
        assert "\n  psql   psql '" in up.output


class TestAddress:
    def test_a_taken_port_is_not_free(self, taken):
        assert not process.is_free(Address("127.0.0.1", taken))
        assert process.free_address(Address("127.0.0.1", taken), "it").port > taken

    def test_a_free_one_is_kept(self):
        address = process.free_address(Address("127.0.0.1", 0), "it")

        assert process.free_address(address, "it") == address

    def test_an_address_of_another_machine_is_refused(self):
        with pytest.raises(SettingsError, match="cannot listen on"):
            process.free_address(Address("192.0.2.1", 8017), "it")

    @pytest.mark.parametrize(
        ("address", "page"),
        [
            (Address("0.0.0.0", 8017), "http://127.0.0.1:8017/"),
            (Address("::", 80), "http://[::1]:80/"),
            (Address("10.0.0.5", 8017), "http://10.0.0.5:8017/"),
        ],
    )
    def test_page_is_where_a_browser_finds_it(self, address, page):
        assert process.page_address(address) == page


def test_a_connection_string_is_shown_without_its_password():
    shown = process.without_password("postgresql://me:secret@db:5433/books?sslmode=require")

    assert "secret" not in shown
    assert {"host=db", "port=5433", "user=me", "dbname=books"} <= set(shown.split())
