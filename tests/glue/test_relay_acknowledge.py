"""Acknowledging a discrepancy through the relay: its event is the answer, or a refusal."""

import re
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from glue import wire
from glue.relay.refusal import AWAY, DECLINED
from tests import contract
from tests.conftest import Connection
from tests.glue.relays import GUIDE, Client, Relay, issue_token, refusal
from tests.sql.brokers import HandBroker, differing_broker, lasting


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """One with another balance than ours, which is a discrepancy."""
    return differing_broker(conn)


@pytest.fixture
def discrepancy_id(conn: Connection, broker: HandBroker) -> int:
    (found,) = lasting(conn)
    return int(found["discrepancy_id"])


def acknowledge(client: Client, discrepancy_id: int, note: str | None = None) -> Any:
    """The answer to it."""
    message = {"type": "acknowledge", "discrepancy_id": discrepancy_id, "note": note}
    contract.check(message, "fromPage")
    client.send(message)
    return client.wait_for(lambda m: isinstance(m, wire.DiscrepancyChanged | wire.Refused))


def code_of(answer: Any, discrepancy_id: int) -> str:
    assert isinstance(answer, wire.Refused)
    assert answer.discrepancy_id == discrepancy_id
    assert answer.remedy
    return str(answer.code)


def test_the_discrepancys_event_is_the_answer_to_all_who_watch(
    relay: Relay, book: SimpleNamespace, broker: HandBroker, discrepancy_id: int
) -> None:
    secret = issue_token(book.conn, [broker.account_id], may_acknowledge=True)
    with relay.client(secret) as client, relay.client(book.token) as other:
        assert client.snapshot().may_acknowledge is True
        assert other.snapshot().may_acknowledge is False
        answer = acknowledge(client, discrepancy_id, 'asked them, "ticket" 4711')
        assert answer.discrepancy.status == "acknowledged"
        assert answer.discrepancy.acknowledged_by == "t"
        assert answer.discrepancy.note == 'asked them, "ticket" 4711'
        assert answer.discrepancy.acknowledged_at is not None
        assert other.wait_for(lambda m: isinstance(m, wire.DiscrepancyChanged)) == answer


def test_each_refusal_leaves_the_connection_open(
    relay: Relay, book: SimpleNamespace, broker: HandBroker, discrepancy_id: int
) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        assert code_of(acknowledge(client, discrepancy_id), discrepancy_id) == "not_allowed"
    elsewhere = issue_token(book.conn, [book.alpha], may_acknowledge=True)
    with relay.client(elsewhere) as client:
        client.snapshot()
        assert code_of(acknowledge(client, discrepancy_id), discrepancy_id) == "unknown"
        assert code_of(acknowledge(client, -(2**63)), -(2**63)) == "unknown"
    with relay.client(issue_token(book.conn, may_acknowledge=True)) as client:
        client.snapshot()
        acknowledge(client, discrepancy_id, "mine")
        assert code_of(acknowledge(client, discrepancy_id), discrepancy_id) == "acknowledged"
        broker.look()
        client.wait_for(lambda m: isinstance(m, wire.DiscrepancyChanged))
        assert code_of(acknowledge(client, discrepancy_id), discrepancy_id) == "resolved"
        client.send({"type": "ping", "sent_at": 1.0})
        client.wait_for(lambda m: isinstance(m, wire.Pong))


def test_without_its_database_the_relay_says_that_it_does_not_know(
    relay: Relay,
    book: SimpleNamespace,
    discrepancy_id: int,
    admin: Connection,
) -> None:
    with relay.client(issue_token(book.conn, may_acknowledge=True)) as client:
        client.snapshot()
        name = book.conn.info.dbname
        admin.execute(f'alter database "{name}" allow_connections false'.encode())
        try:
            book.conn.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and application_name = 'tidemark relay'"
            )
            assert code_of(acknowledge(client, discrepancy_id), discrepancy_id) == "unavailable"
        finally:
            admin.execute(f'alter database "{name}" allow_connections true'.encode())
        assert acknowledge(client, discrepancy_id).discrepancy.status == "acknowledged"


def test_a_revoked_token_is_sent_away(
    relay: Relay, book: SimpleNamespace, discrepancy_id: int
) -> None:
    with relay.client(issue_token(book.conn, may_acknowledge=True)) as client:
        client.snapshot()
        book.conn.execute("update relay.tokens set revoked_at = now()")  # tells nobody
        client.send({"type": "acknowledge", "discrepancy_id": discrepancy_id})
        assert refusal(client.connection).code == "bad_token"
    (found,) = lasting(book.conn)
    assert found["status"] == "open"


@pytest.mark.parametrize("note", ["n" * (wire.MAX_NOTE + 1), "a\0b", 5])
def test_a_note_that_cannot_be_kept_is_no_message(
    relay: Relay, book: SimpleNamespace, note: object
) -> None:
    with relay.client(issue_token(book.conn, may_acknowledge=True)) as client:
        client.snapshot()
        client.send({"type": "acknowledge", "discrepancy_id": 1, "note": note})
        assert refusal(client.connection).code == "bad_message"


def test_acknowledging_counts_as_every_message(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        for _ in range(200):
            client.send({"type": "acknowledge", "discrepancy_id": 1})
        assert refusal(client.connection).code == "rate_limited"


def test_the_guide_names_every_code() -> None:
    codes = set(get_args(wire.RefusedCode))
    assert {code for code, _, _ in [*DECLINED.values(), AWAY]} == codes
    (table,) = re.findall(r"\| `refused` .*\n\|[-|]+\n((?:\|.*\n)+)", GUIDE.read_text())
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == codes
