"""What the relay tells of an account's broker: the figures of api.reconciliation_status."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.factories import Connection, account, every, one
from tests.sql.brokers import HandBroker

FIGURES = {
    "balance": "broker_balance",
    "equity": "broker_equity",
    "unrealized_pnl": "broker_unrealized_pnl",
    "margin_used": "broker_margin_used",
    "answered_at": "last_answer_at",
} | {
    name: name
    for name in (
        *("consistent_since", "last_run_at", "failing_since", "failure", "open_discrepancies"),
    )
}


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that has not been asked yet, with 10000 on both sides."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    return broker


def changes(conn: Connection, hashes: dict[int, str]) -> dict[int, str]:
    """As the relay asks, in its role."""
    conn.execute("set role tidemark_relay")
    try:
        return {
            row["account_id"]: row["broker"]
            for row in every(
                conn,
                "select * from api.broker_changes(%s::bigint[], %s::text[])",
                [list(hashes), list(hashes.values())],
            )
        }
    finally:
        conn.execute("reset role")


def told(conn: Connection, account_id: int) -> Any:
    """What a client is told, by a message and by a snapshot alike."""
    text = changes(conn, {account_id: ""})[account_id]
    snapshot = one(
        conn, "select api.snapshot_message(%s, '{}', '{}', '{}', null) as text", [[account_id]]
    )["text"]
    assert text in snapshot, "byte by byte: the relay compares hashes"
    (portfolio,) = json.loads(snapshot)["accounts"]
    assert portfolio["broker"] == json.loads(text)
    return portfolio["broker"]


def as_wire(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def assert_as_stored(conn: Connection, account_id: int) -> dict[str, Any]:
    """What is told is what the view has; the figures themselves are compared as numbers."""
    row = one(conn, "select * from api.reconciliation_status where account_id = %s", [account_id])
    broker: dict[str, Any] = told(conn, account_id)
    assert broker.keys() == FIGURES.keys() | {"overdue_at"}
    for name, column in FIGURES.items():
        if isinstance(row[column], Decimal):
            assert Decimal(broker[name]) == row[column], name
        else:
            assert broker[name] == as_wire(row[column]), name
    return broker


def test_what_is_told_is_the_status(conn: Connection, broker: HandBroker) -> None:
    before = assert_as_stored(conn, broker.account_id)
    assert (before["balance"], before["last_run_at"]) == (None, None)

    broker.look(balance="10000.0012300", equity="10000", margin_used="0")
    first = assert_as_stored(conn, broker.account_id)
    assert first["balance"] == "10000.00123", "all digits that say something"
    assert first["equity"] == "10000.00", "and as many as the account has"

    for _ in range(2):
        broker.look(balance="9999", equity="9999", margin_equity="9999")
    differing = assert_as_stored(conn, broker.account_id)
    assert (differing["consistent_since"], differing["open_discrepancies"]) == (None, 1)

    conn.execute("select api.record_broker_failure(%s, 'no answer: \"502\"')", [broker.account_id])
    failing = assert_as_stored(conn, broker.account_id)
    assert failing["failure"] == 'no answer: "502"'
    assert failing["answered_at"] == differing["answered_at"]

    broker.look()
    assert assert_as_stored(conn, broker.account_id)["open_discrepancies"] == 0


def test_it_is_overdue_when_the_alert_is_due(conn: Connection, broker: HandBroker) -> None:
    def assert_due_after(since: datetime) -> None:
        (due,) = one(
            conn, "select %s::timestamptz + stopped_after as due from recon.settings", [since]
        ).values()
        assert told(conn, broker.account_id)["overdue_at"] == as_wire(due)

    (opened_at,) = one(
        conn, "select opened_at from ledger.accounts where account_id = %s", [broker.account_id]
    ).values()
    assert_due_after(opened_at)
    broker.look()
    (last_run_at,) = one(
        conn,
        "select last_run_at from api.reconciliation_status where account_id = %s",
        [broker.account_id],
    ).values()
    conn.execute("select api.set_reconciliation_settings(p_stopped_after => '5 minutes')")
    assert_due_after(last_run_at)


def test_who_is_not_compared_has_none(conn: Connection, broker: HandBroker) -> None:
    assert told(conn, account(conn)) is None
    broker.look()
    conn.execute(
        "select api.set_reconciliation_terms(%s, p_is_enabled => false)", [broker.account_id]
    )
    assert told(conn, broker.account_id) is None
    conn.execute(
        "select api.set_reconciliation_terms(%s, p_is_enabled => true)", [broker.account_id]
    )
    assert told(conn, broker.account_id)["balance"] == "10000.00"
    conn.execute("select api.record_entry(%s, 'withdrawal', -10000)", [broker.account_id])
    conn.execute("select api.close_account(%s)", [broker.account_id])
    assert told(conn, broker.account_id) is None


def test_only_what_changed_is_told(conn: Connection, broker: HandBroker) -> None:
    other = account(conn)
    first = changes(conn, {broker.account_id: "", other: "", 99: ""})
    assert first.keys() == {broker.account_id, other}
    hashes = {
        account_id: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        for account_id, text in first.items()
    }
    assert changes(conn, hashes) == {}
    broker.look()
    assert changes(conn, hashes).keys() == {broker.account_id}
