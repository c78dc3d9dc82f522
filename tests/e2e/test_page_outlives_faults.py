"""Database, relay and line are killed, frozen and mended under load: the page ends equal to the
database, with each trade once and all that is open, and says meanwhile that it is stale, and since
when.

TIDEMARK_FAULTS is how many faults happen one after another, 6 unless set; `make soak` makes it 50.
TIDEMARK_SEED repeats a run: the seed is printed.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from playwright.sync_api import Page

from glue import db, errors, migrate, wire
from glue.local.server import EmbeddedServer
from tests import browser as chromium
from tests import factories
from tests.conftest import Connection
from tests.e2e.test_page import (
    accounts_in,
    accounts_on,
    give_up,
    is_contained,
    positions_in,
    positions_on,
    rows,
    stale_since,
)
from tests.glue.relays import Relay, running_relay
from tests.glue.test_relay_protocol import post
from tests.line import Line
from tests.supervisors import home_with_programs, until

FAULTS = int(os.environ.get("TIDEMARK_FAULTS", "6"))
SEED = int(os.environ.get("TIDEMARK_SEED", str(random.randrange(10**6))))
SYMBOLS = ("EUR/USD", "USD/JPY")
ACCOUNTS = 3
PATIENCE = 60.0
"""Seconds from the end of a fault to the page's being right again: a frozen line is found by its
silence, and the page's next attempt may be 15 s away."""
STALE_AFTER = timedelta(seconds=2 * wire.HEARTBEAT_SECONDS + 2)
"""Silence after which the page says that its line is dead."""

pytestmark = pytest.mark.timeout(120 + 90 * FAULTS)


class Stage:
    """Everything that can break, and how it is broken and mended."""

    def __init__(self, server: EmbeddedServer, dsn: str, chance: random.Random) -> None:
        self.server = server
        self.dsn = dsn
        self.chance = chance
        self._relay_block = contextlib.ExitStack()
        self.relay = self._relay_block.enter_context(running_relay(dsn))
        self.line = Line(self.relay.port)

    def __enter__(self) -> "Stage":
        self.line.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.line.__exit__(None, None, None)
        self._relay_block.close()

    # Each does harm and says how it is mended ------------------------------------------------

    def kill_database(self) -> Callable[[], object]:
        """As a crash of the machine would: what did not wait for the disk may be lost."""
        pid = self.server.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return lambda: self.server.ensure_started(may_install=False)

    def restart_database(self) -> Callable[[], object]:
        """As an upgrade would."""
        self.server.stop()
        return lambda: self.server.ensure_started(may_install=False)

    def freeze_database(self) -> Callable[[], object]:
        """It lives, with all its sessions, and answers nothing."""
        pid = self.server.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # first: it begins no further process
        frozen = [pid, *children_of(pid)]
        for process in frozen[1:]:
            os.kill(process, signal.SIGSTOP)

        def thaw() -> None:
            for process in frozen:
                os.kill(process, signal.SIGCONT)

        return thaw

    def kill_relay(self) -> Callable[[], object]:
        """Without a goodbye."""
        self.relay.process.kill()
        return self._start_relay

    def restart_relay(self) -> Callable[[], object]:
        """With a goodbye."""
        self.relay.stop()
        return self._start_relay

    def freeze_relay(self) -> Callable[[], object]:
        """It lives and does nothing."""
        self.relay.process.send_signal(signal.SIGSTOP)
        return lambda: self.relay.process.send_signal(signal.SIGCONT)

    def silence_relay(self) -> Callable[[], object]:
        """It lives and does nothing, for so long that the page says so."""
        return self.freeze_relay()

    def cut_line(self) -> Callable[[], object]:
        """The page's connection ends; the next one is let through."""
        self.line.cut()
        return lambda: None

    def close_line(self) -> Callable[[], object]:
        """The page's connection ends, and so do its next attempts."""
        self.line.close()
        return self.line.mend

    def freeze_line(self) -> Callable[[], object]:
        """The page's connection looks alive."""
        self.line.freeze()
        return self.line.mend

    def end_sessions(self) -> Callable[[], object]:
        """All of the relay's connections to its database end, the listener's too."""
        with db.connect(self.dsn) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'tidemark relay'"
            )
        return lambda: None

    def forge_notifications(self) -> Callable[[], object]:
        """Anybody may send them: of accounts that are not there, of no account, and many."""
        with db.connect(self.dsn) as connection:
            for payload in ("", "-1", "999999999999999999999", "1", "1", "drop table", "é" * 3000):
                for channel in ("tidemark_account", "tidemark_prices", "tidemark_tokens"):
                    connection.execute("select pg_notify(%s, %s)", [channel, payload])
        return lambda: None

    def _start_relay(self) -> None:
        listen = f"{self.relay.host}:{self.relay.port}"
        self._relay_block.close()
        self.relay: Relay = self._relay_block.enter_context(running_relay(self.dsn, listen=listen))


HARMS = {
    "kill_database": True, "restart_database": True, "freeze_database": True, "kill_relay": True,
    "restart_relay": True, "freeze_relay": False, "silence_relay": True, "cut_line": False,
    "close_line": True, "freeze_line": False, "end_sessions": False, "forge_notifications": False,
}  # fmt: skip
"""Whether the page has to say, before it is mended, that it is not live."""


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


class Load:
    """Ticks, fills, discrepancies and alerts from a thread, also after the database was lost."""

    def __init__(self, dsn: str, account_ids: list[int], seed: int) -> None:
        self._dsn = dsn
        self._account_ids = account_ids
        self._chance = random.Random(seed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            with (
                contextlib.suppress(psycopg.OperationalError, errors.ServerError),
                db.connect(self._dsn) as connection,
            ):
                connection.execute("set synchronous_commit = off")  # a crash loses the last of it
                while not self._is_over.wait(0.01):
                    self._happen(connection)
            self._is_over.wait(0.05)

    def _happen(self, connection: factories.Connection) -> None:
        chance = self._chance
        symbol = chance.choice(SYMBOLS)
        price = (1 if symbol == "EUR/USD" else 150) * (1 + chance.randint(-100, 100) / 10_000)
        connection.execute(
            "select api.ingest_ticks(array[%s], array[clock_timestamp()],"
            " array[round(%s::numeric, 5)], array[round(%s::numeric, 5)])",
            [symbol, price, price * 1.0001],
        )
        if chance.random() < 0.2:
            factories.fill(
                connection, chance.choice(self._account_ids), symbol,
                chance.choice(["buy", "sell"]), str(chance.randint(1, 50) * 100), f"{price:.5f}",
            )  # fmt: skip
        if chance.random() < 0.05:
            self._post(connection)

    def _post(self, connection: factories.Connection) -> None:
        """Open a discrepancy, or an alert of one or more accounts; or end one that is open."""
        chance = self._chance
        kind = chance.choice(["discrepancy", "alert"])
        subjects = [subject for subject in issues_in(connection) if subject.startswith(kind)]
        if is_end := chance.random() < len(subjects) / 4:
            subject_id = int(chance.choice(subjects).split()[1])
            account_ids = [
                row["account_id"]
                for row in factories.every(
                    connection,
                    "select distinct account_id from ledger.events"
                    " where kind = %s and subject_id = %s order by account_id",
                    [kind, subject_id],
                )
            ]
        else:
            subject_id = factories.one(
                connection, "select coalesce(max(subject_id), 0) + 1 as id from ledger.events"
            )["id"]
            most = 1 if kind == "discrepancy" else len(self._account_ids)
            account_ids = sorted(chance.sample(self._account_ids, chance.randint(1, most)))
        with connection.transaction():
            for account_id in account_ids:
                post(connection, account_id, kind, subject_id, is_open=not is_end)


@pytest.fixture
def page_and_stage() -> Iterator[SimpleNamespace]:
    if chromium.find() is None:
        give_up("there is no Chromium: python -m tests.browser says how to get one")
    with home_with_programs() as home:
        server = EmbeddedServer(home)
        dsn = server.ensure_started(may_install=True)
        try:
            migrate.to_head(dsn)
            with db.connect(dsn) as conn:
                for symbol in SYMBOLS:
                    factories.instrument(conn, symbol)
                    conn.execute(
                        "select api.ingest_ticks(array[%s], array[clock_timestamp()],"
                        " array[1.1], array[1.2])",
                        [symbol],
                    )
                account_ids = [factories.account(conn, name=f"A{n}") for n in range(ACCOUNTS)]
                for account_id in account_ids:
                    factories.fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
                token = factories.one(conn, "select token from api.issue_token('page')")["token"]
            chance = random.Random(SEED)
            with Stage(server, dsn, chance) as stage, chromium.running() as browser:
                page = browser.new_page(viewport={"width": 1280, "height": 2000})
                page.goto(f"http://{stage.line.host}:{stage.line.port}/#token={token}")
                yield SimpleNamespace(page=page, stage=stage, account_ids=account_ids)
        finally:
            server.stop()


def test_the_page_ends_equal_to_the_database_whatever_breaks(
    page_and_stage: SimpleNamespace,
) -> None:
    page, stage, account_ids = vars(page_and_stage).values()
    chance: random.Random = stage.chance
    names = list(HARMS) * (FAULTS // len(HARMS) + 1)
    order = chance.sample(names, len(names))[:FAULTS]
    print(f"TIDEMARK_SEED={SEED}: {', '.join(order)}")
    page.wait_for_selector("[data-connection=live]")
    right_at = datetime.now(UTC)
    for number, name in enumerate(order):
        with Load(stage.dsn, account_ids, SEED + number):
            time.sleep(chance.uniform(0, 1))
            mend = getattr(stage, name)()
            harmed_at = datetime.now(UTC)
            if HARMS[name]:
                page.wait_for_selector("[data-connection]:not([data-connection=live])")
                since = stale_since(page)
                assert since is not None, name
                # what was sent before is received a little later, and clocks are compared
                latest = harmed_at + timedelta(seconds=5)
                assert right_at - STALE_AFTER < since < latest, name
            time.sleep(chance.uniform(0, 2))
            mend()
            time.sleep(chance.uniform(0, 1))
        with db.connect(stage.dsn) as conn:
            for account_id in account_ids:
                page.click(f"tr[data-account-id='{account_id}'] button")
                subject = page, conn, account_id
                until(
                    lambda subject=subject: not wrong(*subject),
                    lambda subject=subject, name=name: (
                        f"{wrong(*subject)} right after {name}, TIDEMARK_SEED={SEED}"
                    ),
                    PATIENCE,
                )
            right_at = datetime.now(UTC)
            factories.assert_sound(conn)


def wrong(page: Page, conn: Connection, account_id: int) -> list[str]:
    """What the page does not have as the database does: the figures, what is open, and of the
    chosen account the last trades, once each; those that are out of sight are not in the page."""
    fills = [
        str(row["fill_id"])
        for row in factories.every(
            conn,
            "select fill_id from api.fills where account_id = %s order by event_seq desc limit 50",
            [account_id],
        )
    ]
    shown = list(rows(page, "tr[data-fill-id]"))
    is_so = {
        "live": page.query_selector("[data-connection=live]") is not None,
        "chosen": page.query_selector(f"[data-selected-id='{account_id}']") is not None,
        "accounts": accounts_on(page) == accounts_in(conn),
        "positions": is_contained(positions_in(conn, account_id), positions_on(page)),
        "fills": len(shown) >= min(10, len(fills)) and shown[:50] == fills[: len(shown)],
        "issues": issues_on(page) == issues_in(conn),
    }
    return [name for name, is_right in is_so.items() if not is_right]


READ_ISSUES = """
() => [...document.querySelectorAll('[data-alert-id], [data-discrepancy-id]')].map(row => [
    row.dataset.alertId ? `alert ${row.dataset.alertId}`
        : `discrepancy ${row.dataset.discrepancyId}`,
    row.dataset.status,
    row.querySelector(row.dataset.alertId ? '.dim' : 'th').textContent.split(' · ')[0],
])
"""


def issues_on(page: Page) -> dict[str, set[str]]:
    """The discrepancies and alerts that are open, with the names of their accounts."""
    shown = page.evaluate(READ_ISSUES)
    assert len({subject for subject, _, _ in shown}) == len(shown), "each is shown once"
    return {
        subject: set(names.split(", ")) for subject, status, names in shown if status != "resolved"
    }


def issues_in(conn: Connection) -> dict[str, set[str]]:
    return {
        row["subject"]: set(row["names"])
        for row in factories.every(
            conn,
            """
            select e.kind || ' ' || e.subject_id as subject, array_agg(a.name) as names
            from (
                select distinct on (account_id, kind, subject_id) *
                from ledger.events
                order by account_id, kind, subject_id, event_seq desc
            ) e
            join ledger.accounts a using (account_id)
            where e.is_open
            group by e.kind, e.subject_id
            """,
        )
    }
