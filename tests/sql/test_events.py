"""Events: numbered together with fills, never changed, and told to whoever listens."""

import psycopg
import pytest

from tests.conftest import Database
from tests.factories import Connection, account, assert_sound, every, fill, instrument, one, tick
from tests.sql.trading_sessions import pid, transaction, waiting


def post(conn: Connection, account_id: int, subject_id: int = 7) -> int:
    posted: int = one(
        conn,
        "select ledger.post_event(%s, 'alert', %s, true, '{\"alert_id\": 7}') as event_seq",
        [account_id, subject_id],
    )["event_seq"]
    return posted


def test_fills_and_events_share_numbers_without_gaps(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.1", "1.1")
    account_id = account(conn)
    assert post(conn, account_id) == 1
    assert fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")["event_seq"] == 2
    assert post(conn, account_id) == 3
    assert_sound(conn)
    (event,) = every(conn, "select * from ledger.events where event_seq = 3")
    assert (event["kind"], event["subject_id"], event["is_open"]) == ("alert", 7, True)
    assert event["body"] == {"alert_id": 7}


@pytest.mark.parametrize(
    "damage",
    [
        "update ledger.accounts set last_event_seq = 4",
        "insert into ledger.events select account_id, 1, kind, subject_id, is_open, body"
        " from ledger.events",
        "insert into ledger.events select account_id, 4, kind, subject_id, is_open, body"
        " from ledger.events",
    ],
)
def test_a_gap_or_a_number_used_twice_is_found(conn: Connection, damage: str) -> None:
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.1", "1.1")
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    post(conn, account_id)
    assert_sound(conn)
    conn.execute(damage)
    (broken,) = every(conn, "select * from api.verify_ledger()")
    assert (broken["account_id"], broken["item"]) == (account_id, "number of events")


def test_events_are_never_changed(conn: Connection) -> None:
    post(conn, account(conn))
    for change in ("update ledger.events set is_open = false", "delete from ledger.events"):
        with pytest.raises(psycopg.Error) as refused:
            conn.execute(change)
        assert refused.value.sqlstate == "TM140"


def test_an_event_is_told_at_commit(conn: Connection, database: Database) -> None:
    account_id = account(conn)
    with database.connect() as listener:
        listener.execute("listen tidemark_account")
        post(conn, account_id)
        (heard,) = listener.notifies(timeout=10, stop_after=1)
    assert heard.payload == str(account_id)


def test_an_event_of_an_unknown_account_is_refused(conn: Connection) -> None:
    with pytest.raises(psycopg.Error) as refused:
        post(conn, -1)
    assert refused.value.sqlstate == "TM101"


def test_sessions_that_post_on_one_account_follow_one_another(database: Database) -> None:
    with transaction(database) as first:
        with database.connect() as setup:
            account_id = account(setup)
        assert post(first, account_id) == 1
        second = waiting(database, pid(first), lambda conn: post(conn, account_id))
        first.commit()
        assert second.result() == 2
        assert_sound(first)
