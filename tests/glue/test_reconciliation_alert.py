"""Alerts on their way from the outbox to a webhook that takes them, refuses them or hangs."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from glue import reconciliation_alert
from glue.brokers.simulated import SimulatedBroker
from glue.reconciliation_alert import AlertSender, MissingSecretError, Secrets
from tests.conftest import Connection, Database
from tests.factories import Row, every, one
from tests.glue.desks import Desk, once
from tests.supervisors import until


class Webhook:
    """An HTTP server that remembers what it was told, and answers as it is set to."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.is_hung = threading.Event()
        self.may_go_on = threading.Event()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.paths.append(self.path)
                if webhook.is_hung.is_set():
                    webhook.may_go_on.wait(30)
                    return
                if webhook.status == 200:
                    webhook.told.append(msgspec.json.decode(body))
                self.send_response(webhook.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.place = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.may_go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def titles(self) -> list[str]:
        return [told["title"] for told in self.told]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with SimulatedBroker() as broker, database.connect() as connection:
        yield Desk(database.dsn, connection, broker)


def sender(database: Database) -> AbstractContextManager[AlertSender]:
    return AlertSender(database.dsn, role="tidemark_watch", process="test alerts")


def channel(conn: Connection, target: str, name: str = "hook", **more: str) -> None:
    conn.execute(
        "select from api.set_alert_channel(%s, %s, p_min_severity => %s)",
        [name, target, more.get("min_severity", "info")],
    )


def make_due(conn: Connection) -> None:
    conn.execute("select from api.send_test_alert()")


def deliveries(conn: Connection) -> list[Row]:
    return every(conn, "select * from api.alert_deliveries order by delivery_id")


def hurry(conn: Connection) -> None:
    """What is due later is due now."""
    conn.execute("update recon.alert_deliveries set due_at = now() where delivered_at is null")


class TestSending:
    def test_delivers_what_is_due_once(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/hook")
        with sender(database), sender(database):
            make_due(conn)
            until(lambda: deliveries(conn)[0]["delivered_at"], "it is delivered")

        assert webhook.titles == ["Test alert"]
        assert "Nothing has happened" in webhook.told[0]["message"]

    def test_tries_again_when_it_was_refused(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/hook")
        webhook.status = 500
        with sender(database):
            make_due(conn)
            until(lambda: deliveries(conn)[0]["last_error"], "it is refused")
            (refused,) = deliveries(conn)
            webhook.status = 200
            hurry(conn)
            until(lambda: deliveries(conn)[0]["delivered_at"], "it is delivered")

        assert "500" in refused["last_error"]
        assert refused["due_at"] > refused["created_at"]
        assert deliveries(conn)[0]["attempts"] == 2
        assert webhook.titles == ["Test alert"]

    def test_a_channel_that_hangs_keeps_no_other_waiting(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        hung = Webhook()
        hung.is_hung.set()
        channel(conn, f"json://{hung.place}/?rto=2", "hung")
        channel(conn, f"json://{webhook.place}/", "well")
        with sender(database):
            make_due(conn)
            until(lambda: hung.paths, "one hangs")
            until(lambda: webhook.titles, "the other is told")
            assert deliveries(conn)[0]["last_error"] is None
            until(lambda: deliveries(conn)[0]["last_error"], "the one that hangs has failed", 15)
        hung.close()

        told = {row["channel"]: row["delivered_at"] for row in deliveries(conn)}
        assert told["well"]
        assert told["hung"] is None

    def test_one_that_never_ends_has_failed(
        self,
        database: Database,
        conn: Connection,
        webhook: Webhook,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(reconciliation_alert, "PATIENCE", 0.5)
        monkeypatch.setattr(reconciliation_alert, "LAST_WORDS", 0.2)
        webhook.is_hung.set()
        channel(conn, f"json://{webhook.place}/?rto=20")
        with sender(database):
            make_due(conn)
            until(lambda: deliveries(conn)[0]["last_error"], "it has failed")

        assert deliveries(conn)[0]["last_error"] == "no end within 0.5 s"

    def test_what_a_sender_took_and_did_not_report_is_sent_by_another(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/hook")
        make_due(conn)
        assert every(conn, "select * from api.take_alerts()") != []
        with sender(database):
            conn.execute("select pg_sleep(1)")
            assert webhook.titles == []
            hurry(conn)
            until(lambda: deliveries(conn)[0]["delivered_at"], "it is delivered")

    def test_goes_on_when_its_connection_was_lost(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/hook")
        with sender(database):
            make_due(conn)
            until(lambda: len(webhook.titles) == 1, "it is delivered")
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'test alerts' and datname = current_database()"
            )
            conn.execute("delete from recon.alert_deliveries")
            conn.execute("delete from recon.alerts")
            make_due(conn)
            until(lambda: len(webhook.titles) == 2, "the next one is delivered")

    @pytest.mark.parametrize(
        ("target", "error"),
        [
            ("carrier-pigeon://roof", "not an address that Apprise knows"),
            ("json://127.0.0.1:1/", "Connection"),
            ("json://127.0.0.1:1/${TIDEMARK_TEST_NOT_SET}", "no variable TIDEMARK_TEST_NOT_SET"),
        ],
    )
    def test_says_why_it_could_not(
        self, database: Database, conn: Connection, target: str, error: str
    ) -> None:
        channel(conn, target)
        with sender(database):
            make_due(conn)
            until(lambda: deliveries(conn)[0]["last_error"], "it has failed")

        assert error in deliveries(conn)[0]["last_error"]

    def test_a_secret_comes_from_the_environment_and_goes_nowhere_else(
        self,
        database: Database,
        conn: Connection,
        webhook: Webhook,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("TIDEMARK_TEST_HOOK", "s3cret")
        channel(conn, f"json://{webhook.place}/${{TIDEMARK_TEST_HOOK}}/x")
        channel(conn, "json://${TIDEMARK_TEST_HOOK}.invalid/", "away")
        with sender(database):
            make_due(conn)
            until(lambda: deliveries(conn)[0]["delivered_at"], "it is delivered")
            until(lambda: deliveries(conn)[1]["last_error"], "the other one has failed")

        assert webhook.paths == ["/s3cret/x"]
        assert "s3cret" not in str(deliveries(conn))
        assert "s3cret" not in str(every(conn, "select * from api.alert_channels"))
        assert "s3cret" not in "".join(capfd.readouterr())


def test_a_variable_in_a_target_is_filled_in_and_hidden() -> None:
    secrets = Secrets({"A": "one", "B": "two"})

    assert secrets.filled_in("x://${A}:${B}@host/$C/{A}") == "x://one:two@host/$C/{A}"
    assert secrets.hidden("no two at one", "x://${A}:${B}@host") == "no ${B} at ${A}"
    with pytest.raises(MissingSecretError, match="no variable C"):
        secrets.filled_in("x://${C}")


class TestDiscrepancies:
    def test_one_message_when_it_opens_and_one_when_it_is_over(
        self, desk: Desk, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/hook")
        account_id = desk.open()
        variables = {"TIDEMARK_RECONCILE_BEAT": "30"}
        assert once(desk, "--once", **variables)[0] == 0
        lost = desk.trade_at_broker(account_id)
        for _ in range(3):
            assert once(desk, "--once", **variables)[0] == 3
        assert webhook.titles == ["Critical: Desk D-1: missing fill"]
        desk.trade_in_ledger(account_id, external_id=lost)
        for _ in range(2):
            assert once(desk, "--once", **variables)[0] == 0

        assert webhook.titles[1:] == ["Resolved: Desk D-1: missing fill"]
        assert [told["type"] for told in webhook.told] == ["failure", "success"]

    def test_that_reconciliation_has_stopped_is_told_by_the_watch(
        self, desk: Desk, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/hook")
        desk.open()
        conn.execute("select from api.set_reconciliation_settings(p_stopped_after => '1 second')")
        with subprocess.Popen(
            [sys.executable, "-m", "glue", "watch"], env={**os.environ, "TIDEMARK_DSN": desk.dsn}
        ) as watch:
            until(lambda: webhook.titles, "it is told")
            assert once(desk)[0] == 0
            until(lambda: len(webhook.titles) > 1, "that it goes on is told")
            watch.terminate()

        assert webhook.titles[0] == "Critical: Reconciliation has stopped"
        assert webhook.titles[1] == "Resolved: Reconciliation has stopped"


def alerts(database: Database, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run `tidemark alerts …`; exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "glue", "alerts", *arguments],
        env={**os.environ, "TIDEMARK_DSN": database.dsn} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class TestCommands:
    def test_a_channel_is_made_tried_shown_and_turned_off(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        address = f"json://{webhook.place}/${{TIDEMARK_TEST_HOOK}}"
        assert alerts(
            database,
            *("channels", "set", "desk", address, "--from", "warning"),
            *("--quiet", "22:00-06:30", "--time-zone", "Europe/London"),
        ) == (0, "desk is on; try it: tidemark alerts test desk\n")
        code, output = alerts(database, "channels", "list")
        assert code == 0
        assert "22:00–06:30 Europe/London" in output
        assert "json://… ${TIDEMARK_TEST_HOOK}" in output
        assert webhook.place not in output
        assert address in alerts(database, "channels", "list", "--show")[1]

        code, output = alerts(database, "test", "--here", TIDEMARK_TEST_HOOK="x")
        assert (code, output.splitlines()[0]) == (0, "desk: delivered")
        assert webhook.paths == ["/x"]
        assert "Test alert" in alerts(database, "list")[1]

        assert alerts(database, "channels", "off", "desk")[0] == 0
        code, output = alerts(database, "test", "desk")
        assert code == 1
        assert "no such channel that is enabled" in output
        assert one(conn, "select quiet_to::text from api.alert_channels") == {
            "quiet_to": "06:30:00"
        }

    def test_a_test_is_sent_by_the_services(
        self, database: Database, conn: Connection, webhook: Webhook
    ) -> None:
        channel(conn, f"json://{webhook.place}/")
        with sender(database):
            assert alerts(database, "test")[0] == 0
            webhook.status = 403
            code, output = alerts(database, "test", "hook")
        assert code == 1
        assert "403" in output

    def test_a_secret_that_the_database_gets_to_hold_is_warned_of(self, database: Database) -> None:
        code, output = alerts(database, "channels", "set", "x", "json://user:secret@host/")
        assert code == 0
        assert "the database now holds" in output
        assert "secret" not in alerts(database, "channels", "list")[1]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("channels", "set", "x"),
            ("channels", "set", "x", "json://h", "--from", "dire"),
            ("channels", "set", "x", "json://h", "--quiet", "at night"),
            ("channels", "off", "nobody"),
            ("list", "--limit", "0"),
        ],
    )
    def test_wrong_usage_is_2(self, database: Database, arguments: tuple[str, ...]) -> None:
        assert alerts(database, *arguments)[0] == 2

    def test_what_the_database_refuses_is_explained(self, database: Database) -> None:
        code, output = alerts(
            database,
            "channels",
            "set",
            "x",
            "json://h",
            "--quiet",
            "1:00-2:00",
            "--time-zone",
            "Mars",
        )
        assert code in (1, 2)
        code, output = alerts(
            *(database, "channels", "set", "x", "json://h"),
            *("--quiet", "01:00-02:00", "--time-zone", "Mars"),
        )
        assert code == 1
        assert "time zone" in output
