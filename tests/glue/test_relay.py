"""The relay: a real process on a real database, watched by clients that check every message."""

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from glue import paths, wire
from glue.relay import CHANNELS, http, hub, page, session
from glue.relay.database import MAX_JOINING, Change, Mark, OpenSession
from glue.relay.frames import Frame, frames
from glue.relay.limits import Gate, Limits
from glue.relay.metrics import Metrics
from glue.relay.outbox import MAX_EVENTS, Outbox
from tests.conftest import Connection, Database
from tests.glue.relays import (
    PATIENCE,
    Client,
    Relay,
    converge,
    decode,
    fill,
    is_same,
    issue_token,
    one,
    open_account,
    refusal,
    running_relay,
    tick,
    trading,
    until,
    with_constants,
)

# What is sent ---------------------------------------------------------------------------------


def test_snapshot_is_what_the_database_has(relay: Relay, book: SimpleNamespace) -> None:
    fill(book.conn, book.alpha)
    with relay.client(book.token) as client:
        snapshot = client.receive()
        assert isinstance(snapshot, wire.Snapshot)
        assert [p.account_id for p in snapshot.accounts] == [book.alpha, book.beta]
        assert snapshot.accounts[0].event_seq == 1
        assert [f.event_seq for f in snapshot.accounts[0].fills] == [1]
        assert snapshot.accounts[0].state.name == "Alpha"
        assert is_same(client, book.conn, book.alpha)
        assert is_same(client, book.conn, book.beta)


def test_snapshot_of_some_accounts(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token, [book.beta]) as client:
        assert [p.account_id for p in client.snapshot().accounts] == [book.beta]
        fill(book.conn, book.alpha)
        fill(book.conn, book.beta)
        assert client.receive().account_id == book.beta


def test_a_fill_comes_as_trade_with_the_state_after_it(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        for number in (1, 2, 3):
            fill(book.conn, book.alpha, 1000 * number)
            trade = client.wait_for(lambda m: isinstance(m, wire.Trade))
            assert (trade.account_id, trade.event_seq) == (book.alpha, number)
            assert trade.fill.event_seq == number
            assert trade.fill.quantity == str(1000 * number)
            assert is_same(client, book.conn, book.alpha)
        assert client.gaps == 0


def test_an_entry_comes_as_update(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        book.conn.execute("select api.record_entry(%s, 'deposit', 0.01)", [book.beta])
        update = client.wait_for(lambda m: isinstance(m, wire.Update))
        assert (update.account_id, update.state.balance) == (book.beta, "10000.01")


def test_ticks_move_the_accounts_that_hold_the_instrument(
    relay: Relay, book: SimpleNamespace
) -> None:
    fill(book.conn, book.alpha, 100_000)
    with relay.client(book.token) as client:
        client.snapshot()
        tick(book.conn, "EUR/USD", "1.10100", "1.10110")
        update = client.receive()
        assert isinstance(update, wire.Update)
        assert update.account_id == book.alpha
        assert update.state.unrealized_pnl == "100.00"
        assert update.state.equity == "10100.00"
        assert update.positions[0].price == "1.10100"


def test_many_ticks_become_few_updates_and_the_last_one_counts(
    relay: Relay, book: SimpleNamespace
) -> None:
    fill(book.conn, book.alpha, 100_000)
    with relay.client(book.token, [book.alpha]) as client:
        client.snapshot()
        for pips in range(300):
            tick(book.conn, "EUR/USD", f"1.1{pips:04}", f"1.1{pips + 1:04}")
        converge(client, book.conn, book.alpha)
        assert client.states[book.alpha].equity == "10299.00"
        assert relay.metric('tidemark_relay_messages_total{type="update"}') < 150


def test_who_asks_for_few_updates_gets_few_and_the_last_one(
    relay: Relay, book: SimpleNamespace
) -> None:
    fill(book.conn, book.alpha, 100_000)
    with relay.client(book.token, [book.alpha], hello={"updates_a_second": 2}) as client:
        client.snapshot()
        began = time.monotonic()
        for pips in range(75):
            tick(book.conn, "EUR/USD", f"1.1{pips:04}", f"1.1{pips + 1:04}")
            time.sleep(0.02)
        converge(client, book.conn, book.alpha)
        seconds = time.monotonic() - began
        assert client.states[book.alpha].equity == "10074.00"
        assert relay.metric('tidemark_relay_messages_total{type="update"}') <= 2 + 2 * seconds


def test_trades_are_never_merged_under_ticks(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        for number in range(60):
            fill(book.conn, book.alpha)
            tick(book.conn, "EUR/USD", f"1.1{number:04}", f"1.1{number + 1:04}")
        seen: list[int] = []
        while len(seen) < 60:
            message = client.receive()
            if isinstance(message, wire.Trade):
                seen.append(message.event_seq)
        assert seen == list(range(1, 61))
        converge(client, book.conn, book.alpha, book.beta)


def test_who_joins_in_the_middle_misses_nothing(
    relay: Relay, book: SimpleNamespace, database: Database
) -> None:
    """Snapshot and shared reader are two reads: nothing may fall between them."""
    with trading(database, book.alpha):
        for _ in range(15):
            with relay.client(book.token, [book.alpha]) as client:
                for _ in range(8):
                    client.receive()
                assert client.gaps == 0
                newest = max(client.fills[book.alpha])
                assert client.event_seqs[book.alpha] == newest
    with relay.client(book.token) as client:
        client.snapshot()
        assert is_same(client, book.conn, book.alpha)


def test_resync_brings_a_new_snapshot(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        client.send({"type": "resync"})
        client.snapshot()
        assert client.snapshots == 2


def test_heartbeats_tell_the_last_events(relay: Relay, book: SimpleNamespace) -> None:
    fill(book.conn, book.alpha)
    with relay.client(book.token) as client:
        beat = client.wait_for(lambda m: isinstance(m, wire.Heartbeat))
        assert beat.database_ok
        assert beat.event_seqs == {str(book.alpha): 1, str(book.beta): 0}
        sent_at = datetime.fromisoformat(beat.sent_at)
        assert abs(datetime.now(UTC) - sent_at) < timedelta(seconds=5)


def test_an_account_opened_later_appears(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        gamma = open_account(book.conn, "Gamma")
        assert gamma in {p.account_id for p in client.snapshot().accounts}
        fill(book.conn, gamma)
        trade = client.wait_for(lambda m: isinstance(m, wire.Trade))
        assert trade.account_id == gamma


def test_an_account_opened_later_appears_to_all_clients_of_a_token(
    database: Database, book: SimpleNamespace
) -> None:
    """Also where one of them came after it, and the check of tokens after both."""
    rare = with_constants("hub.TOKEN_INTERVAL = 1.5")
    with (
        running_relay(database.dsn, command=rare) as relay,
        relay.client(book.token) as early,
    ):
        early.snapshot()
        gamma = open_account(book.conn, "Gamma")
        with relay.client(book.token) as late:
            assert gamma in {p.account_id for p in late.snapshot().accounts}
            assert gamma in {p.account_id for p in early.snapshot().accounts}


# Who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "tm_wrong", "tm_\u00e9", "tm_\0"])
def test_a_wrong_token_is_refused(any_relay: Relay, token: str) -> None:
    with any_relay.client(token) as client:
        error = refusal(client.connection)
        assert error.code == "bad_token"
        assert "tidemark token issue" in error.remedy


def test_an_expired_token_ends_the_session(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(issue_token(book.conn, lasts="1 second")) as client:
        client.snapshot()
        assert refusal(client.connection).code == "bad_token"


def test_a_revoked_token_ends_its_sessions(database: Database, book: SimpleNamespace) -> None:
    """By its notification, since no check is due."""
    other = issue_token(book.conn)
    never = with_constants("hub.TOKEN_INTERVAL = 3600")
    with (
        running_relay(database.dsn, command=never) as relay,
        relay.client(book.token) as client,
        relay.client(other) as unharmed,
    ):
        client.snapshot()
        unharmed.snapshot()
        (token_id,) = one(book.conn, "select min(token_id) from api.tokens")
        book.conn.execute("select api.revoke_token(%s)", [token_id])
        assert refusal(client.connection).code == "bad_token"
        fill(book.conn, book.alpha)
        unharmed.wait_for(lambda m: isinstance(m, wire.Trade))
        with relay.client(book.token) as late:
            assert refusal(late.connection).code == "bad_token"


def test_a_revocation_that_nobody_notified_is_found(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        book.conn.execute("update relay.tokens set revoked_at = now()")
        assert refusal(client.connection).code == "bad_token"


def test_a_revocation_without_notification_and_a_client_that_does_not_read_take_no_second() -> None:
    """A clock would tell as much of the machine: the benchmark has the times."""
    assert hub.TOKEN_INTERVAL + session.CLOSE_TIMEOUT < 1


def test_accounts_that_the_token_does_not_open_are_refused(
    relay: Relay, book: SimpleNamespace
) -> None:
    token = issue_token(book.conn, [book.alpha])
    for wanted in ([book.beta], [book.alpha, book.beta], [10**12], [-(2**63)]):
        with relay.client(token, wanted) as client:
            assert refusal(client.connection).code == "not_allowed"
    with relay.client(token) as client:
        assert [p.account_id for p in client.snapshot().accounts] == [book.alpha]


HELLO = '{"type":"hello","token":"tm_x"}'


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        "[]",
        '{"type":"goodbye"}',
        '{"type":"resync"}',
        '{"type":"hello"}',
        '{"type":"hello","token":1}',
        '{"type":"hello","token":"t","account_ids":["1"]}',
        '{"type":"hello","token":"t","account_ids":[]}',
        '{"type":"hello","token":"t","admin":true}',
        HELLO.encode(),
        HELLO.replace("tm_x", "x" * 5000),
    ],
)
def test_a_bad_first_message_is_refused(any_relay: Relay, message: str | bytes) -> None:
    with any_relay.open() as connection:
        connection.send(message)
        error = refusal(connection)
        assert error.code == "bad_message"
        assert error.remedy


def test_a_bad_later_message_is_refused(relay: Relay, book: SimpleNamespace) -> None:
    for message in ("{}", HELLO):
        with relay.client(book.token) as client:
            client.snapshot()
            client.connection.send(message)
            assert refusal(client.connection).code == "bad_message"


def test_a_huge_message_is_cut_off(any_relay: Relay) -> None:
    with any_relay.open() as connection:
        with contextlib.suppress(ConnectionClosed):
            connection.send("x" * 10_000_000)
        with pytest.raises(ConnectionClosed):
            connection.recv(PATIENCE)


def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "HELLO_TIMEOUT", 0.01)
    sent: list[bytes] = []
    closed: list[int] = []

    class Silent:
        transport = SimpleNamespace(
            get_extra_info=lambda _: SimpleNamespace(setsockopt=lambda *_: None),
            get_write_buffer_size=lambda: 1,
        )

        async def recv(self) -> str:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(self, data: bytes, text: bool) -> None:
            assert text
            sent.append(data)

        async def close(self, code: int, _reason: str) -> None:
            closed.append(code)

    async def converse() -> None:
        hub: Any = SimpleNamespace(leave=lambda _: None)
        connection: Any = Silent()
        gate = Gate(Limits(clients=1, clients_per_token=1, clients_per_address=1))
        await session.Session(connection, "192.0.2.1", hub, gate, Metrics()).run()

    asyncio.run(converse())
    (error,) = map(decode, sent)
    assert isinstance(error, wire.Error)
    assert (error.code, closed) == ("too_slow", [1013])


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [
        ("http://{host}", True),
        ("https://desk.example", True),  # allowed, if in other letters
        ("http://evil.example", False),
        ("http://{host}.evil.example", False),
        ("http://127.0.0.1:1", False),
        ("null", False),
    ],
)
def test_origin_is_checked(any_relay: Relay, origin: str, is_let_in: bool) -> None:
    origin = origin.format(host=f"{any_relay.host}:{any_relay.port}")
    if is_let_in:
        with any_relay.open(origin=origin):
            pass
    else:
        with pytest.raises(InvalidStatus) as refused:
            any_relay.open(origin=origin)
        assert refused.value.response.status_code == 403


def test_the_subprotocol_is_required(any_relay: Relay) -> None:
    for offered in (None, ["tidemark.v0"]):
        with pytest.raises(InvalidStatus) as refused:
            any_relay.open(subprotocols=offered)
        assert refused.value.response.status_code == 400


# When something breaks ------------------------------------------------------------------------

TERMINATE = """
    select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
    where datname = current_database() and application_name = 'tidemark relay' and {}
"""


def test_connections_have_planned_the_snapshot_before_a_client_comes(
    relay: Relay, book: SimpleNamespace
) -> None:
    until(
        lambda: (
            one(
                book.conn,
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and application_name = 'tidemark relay' and query ~ 'snapshot_message'",
            )
            == (MAX_JOINING,)
        )
    )


def test_lost_database_connections_are_made_anew(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        (count,) = one(book.conn, TERMINATE.format("true"))
        assert count >= 2
        fill(book.conn, book.alpha)
        tick(book.conn, "EUR/USD", "1.20000", "1.20010")
        converge(client, book.conn, book.alpha, book.beta)
        assert client.gaps == 0
        until(lambda: relay.get("/healthz")[0].status == 200)
        fill(book.conn, book.beta)
        client.wait_for(lambda m: isinstance(m, wire.Trade) and m.account_id == book.beta)


def test_changes_are_found_without_notifications(relay: Relay, book: SimpleNamespace) -> None:
    """Both notifications are taken away where they are made."""
    for name in ("tidemark_account", "tidemark_prices"):
        for (definition,) in book.conn.execute(
            "select pg_get_functiondef(oid) from pg_proc where prosrc like %s", [f"%'{name}'%"]
        ).fetchall():
            book.conn.execute(definition.replace(f"'{name}'", "'unheard'").encode())
    with relay.client(book.token) as client:
        client.snapshot()
        fill(book.conn, book.alpha)
        client.wait_for(lambda m: isinstance(m, wire.Trade))
        tick(book.conn, "EUR/USD", "1.20000", "1.20010")
        converge(client, book.conn, book.alpha, book.beta)


def test_a_lost_listener_is_replaced(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        (count,) = one(book.conn, TERMINATE.format("query ~* '^(listen|select 1$)'"))
        assert count == 1
        fill(book.conn, book.alpha)
        converge(client, book.conn, book.alpha)
        until(lambda: relay.metric("tidemark_relay_listener_up") == 1)
        fill(book.conn, book.alpha)
        converge(client, book.conn, book.alpha)
        assert client.snapshots == 1


def test_clients_are_told_while_the_database_is_away(
    relay: Relay, book: SimpleNamespace, admin: Connection
) -> None:
    name = book.conn.info.dbname
    with relay.client(book.token) as client:
        client.snapshot()
        admin.execute(f'alter database "{name}" allow_connections false'.encode())
        try:
            one(book.conn, TERMINATE.format("true"))
            beat = client.wait_for(lambda m: isinstance(m, wire.Heartbeat))
            assert not beat.database_ok
            response, body = relay.get("/healthz")
            assert response.status == 503
            assert b'"database":false' in body
            with relay.client(book.token) as late:
                assert refusal(late.connection).code == "unavailable"
            fill(book.conn, book.alpha)
        finally:
            admin.execute(f'alter database "{name}" allow_connections true'.encode())
        client.wait_for(lambda m: isinstance(m, wire.Trade))
        client.wait_for(lambda m: isinstance(m, wire.Heartbeat) and m.database_ok)
        assert is_same(client, book.conn, book.alpha)


def test_pages_start_anew_when_the_database_is_set_back(
    relay: Relay, book: SimpleNamespace
) -> None:
    """A crash loses commits that did not wait for the disk; versions are then given twice."""
    with relay.client(book.token) as client:
        client.snapshot()
        book.conn.execute("update equity.account_states set version = version - 1")
        assert refusal(client.connection).code == "unavailable"
    with relay.client(book.token) as client:
        client.snapshot()
        assert is_same(client, book.conn, book.alpha)
        fill(book.conn, book.alpha)
        client.wait_for(lambda m: isinstance(m, wire.Trade))


@contextlib.contextmanager
def silent_client(
    relay: Relay, book: SimpleNamespace
) -> Iterator[tuple[Client, Callable[[], None]]]:
    """A client that has stopped to read, and what moves many accounts some times."""
    book.conn.execute("select api.open_account('more', 'USD') from generate_series(1, 60)")
    book.conn.execute(
        "select api.record_fill(account_id, 'EUR/USD', 'buy', 1000, 1.1) from api.accounts"
    )
    small = socket.create_connection((relay.host, relay.port))
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    pips = iter(range(10_000))

    def move() -> None:
        for _ in range(10):
            tick(book.conn, "EUR/USD", f"1.1{next(pips):04}", "1.30000")
            time.sleep(0.02)

    with relay.client(book.token, sock=small, max_queue=1) as client:
        client.snapshot()
        yield client, move
        with contextlib.suppress(OSError):  # it is closed already
            small.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def stuck_client(relay: Relay, book: SimpleNamespace) -> Iterator[Client]:
    """A client that has stopped to read, with all that lies between full."""
    with silent_client(relay, book) as (client, move):

        def is_stuck() -> bool:
            before = relay.metric('tidemark_relay_messages_total{type="update"}')
            move()
            return (
                relay.metric("tidemark_relay_outbox_bytes") > 0
                and relay.metric('tidemark_relay_messages_total{type="update"}') == before
            )

        until(is_stuck, 60)
        yield client


def test_pages_start_anew_when_commits_may_have_been_lost(
    relay: Relay, book: SimpleNamespace
) -> None:
    """A new timeline has begun, and gives the numbers that were lost again."""
    with relay.client(book.token) as client:
        client.snapshot()
        fill(book.conn, book.alpha, 7000)
        client.wait_for(lambda m: isinstance(m, wire.Trade))
        with book.conn.transaction():
            book.conn.execute("set local session_replication_role = replica")
            book.conn.execute("update ledger.fills set quantity = 2000")
            book.conn.execute("truncate relay.timeline")
        one(book.conn, TERMINATE.format("true"))
        assert refusal(client.connection).code == "unavailable"
    with relay.client(book.token) as client:
        client.snapshot()
        assert [fill.quantity for fill in client.fills[book.alpha].values()] == ["2000"]


def test_who_waits_for_a_snapshot_hears_that_the_relay_lives(
    relay: Relay, book: SimpleNamespace, database: Database
) -> None:
    """And who has one does not hear of it, for the database answers."""
    with contextlib.ExitStack() as stack, database.connect() as holder:
        clients = [stack.enter_context(relay.client(book.token)) for _ in range(10)]
        for client in clients:
            client.snapshot()
        idle, *waiting = clients
        holder.execute("begin")
        holder.execute("lock table recon.settings in access exclusive mode")
        for client in waiting:
            client.send({"type": "resync"})
        beats = [idle.wait_for(lambda m: isinstance(m, wire.Heartbeat)) for _ in range(2)]
        assert all(beat.database_ok for beat in beats)
        for client in waiting:
            with contextlib.suppress(TimeoutError):
                while client.heartbeat is None:
                    client.receive(0)
            assert client.heartbeat is not None
        until(lambda: hears(waiting[-1], lambda beat: not beat.database_ok))
        holder.execute("rollback")
        for client in waiting:
            client.snapshot()
        assert idle.snapshots == 1


def hears(client: Client, condition: Callable[[wire.Heartbeat], bool]) -> bool:
    """Whether the next message is a heartbeat of which this holds."""
    with contextlib.suppress(TimeoutError):
        client.receive(0.1)
    return client.heartbeat is not None and condition(client.heartbeat)


def test_a_client_that_does_not_read_gets_the_latest_state_later(
    relay: Relay, book: SimpleNamespace
) -> None:
    with stuck_client(relay, book) as slow, relay.client(book.token) as quick:
        quick.snapshot()
        for _ in range(MAX_EVENTS + 10):
            fill(book.conn, book.alpha, 1)
        until(lambda: relay.metric('tidemark_relay_resyncs_total{cause="overflow"}') == 1)
        converge(quick, book.conn, book.alpha, book.beta)
        assert (quick.gaps, quick.snapshots) == (0, 1)
        slow.snapshot()
        converge(slow, book.conn, book.alpha, book.beta)
        assert slow.snapshots == 2


def test_a_client_that_does_not_read_is_sent_away_all_the_same(
    relay: Relay, book: SimpleNamespace
) -> None:
    with stuck_client(relay, book):
        book.conn.execute("select api.revoke_token(token_id) from api.tokens")
        until(lambda: relay.metric("tidemark_relay_clients") == 0)


def test_a_client_that_reads_nothing_for_too_long_is_cut_off(
    database: Database, book: SimpleNamespace
) -> None:
    quickly = with_constants("session.SEND_TIMEOUT = 0.5")
    with (
        running_relay(database.dsn, command=quickly) as relay,
        silent_client(relay, book) as (client, move),
    ):

        def is_cut_off() -> bool:
            move()
            return relay.metric('tidemark_relay_refusals_total{code="too_slow"}') == 1

        until(is_cut_off, 60)
        until(lambda: relay.metric("tidemark_relay_clients") == 0)
        with pytest.raises(ConnectionClosed) as closed:
            client.wait_for(lambda m: isinstance(m, wire.Error))
        assert closed.value.rcvd is None, "it is not told"


def test_what_changes_is_encoded_once_for_all_who_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    told = '{"type":"trade","event_seq":7,"fill":{"recorded_at":"2026-11-27T00:00:00Z"}}'
    change = Change(1, 30, 7, 0.0, "{}", "[]", [told])
    encoded: list[Change] = []
    written: list[bytes] = []

    def encode(change: Change, held: Mark) -> list[Frame]:
        encoded.append(change)
        return frames(change, held)

    async def open_sessions(tokens: Iterable[str]) -> dict[str, OpenSession]:
        return {token: OpenSession(1, [1], 0, False) for token in tokens}

    async def changes(_: object) -> list[Change]:
        return [change]

    async def read() -> None:
        database: Any = SimpleNamespace(
            joining=asyncio.Semaphore(1), open_sessions=open_sessions, changes=changes
        )
        line: Any = SimpleNamespace(transport=SimpleNamespace(get_write_buffer_size=lambda: 0))
        gate = Gate(Limits(clients=50, clients_per_token=50, clients_per_address=50))
        reader = hub.Hub(database, gate, Metrics())
        busy = []
        for number in range(50):
            client = session.Session(line, "192.0.2.1", reader, gate, Metrics())
            await reader.join(client)
            client.outbox.begin_snapshot()
            client.outbox.end_snapshot({1: Mark(20, 6)}, 0)
            client._is_idle = number % 2 == 0
            if not client._is_idle:
                busy.append(client.outbox)
        reader._held[1] = Mark(20, 6)
        await reader._read("accounts", [1])
        assert len(written) == 25, "to those who wait it is written at once"
        written.extend(frame.data for outbox in busy if (frame := outbox.take()))

    monkeypatch.setattr(session, "broadcast", lambda _, data, text: written.append(data))
    monkeypatch.setattr(hub, "frames", encode)
    asyncio.run(read())
    assert encoded == [change]
    assert len(written) == 50
    assert len(set(map(id, written))) == 1


def test_outbox_keeps_trades_and_the_latest_update() -> None:
    outbox = Outbox(Metrics())
    outbox.begin_snapshot()

    def offer(kind: str, account_id: int, version: int, event_seq: int) -> None:
        outbox.offer(Frame(kind, account_id, Mark(version, event_seq), b""))

    offer("update", 1, 2, 0)
    offer("trade", 1, 3, 1)
    offer("update", 2, 5, 0)
    offer("update", 1, 4, 1)
    offer("update", 2, 6, 0)
    outbox.end_snapshot({1: Mark(2, 0), 2: Mark(5, 0)}, 0)
    assert outbox.unsent() == {1: 1}
    taken = list(iter(outbox.take, None))
    assert [(f.kind, f.account_id, f.mark.version) for f in taken if f] == [
        ("trade", 1, 3),
        ("update", 2, 6),
        ("update", 1, 4),
    ]
    offer("update", 2, 5, 0)
    offer("trade", 1, 3, 0)
    assert outbox.take() is None, "the snapshot holds these"
    for number in range(MAX_EVENTS + 50):
        offer("trade", 1, 10 + number, 10 + number)
        offer("update", number, 9000, 0)
    assert outbox.wants_snapshot
    assert len(outbox) == 0


def test_all_that_waits_is_counted_until_it_is_taken() -> None:
    outbox = Outbox(Metrics())
    outbox.begin_snapshot()
    update = Frame("update", 1, Mark(1, 0), b"four")
    outbox.offer(update)
    outbox.offer_broker(Frame("broker", 1, Mark(0, 0), b"sixsix"))
    outbox.end_snapshot({}, 0)
    for text in (b"a longer curve", b"curve"):
        outbox.offer_single("curve", text)
    assert outbox.byte_count == len(b"four" + b"sixsix" + b"curve")
    outbox.drop_update(1)
    outbox.offer(Frame("trade", 1, Mark(2, 1), b"trade", update=update))
    assert outbox.byte_count == len(b"sixsix" + b"curve" + b"trade" + b"four")
    assert [frame.kind for frame in iter(outbox.take, None) if frame] == [
        *("trade", "curve", "broker")
    ]
    assert outbox.byte_count == 0


def test_of_a_trade_that_the_snapshot_holds_the_newer_state_is_still_sent() -> None:
    told = '{"type":"trade","event_seq":7,"fill":{"recorded_at":"2026-11-27T00:00:00Z"}}'
    change = Change(1, 30, 7, 0.0, "{}", "[]", [told])
    (trade,) = frames(change, Mark(20, 6))
    outbox = Outbox(Metrics())

    def taken() -> list[tuple[str, Mark]]:
        return [(f.kind, f.mark) for f in iter(outbox.take, None) if f]

    outbox.begin_snapshot()
    outbox.offer(trade)  # while the snapshot is read
    outbox.end_snapshot({1: Mark(25, 7)}, 0)
    assert taken() == [("update", Mark(30, 7))]
    outbox.offer(trade)
    assert taken() == [("update", Mark(30, 7))]
    outbox.begin_snapshot()
    outbox.end_snapshot({1: Mark(25, 6)}, 0)
    outbox.offer(trade)
    assert taken() == [("trade", Mark(30, 7))], "which tells the state as well"
    outbox.begin_snapshot()
    outbox.end_snapshot({1: Mark(30, 7)}, 0)
    outbox.offer(trade)
    assert taken() == []


def test_many_trades_that_the_snapshot_holds_tell_the_state_once() -> None:
    told = '{"type":"trade","event_seq":%s,"fill":{"recorded_at":"2026-11-27T00:00:00Z"}}'
    change = Change(1, 30, 8, 0.0, "{}", "[]", [told % 6, told % 7, told % 8])
    outbox = Outbox(Metrics())
    outbox.begin_snapshot()
    outbox.end_snapshot({1: Mark(25, 8)}, 0)
    needed = [frame for made in frames(change, Mark(20, 5)) if (frame := outbox.needed(made))]
    assert [(frame.kind, frame.mark) for frame in needed] == [("update", Mark(30, 8))]


# The process ----------------------------------------------------------------------------------


def test_healthz(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        response, body = relay.get("/healthz")
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert body == b'{"database":true,"listener":true,"clients":1}\n'


def test_metrics_are_for_this_machine_only(any_relay: Relay) -> None:
    response, body = any_relay.get("/metrics")
    assert response.status == 200
    assert b"tidemark_relay_clients 0.0" in body
    response, _ = any_relay.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
    assert response.status == 403
    request: Any = SimpleNamespace(headers={})
    for peer, is_local in (("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)):
        connection: Any = SimpleNamespace(remote_address=(peer, 1))
        assert http.is_local(connection, request) is is_local


def test_metrics_at_an_address_of_their_own(database: Database) -> None:
    port = free_port()
    with running_relay(database.dsn, "--metrics-listen", f"127.0.0.1:{port}") as relay:
        relay.port = port
        response, body = relay.get("/metrics")
        assert response.status == 200
        assert b"tidemark_relay_listener_up" in body
        assert relay.get("/")[0].status == 404


def test_the_page_is_served(any_relay: Relay) -> None:
    if not (paths.PAGE / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    response, index = any_relay.get("/?x=1")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assets = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', index.decode())
    assert any(path.endswith(".js") for path in assets)
    for path in assets:
        response, body = any_relay.get(f"/{path}")
        assert response.headers["Content-Type"] == page.MIME_TYPES[Path(path).suffix]
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert body == (paths.PAGE / path).read_bytes()
        head, nothing = any_relay.get(f"/{path}", "HEAD")
        assert (head.status, nothing) == (200, b"")
        assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "path", ["/nothing", "/assets/", "/assets", "/../pyproject.toml", "/%2e%2e/pyproject.toml"]
)
def test_anything_else_is_not_found(any_relay: Relay, path: str) -> None:
    assert any_relay.get(path)[0].status == 404
    assert any_relay.get(path, "HEAD")[1] == b""


def test_other_methods_are_refused(any_relay: Relay) -> None:
    response, _ = any_relay.get("/", "POST")
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"


def test_a_page_that_was_not_built_says_so(tmp_path: Path) -> None:
    (file,) = page.load(tmp_path / "dist").values()
    assert file.status == 503
    assert b"make page" in file.body


def test_stops_on_sigterm_and_says_goodbye(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        silent = socket.create_connection((relay.host, relay.port))
        began = time.monotonic()
        assert relay.stop() == 0
        assert time.monotonic() - began < 2
        silent.close()
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_stops_on_sigint_although_a_client_does_not_read(
    relay: Relay, book: SimpleNamespace
) -> None:
    with stuck_client(relay, book):
        relay.process.send_signal(signal.SIGINT)
        assert relay.process.wait(5) == 0


def test_a_taken_address_is_named(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tidemark(database, "relay", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"the address 127.0.0.1:{port} is taken" in done.stderr
    assert "--listen" in done.stderr


def test_wrong_usage_and_no_schema(database: Database, empty_database: Database) -> None:
    assert tidemark(database, "relay", "--listen", "nonsense").returncode == 2
    done = tidemark(database, "relay", "--allow-origin", "desk.example")
    assert done.returncode == 2
    assert "not an origin like https://desk.example" in done.stderr
    assert "'desk.example'" in done.stderr
    done = tidemark(empty_database, "relay", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "tidemark migrate" in done.stderr


def test_channels_are_those_that_sql_notifies() -> None:
    sql = "\n".join(path.read_text() for path in paths.SQL.rglob("*.sql"))
    assert set(re.findall(r"pg_notify\('([^']+)'", sql)) == set(CHANNELS)


def tidemark(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    import os

    return subprocess.run(
        [sys.executable, "-m", "glue", *arguments],
        env=os.environ | {"TIDEMARK_DSN": database.dsn},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
