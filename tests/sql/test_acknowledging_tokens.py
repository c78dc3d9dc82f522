"""Acknowledging by a dashboard token: only where it may, and in the name of its label."""

from typing import Any

import psycopg
import pytest

from tests.factories import Connection, Row, every, one
from tests.sql.brokers import HandBroker, differing_broker, lasting


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """One with another balance than ours, which is a discrepancy."""
    return differing_broker(conn)


@pytest.fixture
def discrepancy_id(conn: Connection, broker: HandBroker) -> int:
    """The discrepancy that is open."""
    (found,) = lasting(conn)
    return int(found["discrepancy_id"])


def token(
    conn: Connection,
    account_ids: list[int] | None = None,
    *,
    label: str = "night desk",
    may: bool = True,
) -> str:
    return str(
        one(
            conn,
            "select token from api.issue_token(%s, %s, p_may_acknowledge => %s)",
            [label, account_ids, may],
        )["token"]
    )


def acknowledge(conn: Connection, *arguments: Any) -> Row:
    """As the relay does it, in its role."""
    conn.execute("set role tidemark_relay")
    try:
        return one(
            conn,
            "select * from api.acknowledge_with_token("
            f"{', '.join(['%s'] * len(arguments))}) as acknowledged",
            arguments,
        )
    finally:
        conn.execute("reset role")


def refused(conn: Connection, *arguments: Any) -> str:
    """The SQLSTATE that it is refused with, after which all is as before."""
    before = every(conn, "select * from api.discrepancies order by 1")
    events = one(conn, "select count(*) from ledger.events")
    with pytest.raises(psycopg.Error) as error:
        acknowledge(conn, *arguments)
    assert error.value.diag.message_hint
    assert every(conn, "select * from api.discrepancies order by 1") == before
    assert one(conn, "select count(*) from ledger.events") == events
    return str(error.value.sqlstate)


def test_a_token_that_may_acknowledges_in_its_name(
    conn: Connection, broker: HandBroker, discrepancy_id: int
) -> None:
    secret = token(conn, [broker.account_id])
    assert one(conn, "select may_acknowledge from api.open_sessions(%s)", [[secret]]) == {
        "may_acknowledge": True
    }
    done = acknowledge(conn, secret, discrepancy_id, "asked them")
    assert (done["status"], done["acknowledged_by"], done["note"]) == (
        "acknowledged",
        "night desk",
        "asked them",
    )
    event = one(
        conn,
        "select body from ledger.events where kind = 'discrepancy' order by event_seq desc limit 1",
    )["body"]
    assert (event["status"], event["acknowledged_by"]) == ("acknowledged", "night desk")
    assert event["acknowledged_at"] is not None


def test_again_with_the_same_note_changes_nothing(conn: Connection, discrepancy_id: int) -> None:
    secret = token(conn)
    first = acknowledge(conn, secret, discrepancy_id)
    events = one(conn, "select count(*) from ledger.events")
    assert acknowledge(conn, secret, discrepancy_id, None) == first
    assert one(conn, "select count(*) from ledger.events") == events


def test_a_token_may_not_unless_it_was_issued_so(conn: Connection, discrepancy_id: int) -> None:
    plain = str(one(conn, "select token from api.issue_token('guest')")["token"])
    shown = every(conn, "select label, may_acknowledge from api.tokens")
    assert shown == [{"label": "guest", "may_acknowledge": False}]
    assert refused(conn, plain, discrepancy_id) == "TM304"
    assert refused(conn, token(conn, may=False), discrepancy_id) == "TM304"


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_token_that_has_ended_may_nothing(
    conn: Connection, discrepancy_id: int, end: str
) -> None:
    secret = token(conn)
    if end == "revoked":
        conn.execute("select api.revoke_token(token_id) from api.tokens")
    else:
        conn.execute(
            "update relay.tokens set issued_at = now() - interval '2 s',"
            " expires_at = now() - interval '1 s'"
        )
    assert refused(conn, secret, discrepancy_id) == "TM303"
    assert refused(conn, "tm_unknown", discrepancy_id) == "TM303"
    assert refused(conn, None, discrepancy_id) == "TM303"


def test_another_account_looks_like_one_that_does_not_exist(
    conn: Connection, broker: HandBroker, discrepancy_id: int
) -> None:
    elsewhere = token(conn, [broker.own_id])
    assert refused(conn, elsewhere, discrepancy_id) == "TM305"
    assert refused(conn, elsewhere, discrepancy_id + 1) == "TM305"
    assert refused(conn, token(conn), discrepancy_id + 1) == "TM305"
    assert refused(conn, token(conn), None) == "TM305"


def test_what_is_resolved_needs_nobody(
    conn: Connection, broker: HandBroker, discrepancy_id: int
) -> None:
    broker.look()
    assert refused(conn, token(conn), discrepancy_id) == "TM306"


def test_whoever_comes_second_is_told(conn: Connection, discrepancy_id: int) -> None:
    secret = token(conn)
    acknowledge(conn, secret, discrepancy_id, "mine")
    assert refused(conn, token(conn, label="day desk"), discrepancy_id, "mine") == "TM307"
    assert refused(conn, secret, discrepancy_id, "another note") == "TM307"
    assert refused(conn, secret, discrepancy_id) == "TM307"


def test_a_note_has_an_end_and_a_long_label_none(conn: Connection, discrepancy_id: int) -> None:
    secret = token(conn, label="d" * 300)
    assert refused(conn, secret, discrepancy_id, "n" * 2001) == "TM408"
    done = acknowledge(conn, secret, discrepancy_id, "n" * 2000)
    assert done["acknowledged_by"] == "d" * 200


def test_whether_it_may_is_said(conn: Connection) -> None:
    with pytest.raises(psycopg.Error) as error:
        conn.execute("select api.issue_token('desk', p_may_acknowledge => null)")
    assert error.value.sqlstate == "TM301"
