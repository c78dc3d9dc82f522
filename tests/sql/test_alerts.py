"""Alerts: raised, escalated and resolved once, delivered at least once, and quiet at night."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.factories import Connection, Row, account, assert_sound, entry, every, instrument, one
from tests.sql.brokers import HandBroker, lasting, now, quote
from tests.sql.trading_sessions import pid, transaction, waiting


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that agrees with the ledger; what is seen twice is a fact."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    instrument(conn, "EUR/USD")
    quote(conn, ("EUR/USD", "1.1", "1.1"))
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    broker.look()
    return broker


def channel(conn: Connection, name: str = "desk", **more: Any) -> None:
    names = "".join(f", p_{key} => %s" for key in more)
    conn.execute(
        f"select api.set_alert_channel(%s, 'https://example.org/${{HOOK}}'{names})",
        [name, *more.values()],
    )


def differ(broker: HandBroker, amount: str = "5") -> Row:
    """Make the balances differ until it is a discrepancy."""
    entry(broker.conn, broker.own_id, "adjustment", amount)
    broker.look()
    broker.look()
    (found,) = lasting(broker.conn)
    return found


def take(conn: Connection) -> list[Row]:
    return every(conn, "select * from api.take_alerts()")


def report(conn: Connection, delivery_id: int, error: str | None = None) -> Row:
    return one(
        conn,
        "select * from api.report_alert_delivery(%s, %s, %s)",
        [delivery_id, error is None, error],
    )


def judge(conn: Connection) -> list[tuple[str, str]]:
    return [(row["kind"], row["status"])
            for row in every(conn, "select * from api.judge_reconciliation()")]  # fmt: skip


def refused(conn: Connection, query: str, *parameters: object) -> str:
    with pytest.raises(psycopg.Error) as error:
        conn.execute(query, parameters)
    assert error.value.diag.message_hint
    return str(error.value.sqlstate)


def age(conn: Connection, interval: str = "1 hour") -> None:
    """Let time pass for what reconciliation remembers."""
    conn.execute(
        f"""
        update recon.discrepancies set opened_at = opened_at - interval '{interval}';
        update recon.alert_deliveries set due_at = due_at - interval '{interval}';
        update recon.accounts
        set last_run_at = last_run_at - interval '{interval}',
            enabled_at = enabled_at - interval '{interval}',
            failing_since = failing_since - interval '{interval}',
            last_answer_at = last_answer_at - interval '{interval}';
        update ledger.accounts set opened_at = opened_at - interval '{interval}';
        """
    )


# Delivery


def test_an_alert_is_told_when_it_begins_and_when_it_ends(
    conn: Connection, broker: HandBroker
) -> None:
    channel(conn)
    found = differ(broker)
    (due,) = take(conn)
    assert (due["channel"], due["occasion"], due["attempt"]) == ("desk", "raised", 1)
    assert due["target"] == "https://example.org/${HOOK}"
    body = due["body"]
    assert (body["kind"], body["status"], body["severity"]) == ("discrepancy", "raised", "warning")
    assert body["discrepancy_id"] == found["discrepancy_id"]
    assert body["message"] == found["message"]
    assert body["accounts"] == [{"account_id": broker.account_id, "name": "At broker"}]
    assert take(conn) == []
    done = report(conn, due["delivery_id"])
    assert done["delivered_at"] is not None
    age(conn)
    assert take(conn) == []
    entry(conn, broker.account_id, "adjustment", "5")
    broker.look()
    (due,) = take(conn)
    assert (due["occasion"], due["body"]["status"]) == ("resolved", "resolved")
    assert due["body"]["resolved_at"] is not None
    assert report(conn, due["delivery_id"]) == report(conn, due["delivery_id"], "late")


def test_a_delivery_that_fails_is_due_again_later_each_time(
    conn: Connection, broker: HandBroker
) -> None:
    channel(conn)
    differ(broker)
    delays = []
    for attempt in range(1, 11):
        (due,) = take(conn)
        assert due["attempt"] == attempt
        assert due["body"]["status"] == "raised"
        failed = report(conn, due["delivery_id"], "503")
        assert (failed["last_error"], failed["delivered_at"]) == ("503", None)
        delays.append(round((failed["due_at"] - now()).total_seconds()))
        age(conn, "2 hours")
    assert delays == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_sender_that_dies_loses_nothing(conn: Connection, broker: HandBroker) -> None:
    channel(conn)
    differ(broker)
    (due,) = take(conn)
    age(conn, "50 seconds")
    assert take(conn) == []  # still leased
    age(conn, "11 seconds")
    (again,) = take(conn)
    assert (again["delivery_id"], again["attempt"]) == (due["delivery_id"], 2)


def test_two_senders_take_each_delivery_once(
    conn: Connection, database: Database, broker: HandBroker
) -> None:
    channel(conn, "desk")
    channel(conn, "night")
    differ(broker)
    with transaction(database) as first:
        (one_due,) = every(first, "select * from api.take_alerts(1)")
        (other,) = take(conn)
        assert one_due["channel"] != other["channel"]
        first.commit()
    assert take(conn) == []


def test_senders_need_no_table(conn: Connection, database: Database, broker: HandBroker) -> None:
    channel(conn)
    differ(broker)
    for role in ("tidemark_watch", "tidemark_reconcile"):
        age(conn, "1 minute")
        with database.connect(role) as sender:
            (due,) = take(sender)
            report(sender, due["delivery_id"], "x")
            judge(sender)
    age(conn)
    with (
        database.connect("tidemark_relay") as stranger,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        take(stranger)


def test_reports_and_takings_that_make_no_sense_are_refused(conn: Connection) -> None:
    assert refused(conn, "select api.report_alert_delivery(-1, true)") == "TM410"
    assert refused(conn, "select api.take_alerts(0)") == "TM414"
    assert refused(conn, "select api.take_alerts(null)") == "TM414"
    assert refused(conn, "select api.take_alerts(1, '0')") == "TM414"


# Channels


def test_a_channel_takes_alerts_from_its_severity_on(conn: Connection, broker: HandBroker) -> None:
    channel(conn, "all")
    channel(conn, "grave", min_severity="critical")
    differ(broker)
    assert [due["channel"] for due in take(conn)] == ["all"]
    age(conn)
    broker.look()
    assert judge(conn) == [("discrepancy", "escalated")]
    assert {(due["channel"], due["occasion"]) for due in take(conn)} == {
        ("all", "raised"),
        ("all", "escalated"),
        ("grave", "escalated"),
    }


def test_a_channel_that_is_disabled_is_told_nothing(conn: Connection, broker: HandBroker) -> None:
    channel(conn)
    differ(broker)
    channel(conn, is_enabled=False)
    assert take(conn) == []
    entry(conn, broker.account_id, "adjustment", "5")
    broker.look()
    channel(conn)
    assert take(conn) == []


def local(hours: float) -> str:
    """A time of day in Tokyo so many hours from now."""
    moment: datetime = now() + timedelta(hours=9 + hours)
    return moment.strftime("%H:%M:%S")


def test_quiet_hours_hold_back_what_is_not_critical(conn: Connection, broker: HandBroker) -> None:
    quiet = {"quiet_from": local(-1), "quiet_to": local(2), "time_zone": "Asia/Tokyo"}
    channel(conn, "night", **quiet)
    channel(conn, "day", quiet_from=local(2), quiet_to=local(-1), time_zone="Asia/Tokyo")
    differ(broker)
    assert [due["channel"] for due in take(conn)] == ["day"]
    assert take(conn) == []
    channel(conn, "night", quiet_from=local(-2), quiet_to=local(-1), time_zone="Asia/Tokyo")
    assert [due["channel"] for due in take(conn)] == ["night"]


def test_quiet_hours_do_not_hold_back_what_is_critical(
    conn: Connection, broker: HandBroker
) -> None:
    channel(conn, quiet_from=local(-1), quiet_to=local(2), time_zone="Asia/Tokyo")
    broker.fill_only("EUR/USD", "buy", "100", "1.1")
    broker.look()
    broker.look()
    assert [due["body"]["severity"] for due in take(conn)] == ["critical"]


@pytest.mark.parametrize(
    ("start", "end", "moment", "is_quiet"),
    [
        ("22:00", "07:00", "2026-07-01 21:59+02", False),
        ("22:00", "07:00", "2026-07-01 22:00+02", True),
        ("22:00", "07:00", "2026-07-02 06:59+02", True),
        ("22:00", "07:00", "2026-07-02 07:00+02", False),
        ("22:00", "07:00", "2026-01-02 07:00+02", True),
        ("12:00", "13:00", "2026-07-01 12:00+02", True),
        ("12:00", "13:00", "2026-07-01 13:00+02", False),
        (None, None, "2026-07-01 03:00+02", False),
    ],
)
def test_quiet_hours_are_local(
    conn: Connection, start: str | None, end: str | None, moment: str, is_quiet: bool
) -> None:
    channel(conn, quiet_from=start, quiet_to=end, time_zone="Europe/Berlin")
    row = one(conn, "select recon.is_quiet(c, %s) as is_so from recon.alert_channels c", [moment])
    assert row["is_so"] is is_quiet


@pytest.mark.parametrize(
    "arguments",
    [
        "' ', 'x'",
        "'x', ''",
        "null, 'x'",
        "'x', null",
        "'x', 'x', 'fatal'",
        "'x', 'x', null",
        "'x', 'x', 'info', '22:00'",
        "'x', 'x', 'info', '22:00', '22:00'",
        "'x', 'x', p_time_zone => 'Mars/Olympus'",
        "'x', 'x', p_time_zone => null",
        "'x', 'x', p_is_enabled => null",
    ],
)
def test_a_channel_that_makes_no_sense_is_refused(conn: Connection, arguments: str) -> None:
    assert refused(conn, f"select api.set_alert_channel({arguments})") == "TM409"


def test_a_test_alert_goes_to_each_channel_whatever_the_hour(conn: Connection) -> None:
    assert refused(conn, "select api.send_test_alert()") == "TM409"
    channel(conn, "desk", min_severity="critical")
    channel(conn, "night", quiet_from=local(-1), quiet_to=local(2), time_zone="Asia/Tokyo")
    channel(conn, "off", is_enabled=False)
    assert refused(conn, "select api.send_test_alert('off')") == "TM409"
    alert = one(conn, "select * from api.send_test_alert()")
    assert (alert["kind"], alert["status"]) == ("test", "resolved")
    assert {(due["channel"], due["body"]["kind"]) for due in take(conn)} == {
        ("desk", "test"),
        ("night", "test"),
    }
    one(conn, "select * from api.send_test_alert('desk')")
    assert [due["channel"] for due in take(conn)] == ["desk"]
    assert every(conn, "select * from ledger.events") == []


# Escalation


def test_what_nobody_acknowledges_is_escalated_once(conn: Connection, broker: HandBroker) -> None:
    differ(broker)
    assert judge(conn) == []
    age(conn)
    broker.look()
    assert judge(conn) == [("discrepancy", "escalated")]
    assert judge(conn) == []
    (found,) = lasting(conn)
    assert (found["severity"], found["status"]) == ("critical", "open")
    assert found["escalated_at"] is not None
    alert = one(conn, "select * from api.alerts")
    assert (alert["status"], alert["severity"]) == ("escalated", "critical")
    events = every(conn, "select * from ledger.events order by event_seq desc limit 2")
    assert [event["body"]["severity"] for event in events] == ["critical", "critical"]
    entry(conn, broker.account_id, "adjustment", "5")
    broker.look()
    assert one(conn, "select * from api.alerts")["status"] == "resolved"
    assert_sound(conn)


def test_what_is_acknowledged_is_not_escalated(conn: Connection, broker: HandBroker) -> None:
    found = differ(broker)
    conn.execute("select api.acknowledge_discrepancy(%s, 'Ann')", [found["discrepancy_id"]])
    age(conn)
    broker.look()
    assert judge(conn) == []


def test_what_no_look_can_end_any_more_is_ended(conn: Connection, broker: HandBroker) -> None:
    differ(broker)
    conn.execute("select api.set_reconciliation_terms(%s, p_is_enabled => false)",
                 [broker.account_id])  # fmt: skip
    assert judge(conn) == [("discrepancy", "resolved")]
    found = one(conn, "select * from api.discrepancies")
    assert found["resolution"] == "the account is not reconciled any more"
    assert judge(conn) == []
    assert_sound(conn)


# The dead-man's switch


def test_reconciliation_that_stops_is_told_once_and_ends_with_the_next_run(
    conn: Connection, broker: HandBroker
) -> None:
    channel(conn)
    other = HandBroker(conn, number="A-2")
    other.look()
    account(conn)
    assert judge(conn) == []
    age(conn, "91 seconds")
    assert judge(conn) == [("reconciliation_stopped", "raised")]
    assert judge(conn) == []
    alert = one(conn, "select * from api.alerts")
    assert (alert["severity"], alert["account_ids"]) == (
        "critical",
        [broker.account_id, other.account_id],
    )
    assert len(every(conn, "select * from ledger.events where kind = 'alert'")) == 2
    broker.look()
    assert judge(conn) == []  # the other one has not been looked at
    conn.execute("select api.record_broker_failure(%s, 'no answer')", [other.account_id])
    assert judge(conn) == [("reconciliation_stopped", "resolved")]
    assert [due["occasion"] for due in take(conn)] == ["raised", "resolved"]
    assert_sound(conn)


def test_an_account_that_nobody_ever_compared_is_told(conn: Connection) -> None:
    HandBroker(conn)
    assert judge(conn) == []
    age(conn)
    assert judge(conn) == [("reconciliation_stopped", "raised")]


@pytest.mark.parametrize("way", ["disabled", "closed"])
def test_accounts_that_are_not_reconciled_any_more_are_not_missed(
    conn: Connection, way: str
) -> None:
    broker = HandBroker(conn)
    broker.look()
    age(conn)
    assert judge(conn) == [("reconciliation_stopped", "raised")]
    if way == "disabled":
        conn.execute("select api.set_reconciliation_terms(%s, p_is_enabled => false)",
                     [broker.account_id])  # fmt: skip
    else:
        conn.execute("select api.close_account(%s)", [broker.account_id])
    assert judge(conn) == [("reconciliation_stopped", "resolved")]
    conn.execute("select api.set_reconciliation_terms(%s, p_is_enabled => true)",
                 [broker.account_id])  # fmt: skip
    assert judge(conn) == []


def test_a_broker_that_does_not_answer_is_told_once(conn: Connection, broker: HandBroker) -> None:
    fail = "select api.record_broker_failure(%s, 'connection refused')"
    conn.execute(fail, [broker.account_id])
    assert judge(conn) == []
    age(conn, "91 seconds")
    conn.execute(fail, [broker.account_id])
    assert judge(conn) == [("broker_unreachable", "raised")]
    assert judge(conn) == []
    alert = one(conn, "select * from api.alerts")
    assert alert["title"] == "Broker sim does not answer"
    assert "connection refused" in alert["message"]
    broker.look()
    assert judge(conn) == [("broker_unreachable", "resolved")]
    assert_sound(conn)


def test_two_that_judge_tell_once(conn: Connection, database: Database) -> None:
    HandBroker(conn)
    age(conn)
    with transaction(database) as first:
        assert judge(first) == [("reconciliation_stopped", "raised")]
        assert judge(conn) == []
        first.commit()
    assert judge(conn) == []


def test_who_judges_waits_for_who_books(conn: Connection, database: Database) -> None:
    broker = HandBroker(conn)
    age(conn)
    with transaction(database) as booking:
        entry(booking, broker.account_id, "deposit", "1")
        judging = waiting(database, pid(booking), judge)
        booking.commit()
        assert judging.result() == [("reconciliation_stopped", "raised")]
    assert_sound(conn)
