"""`tidemark reconcile` between a ledger and a simulated broker."""

import asyncio
import contextlib
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from glue import reconciliation_session, up
from glue.brokers.simulated import SimulatedBroker
from glue.reconciliation_session import LostError, Session
from glue.settings import Address
from tests.conftest import Database
from tests.factories import assert_sound, every, one
from tests.glue.desks import BEAT, Desk, once, once_json, reconciler
from tests.supervisors import until

D = Decimal
SLOW = {"TIDEMARK_RECONCILE_BEAT": "30"}
"""The beat of a user: a single run waits for answers for most of it."""


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with SimulatedBroker() as broker, database.connect() as connection:
        yield Desk(database.dsn, connection, broker)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


class TestOnce:
    def test_what_agrees_is_0(self, desk: Desk) -> None:
        desk.trade(desk.open())
        code, output = once(desk)

        assert code == 0, output
        assert "agrees" in output
        assert desk.outcomes() == ["passed"]
        assert_sound(desk.connection)

    def test_a_discrepancy_is_3_at_the_first_run(self, desk: Desk) -> None:
        account_id = desk.open()
        desk.trade(account_id)
        assert once(desk)[0] == 0
        desk.trade_at_broker(account_id)
        code, output = once(desk, "--once", **SLOW)

        assert code == 3, output
        assert "missing fill" in output
        assert desk.open_causes() == ["missing_fill"]
        assert len(desk.alerts()) == 1
        assert_sound(desk.connection)

    def test_a_broker_that_is_away_is_4(self, desk: Desk) -> None:
        desk.open()
        desk.broker.stop()
        code, output = once(desk, "--once", **SLOW)

        assert code == 4, output
        assert "cannot be reached" in output
        (run,) = desk.runs()
        assert run["outcome"] == "failed"
        assert "cannot be reached" in run["reason"]

    def test_a_broker_that_nobody_knows_is_4_and_named(self, desk: Desk) -> None:
        desk.open(broker="nobank")
        code, output = once(desk)

        assert code == 4, output
        assert "there is no broker 'nobank'" in output
        assert desk.outcomes() == ["failed"]

    def test_an_answer_that_is_another_currencys_is_4(self, desk: Desk) -> None:
        desk.books.create_account("D-9", "EUR", D(10_000))
        desk.open("D-8")
        desk.connection.execute(
            "select from api.open_account('Other', 'USD', p_broker => 'demo',"
            " p_broker_account_id => 'D-9')"
        )
        code, accounts = once_json(desk, "--once")

        assert code == 4
        assert [account["outcome"] for account in accounts] == ["passed", "failed"]
        assert accounts[1]["error_code"] == "TM402"

    def test_a_database_that_is_away_is_1(self, desk: Desk) -> None:
        code, output = once(desk, "--once", TIDEMARK_DSN="host=127.0.0.1 port=1")

        assert code == 1
        assert "no connection to the database" in output
        assert "Traceback" not in output

    def test_an_account_that_is_locked_for_long_is_1(self, desk: Desk, database: Database) -> None:
        account_id = desk.open()
        assert once(desk)[0] == 0
        desk.trade_at_broker(account_id)
        with database.connect() as holder, holder.transaction():
            holder.execute(
                "select from recon.accounts where account_id = %s for update", [account_id]
            )
            code, output = once(desk, "--once", **SLOW)

        assert code == 1, output
        assert "could not be compared" in output

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--account", "1"),
            ("--json",),
            ("--history",),
            ("--once", "--metrics-listen", "127.0.0.1:0"),
            ("--once", "--account", "one"),
        ],
    )
    def test_wrong_usage_is_2(self, desk: Desk, arguments: tuple[str, ...]) -> None:
        assert once(desk, *arguments)[0] == 2

    def test_only_the_accounts_that_are_wanted(self, desk: Desk) -> None:
        first, second, third = desk.open("D-1"), desk.open("D-2"), desk.open("D-3")
        code, accounts = once_json(desk, "--once", "--account", str(first), "--account", str(third))

        assert code == 0
        assert [account["account_id"] for account in accounts] == [first, third]
        assert desk.runs(second) == []
        assert once(desk, "--once", "--account", "99")[0] == 1

    def test_a_number_is_a_decimal_string_in_json(self, desk: Desk) -> None:
        account_id = desk.open()
        once(desk)
        desk.books.set_balance("D-1", D("9990.5"))
        code, (account,) = once_json(desk, "--once", **SLOW)

        assert code == 3
        assert account["balance"] == "10000.00"
        assert D(account["broker_balance"]) == D("9990.5")
        (discrepancy,) = account["discrepancies"]
        assert discrepancy["cause"] == "balance"
        assert D(discrepancy["difference"]) == D("-9.5")
        assert account["account_id"] == account_id

    def test_a_dry_run_says_the_same_and_leaves_nothing(self, desk: Desk) -> None:
        account_id = desk.open()
        desk.connection.execute("select from api.set_reconciliation_terms(%s, true)", [account_id])
        once(desk)
        desk.trade_at_broker(account_id)
        before = _everything(desk)
        code, (account,) = once_json(desk, "--dry-run", **SLOW)

        assert code == 3
        assert [one["cause"] for one in account["discrepancies"]] == ["missing_fill"]
        assert _everything(desk) == before

    def test_a_dry_run_is_made_beside_a_reconciler(self, desk: Desk, log: Path) -> None:
        desk.open()
        with reconciler(desk, log, **SLOW):
            until(lambda: desk.outcomes() == ["passed"], "the first run")
            assert once(desk, "--dry-run")[0] == 0
            code, output = once(desk, "--once")

        assert code == 1
        assert "another reconciler is at work" in output

    def test_history_is_compared_where_that_is_wanted(self, desk: Desk) -> None:
        account_id = desk.open()
        desk.trade(account_id)
        desk.trade_at_broker(account_id)
        code, (account,) = once_json(desk, "--once", "--history", **SLOW)

        assert code == 3
        assert [one["cause"] for one in account["discrepancies"]] == ["missing_fill"]

    def test_without_history_it_counts_in_the_totals(self, desk: Desk) -> None:
        account_id = desk.open()
        desk.trade_at_broker(account_id)
        code, (account,) = once_json(desk, "--once", **SLOW)

        assert code == 3
        assert [one["cause"] for one in account["discrepancies"]] == ["quantity"]

    def test_what_was_missing_from_the_first_run_on_is_mended_under_its_id(
        self, desk: Desk
    ) -> None:
        account_id = desk.open()
        fill = desk.trade_at_broker(account_id)
        entry = desk.books.record_entry("D-1", "financing", D("-1.25"))
        assert once(desk, "--once", **SLOW)[0] == 3
        assert desk.open_causes() == ["balance", "quantity"]
        desk.trade_in_ledger(account_id, external_id=fill)
        desk.connection.execute(
            "select from api.record_entry(%s, 'financing', -1.25, p_external_id => %s)",
            [account_id, entry],
        )
        assert once(desk, "--once", **SLOW)[0] == 0
        assert desk.open_causes() == []
        assert_sound(desk.connection)

    def test_the_token_may_stand_in_a_file(self, desk: Desk, tmp_path: Path) -> None:
        desk.open(broker="oanda")
        token = tmp_path / "token"
        variables = {"TIDEMARK_OANDA": desk.broker.url, "TIDEMARK_OANDA_TOKEN_FILE": str(token)}
        code, output = once(desk, "--once", **variables)
        assert code == 4
        assert "the token for OANDA cannot be read" in output
        token.write_text(f"{desk.broker.token}\n")
        assert once(desk, "--once", **variables)[0] == 0

    def test_nothing_to_compare_is_0(self, desk: Desk) -> None:
        code, output = once(desk)
        assert code == 0
        assert "nothing to compare" in output


def _everything(desk: Desk) -> list[object]:
    """Whatever a run may change, but not how often the database was asked for a number."""
    return [
        every(desk.connection, f"select * from {table} order by 1, 2")
        for table in (
            *("recon.runs", "recon.accounts", "recon.broker_snapshots", "recon.alerts"),
            *("recon.broker_transactions", "recon.sightings", "recon.discrepancies"),
            *("recon.settings", "ledger.accounts", "ledger.events", "ledger.fills"),
            *("ledger.entries", "recon.alert_deliveries"),
        )
    ]


Plant = Callable[[Desk, int], None]
FAULTS: dict[str, tuple[str, Plant, Plant]] = {
    "a fill that the ledger lacks": (
        "missing_fill",
        lambda desk, account_id: setattr(desk, "planted", desk.trade_at_broker(account_id)),
        lambda desk, account_id: desk.trade_in_ledger(account_id, external_id=desk.planted),
    ),
    "a fill that the broker lost": (
        "extra_fill",
        lambda desk, account_id: (
            desk.books.lose_next_fills("D-1"),
            setattr(desk, "planted", desk.trade(account_id)),
        ),
        lambda desk, account_id: desk.connection.execute(
            "select from api.fills f cross join lateral api.reverse_fill(f.fill_id)"
            " where f.external_id = %s",
            [desk.planted],
        ),
    ),
    "another quantity": (
        "quantity",
        lambda desk, _: desk.books.set_position("D-1", "EUR/USD", "long", D(1500)),
        lambda desk, _: desk.books.set_position("D-1", "EUR/USD", "long", D(1000)),
    ),
    "another average price": (
        "average_price",
        lambda desk, _: desk.books.set_position("D-1", "EUR/USD", "long", D(1000), D("1.09")),
        lambda desk, _: desk.books.set_position("D-1", "EUR/USD", "long", D(1000), D("1.1001")),
    ),
    "another balance": (
        "balance",
        lambda desk, _: desk.books.set_balance("D-1", D(9000)),
        lambda desk, _: desk.books.set_balance("D-1", D(10_000)),
    ),
    "financing that the ledger lacks": (
        "financing",
        lambda desk, _: setattr(
            desk, "planted", desk.books.record_entry("D-1", "financing", D("-1.25"))
        ),
        lambda desk, account_id: desk.connection.execute(
            "select from api.record_entry(%s, 'financing', -1.25, p_external_id => %s)",
            [account_id, desk.planted],
        ),
    ),
    "values at mid": (
        "price_side",
        lambda desk, _: desk.books.distort("D-1", price_side="mid"),
        lambda desk, _: desk.books.distort("D-1"),
    ),
    "other conversion rates": (
        "conversion",
        lambda desk, _: desk.books.distort("D-1", conversion_factor=D("1.02")),
        lambda desk, _: desk.books.distort("D-1"),
    ),
    "prices that stand still": (
        "stale_price",
        lambda desk, _: (
            desk.books.distort("D-1", freeze_prices=True),
            desk.tick({"EUR/USD": ("1.12000", "1.12010")}),
        ),
        lambda desk, _: desk.books.distort("D-1"),
    ),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_each_is_found_by_its_cause_and_told_once(
        self, desk: Desk, log: Path, fault: str
    ) -> None:
        cause, plant, mend = FAULTS[fault]
        account_id, other = desk.open("D-1"), desk.open("D-2")
        for each in (account_id, other):
            desk.trade(each)
            desk.trade(each, "sell", 1000, "USD/JPY")
        # the spread is then more than rounding, and the yen's P&L is not zero
        desk.tick({"EUR/USD": ("1.10900", "1.11010"), "USD/JPY": ("148.000", "148.010")})
        with reconciler(desk, log):
            until(lambda: desk.outcomes(account_id)[-2:] == ["passed"] * 2, "both agree")
            assert desk.discrepancies() == []
            plant(desk, account_id)
            until(lambda: desk.open_causes() == [cause], f"{cause} is found", 10)
            seen = len(desk.runs(account_id))
            until(lambda: len(desk.runs(account_id)) > seen + 2, "it lasts")
            mend(desk, account_id)
            until(lambda: desk.open_causes() == [], f"{cause} is resolved", 10)
            seen = len(desk.runs(account_id))
            until(lambda: len(desk.runs(account_id)) > seen + 1, "it is over")

        (discrepancy,) = desk.discrepancies()
        assert discrepancy["account_id"] == account_id
        (alert,) = desk.alerts()
        assert (alert["status"], alert["discrepancy_id"]) == (
            "resolved",
            discrepancy["discrepancy_id"],
        )
        assert "discrepancies" not in desk.outcomes(other)
        assert_sound(desk.connection)

    @pytest.mark.parametrize(
        ("behaviour", "reason"),
        [
            ({"status": 500}, "with 500"),
            ({"status": 401}, "Check the token"),
            ({"status": 404}, "with 404"),
            ({"is_hung": True}, "no whole answer"),
            ({"is_cut": True}, "broke off"),
            ({"body": "<html>maintenance</html>"}, "cannot be used"),
            ({"body": '{"account": {"id": "D-1"}}'}, "cannot be used"),
            ({"delay": 30.0}, "no whole answer"),
        ],
    )
    def test_no_answer_is_a_failed_run_with_the_reason_and_never_a_flat_account(
        self, desk: Desk, log: Path, behaviour: dict[str, object], reason: str
    ) -> None:
        account_id, other = desk.open("D-1"), desk.open("D-2")
        desk.trade(account_id)
        with reconciler(desk, log, TIDEMARK_RECONCILE_BEAT="2"):
            until(lambda: "passed" in desk.outcomes(account_id), "it agrees")
            desk.broker.misbehave("D-1", **behaviour)
            until(lambda: desk.outcomes(account_id)[-1] == "failed", "it fails")
            failed_at = desk.runs(account_id)[-1]["started_at"]
            until(lambda: desk.runs(other)[-1]["started_at"] > failed_at, "another is compared")
            assert set(desk.outcomes(other)) == {"passed"}
            assert reason in desk.runs(account_id)[-1]["reason"]
            desk.broker.behave()
            until(lambda: desk.outcomes(account_id)[-1] == "passed", "it agrees again")

        assert desk.discrepancies() == []
        assert_sound(desk.connection)

    def test_an_old_answer_is_no_discrepancy_of_what_came_after_it(
        self, desk: Desk, log: Path
    ) -> None:
        account_id = desk.open()
        with reconciler(desk, log):
            until(lambda: desk.outcomes() != [], "the first run")
            desk.broker.misbehave("D-1", delay=BEAT / 8)
            for _ in range(20):
                desk.trade(account_id)
                desk.trade(account_id, "sell")
                seen = len(desk.runs())
                until(lambda: len(desk.runs()) > seen, "another run")  # noqa: B023

        assert desk.discrepancies() == []
        assert set(desk.outcomes()) == {"passed"}

    def test_what_the_ledger_lacks_is_booked_where_the_account_allows_it(
        self, desk: Desk, log: Path
    ) -> None:
        account_id = desk.open()
        desk.connection.execute("select from api.set_reconciliation_terms(%s, true)", [account_id])
        with reconciler(desk, log):
            until(lambda: desk.outcomes() != [], "the first run")
            lost = desk.trade_at_broker(account_id)
            until(lambda: every(desk.connection, "select from api.fills"), "it is booked")
            until(lambda: desk.open_causes() == [], "it is resolved")

        assert one(desk.connection, "select external_id from api.fills")["external_id"] == lost
        assert [row["cause"] for row in desk.discrepancies()] == ["missing_fill"]
        assert_sound(desk.connection)


class TestBeat:
    def test_does_not_drift(self, desk: Desk, log: Path) -> None:
        desk.open()
        with reconciler(desk, log):
            until(lambda: len(desk.runs()) >= 8, "eight runs")

        starts = [row["started_at"] for row in desk.runs()]
        drifted = (starts[-1] - starts[0]) / timedelta(seconds=BEAT) % 1
        assert min(drifted, 1 - drifted) < 0.2

    def test_beats_that_come_while_a_run_lasts_are_left_out_and_counted(
        self, desk: Desk, log: Path, database: Database
    ) -> None:
        account_id = desk.open()
        address = up.free_address(Address("127.0.0.1", 0), "it")
        with reconciler(desk, log, "--metrics-listen", str(address)):
            until(lambda: desk.outcomes() != [], "the first run")
            with database.connect() as holder, holder.transaction():
                holder.execute(
                    "select from recon.accounts where account_id = %s for update", [account_id]
                )
                until(
                    lambda: every(
                        desk.connection,
                        "select from pg_stat_activity where wait_event_type = 'Lock'"
                        " and application_name = 'tidemark reconcile'",
                    ),
                    "a run waits",
                )
                desk.connection.execute("select pg_sleep(%s)", [3 * BEAT])
            until(lambda: "skipped" in desk.outcomes(), "beats are left out")
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                figures = answer.read().decode()

        skipped = next(row for row in desk.runs() if row["outcome"] == "skipped")
        assert "beats of 0.5 s passed" in skipped["reason"]
        assert "tidemark_reconcile_active 1.0" in figures
        assert 'tidemark_reconcile_accounts_total{outcome="passed"}' in figures
        assert "tidemark_reconcile_skipped_beats_total 0.0" not in figures

    def test_asks_for_transactions_only_when_there_are_new_ones(
        self, desk: Desk, log: Path
    ) -> None:
        account_id = desk.open()

        def last_known() -> str:
            row = one(desk.connection, "select last_transaction_id from api.accounts_to_reconcile")
            return row["last_transaction_id"]

        with reconciler(desk, log):
            until(lambda: len(desk.runs()) >= 3, "runs")
            assert not [asked for asked in desk.broker.requests if "transactions" in asked]
            trade = desk.trade(account_id)
            until(lambda: last_known() == trade, "it is known")
            assert [asked for asked in desk.broker.requests if "transactions" in asked] == [
                "/v3/accounts/D-1/transactions/sinceid?id=2"
            ]


class TestOneAtATime:
    def test_a_second_one_waits_and_takes_over_from_one_that_was_killed(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.open()
        with reconciler(desk, tmp_path / "first") as first:
            until(lambda: desk.outcomes() != [], "the first one runs")
            with reconciler(desk, tmp_path / "second") as second:
                until(lambda: "waiting for it to end" in second.logged(), "the second one waits")
                first.kill()
                until(lambda: '"event": "reconciling"' in second.logged(), "it takes over", 10)
                seen = len(desk.runs())
                until(lambda: len(desk.runs()) > seen, "it runs")

    def test_a_second_one_takes_over_from_one_that_is_frozen_which_then_waits(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.open()
        with reconciler(desk, tmp_path / "first") as first:
            until(lambda: desk.outcomes() != [], "the first one runs")
            with reconciler(desk, tmp_path / "second") as second:
                until(lambda: "waiting for it to end" in second.logged(), "the second one waits")
                first.signal(signal.SIGSTOP)
                until(lambda: '"event": "reconciling"' in second.logged(), "it takes over", 10)
                first.signal(signal.SIGCONT)
                until(lambda: "waiting for it to end" in first.logged(), "the first one waits")
                assert first.stop() == 0
                assert second.stop() == 0

        assert set(desk.outcomes()) == {"passed"}

    def test_it_goes_on_when_its_session_was_lost(self, desk: Desk, log: Path) -> None:
        desk.open()
        with reconciler(desk, log) as running:
            until(lambda: desk.outcomes() != [], "it runs")
            desk.connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like 'tidemark reconcile%'"
                " and datname = current_database()"
            )
            seen = len(desk.runs())
            until(lambda: len(desk.runs()) > seen, "it runs again")
            assert running.stop() == 0
        assert "trying again" in running.logged()
        assert "Traceback" not in running.logged()


class Line:
    """A TCP line to the database that can fall silent without breaking."""

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        host, self._port = str(parts["host"]), str(parts["port"])
        self._to: object = (host, int(self._port))
        if host.startswith("/"):
            self._to = f"{host}/.s.PGSQL.{self._port}"
        self._is_open = threading.Event()
        self._is_open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port)
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        self._is_open.clear()

    def close(self) -> None:
        self._is_open.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                family = socket.AF_UNIX if isinstance(self._to, str) else socket.AF_INET
                far = socket.socket(family)
                far.connect(self._to)
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._is_open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_server_that_says_nothing_counts_as_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation_session, "FROZEN_TIMEOUT", 0.5)
    line = Line(database.dsn)

    async def ask() -> None:
        async with Session.opened(line.dsn, 30.0) as session:
            assert await session.is_reconciler()
            line.fall_silent()
            with pytest.raises(LostError, match=r"nothing for 0\.5 s"):
                await session.accounts()
            with pytest.raises(LostError, match="closed"):
                await session.accounts()

    asyncio.run(ask())
    line.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_at_once_whatever_it_waits_for(desk: Desk, log: Path, number: signal.Signals) -> None:
    desk.open()
    desk.broker.misbehave(is_hung=True)
    with reconciler(desk, log, **SLOW) as running:
        until(lambda: desk.broker.requests != [], "the broker is asked")
        running.signal(number)
        assert running.process.wait(5) == 0
    assert "stopped" in running.logged()
    assert "Traceback" not in running.logged()


def test_the_token_is_nowhere_to_be_seen(desk: Desk, log: Path) -> None:
    desk.open(broker="oanda")
    secret = "9-very-secret"
    variables = {"TIDEMARK_OANDA": desk.broker.url, "TIDEMARK_OANDA_TOKEN": secret}
    with reconciler(desk, log, **variables) as running:
        until(lambda: desk.outcomes() != [], "the broker refuses it")
        command = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
    assert desk.outcomes()[0] == "failed"
    assert secret.encode() not in command
    assert secret not in running.logged()
    assert secret not in str(desk.runs())
