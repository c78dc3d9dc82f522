"""Runs: which accounts, what answers are usable, what is in flight, terms, and what is kept."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.factories import (
    Connection,
    D,
    Row,
    account,
    assert_sound,
    entry,
    every,
    fill,
    instrument,
    one,
    positions,
)
from tests.sql.brokers import Answer, HandBroker, answer, lasting, now, quote
from tests.sql.trading_sessions import pid, transaction, waiting

EUR_USD = "EUR/USD"


@pytest.fixture(autouse=True)
def market(conn: Connection) -> None:
    """EUR/USD at 1.1000 / 1.1004; what is seen twice is a fact."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    instrument(conn, EUR_USD)
    quote(conn, (EUR_USD, "1.1000", "1.1004"))


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that has not been asked yet, with 10000 and 1000 EUR/USD on both sides."""
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    broker.fill(EUR_USD, "buy", "1000", "1.1004")
    return broker


def refused(conn: Connection, query: str, *parameters: object) -> str:
    """The SQLSTATE that a statement is refused with; it says what to do."""
    with pytest.raises(psycopg.Error) as error:
        conn.execute(query, parameters)
    assert error.value.diag.message_hint
    return str(error.value.sqlstate)


# Which accounts


def test_open_accounts_with_a_broker_account_are_reconciled(
    conn: Connection, broker: HandBroker
) -> None:
    account(conn)
    HandBroker(conn, number="A-2")
    closed = HandBroker(conn, number="A-3")
    conn.execute("select api.close_account(%s)", [closed.account_id])
    query = "select broker_account_id, last_transaction_id from api.accounts_to_reconcile"
    assert [row["broker_account_id"] for row in every(conn, f"{query} order by 1")] == [
        "A-1",
        "A-2",
    ]
    conn.execute("select api.set_reconciliation_terms(account_id, p_is_enabled => false) "
                 "from api.accounts where broker_account_id = 'A-2'")  # fmt: skip
    broker.look()
    (row,) = every(conn, query)
    assert (row["broker_account_id"], row["last_transaction_id"]) == ("A-1", "2")


@pytest.mark.parametrize("function", ["answer", "failure"])
def test_other_accounts_are_refused(conn: Connection, function: str) -> None:
    call = {
        "answer": "select api.record_broker_answer(%s, '{}', '[]')",
        "failure": "select api.record_broker_failure(%s, 'no answer')",
    }[function]
    assert refused(conn, call, -1) == "TM101"
    assert refused(conn, call, account(conn)) == "TM401"
    disabled = HandBroker(conn)
    conn.execute("select api.set_reconciliation_terms(%s, p_is_enabled => false)",
                 [disabled.account_id])  # fmt: skip
    assert refused(conn, call, disabled.account_id) == "TM401"


def test_one_session_is_the_reconciler(database: Database, conn: Connection) -> None:
    query = "select api.become_reconciler() as is_so"
    with database.connect("tidemark_reconcile") as first:
        assert one(first, query)["is_so"] is True
        assert one(conn, query)["is_so"] is False
    with database.connect() as watcher:
        while every(watcher, "select from pg_locks where locktype = 'advisory'"):
            pass
    assert one(conn, query)["is_so"] is True


# Answers


SNAPSHOT: Answer = {
    "transaction_id": "2",
    "taken_at": "2026-01-05T09:00:00Z",
    "currency": "USD",
    "balance": "10000",
    "equity": "10000",
    "unrealized_pnl": "0",
    "margin_equity": None,
    "margin_used": "0",
    "positions": [],
}
POSITION: Answer = {"symbol": EUR_USD, "side": "long", "quantity": "1", "average_price": "1.1"}


@pytest.mark.parametrize(
    "spoiled",
    [
        {"transaction_id": " "},
        {"transaction_id": 7},
        {"taken_at": "yesterday"},
        {"taken_at": "2026-01-05T09:00:00"},
        {"taken_at": "2026-13-05T09:00:00Z"},
        {"taken_at": "9998-01-01T00:00:00Z"},
        {"requested_at": "now"},
        {"currency": "EUR"},
        {"balance": 10000},
        {"balance": "1e4"},
        {"balance": "NaN"},
        {"balance": None},
        {"equity": ""},
        {"unrealized_pnl": "--1"},
        {"margin_used": "1234567890123456"},
        {"margin_equity": "x"},
        {"positions": None},
        {"positions": {}},
        {"positions": [1]},
        {"positions": [POSITION | {"symbol": None}]},
        {"positions": [POSITION | {"side": "net"}]},
        {"positions": [POSITION | {"quantity": "0"}]},
        {"positions": [POSITION | {"quantity": "-1"}]},
        {"positions": [POSITION | {"average_price": None}]},
        {"positions": [POSITION | {"unrealized_pnl": 1}]},
        {"positions": [POSITION, POSITION]},
    ],
)
def test_a_snapshot_of_another_shape_is_a_failed_run(
    conn: Connection, broker: HandBroker, spoiled: Answer
) -> None:
    run = answer(conn, broker.account_id, SNAPSHOT | spoiled, [])
    assert (run["outcome"], run["error_code"]) == ("failed", "TM402")
    assert "It must hold that" in run["reason"]
    stored = one(conn, "select answer from recon.broker_snapshots")
    assert stored["answer"] == {"snapshot": SNAPSHOT | spoiled, "transactions": []}
    status = one(conn, "select * from api.reconciliation_status")
    assert (status["outcome"], status["failure"]) == ("failed", run["reason"])
    assert status["last_answer_at"] is None


@pytest.mark.parametrize("snapshot", [None, [], "x", 1])
def test_a_snapshot_that_is_no_object_is_a_failed_run(
    conn: Connection, broker: HandBroker, snapshot: object
) -> None:
    assert answer(conn, broker.account_id, snapshot, [])["error_code"] == "TM402"


FILL: Answer = {
    "transaction_id": "1",
    "at": "2026-01-05T09:00:00Z",
    "kind": "fill",
    "symbol": EUR_USD,
    "side": "buy",
    "quantity": "1",
    "price": "1.1",
}
ENTRY: Answer = {
    "transaction_id": "1",
    "at": "2026-01-05T09:00:00Z",
    "kind": "entry",
    "entry_kind": "deposit",
    "amount": "1",
}


@pytest.mark.parametrize(
    "transactions",
    [
        None,
        {},
        [1],
        [FILL | {"transaction_id": None}],
        [FILL | {"external_id": " "}],
        [FILL | {"kind": "order"}],
        [FILL | {"at": None}],
        [FILL | {"symbol": None}],
        [FILL | {"side": "long"}],
        [FILL | {"quantity": "0"}],
        [FILL | {"price": 1.1}],
        [FILL | {"commission": 1}],
        [FILL | {"realized_pnl": "1E+3"}],
        [FILL | {"balance_after": "?"}],
        [ENTRY | {"entry_kind": "gift"}],
        [ENTRY | {"amount": None}],
        [ENTRY, ENTRY | {"amount": "2"}],
        [ENTRY, FILL],
    ],
)
def test_transactions_of_another_shape_are_a_failed_run(
    conn: Connection, broker: HandBroker, transactions: Any
) -> None:
    run = answer(conn, broker.account_id, SNAPSHOT | {"transaction_id": "1"}, transactions)
    assert (run["outcome"], run["error_code"]) == ("failed", "TM403")
    assert every(conn, "select * from recon.broker_transactions") == []


def test_fills_of_a_hedging_account_say_what_they_open(conn: Connection) -> None:
    broker = HandBroker(conn, mode="hedging")
    run = answer(conn, broker.account_id, SNAPSHOT | {"transaction_id": "1"}, [FILL])
    assert run["error_code"] == "TM403"


def test_members_of_other_transactions_are_not_looked_at(
    conn: Connection, broker: HandBroker
) -> None:
    other = {"transaction_id": "2", "at": "2026-01-05T09:00:00Z", "kind": "other", "amount": "x"}
    assert answer(conn, broker.account_id, SNAPSHOT, [ENTRY, other])["outcome"] != "failed"


def test_a_gap_in_the_transactions_is_a_failed_run(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    broker.entry("deposit", "1")
    broker.entry("deposit", "2")
    snapshot = broker.snapshot()
    latest = broker.transactions[3:]
    for transactions, since in [(latest, "3"), ([], "2"), (broker.transactions[2:3], "2")]:
        run = answer(conn, broker.account_id, snapshot, transactions, since)
        assert (run["outcome"], run["error_code"]) == ("failed", "TM404")
    assert one(conn, "select * from api.accounts_to_reconcile")["last_transaction_id"] == "2"
    assert broker.look()["outcome"] == "passed"


def test_transactions_told_again_count_once(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    broker.told = 0
    run = broker.look()
    assert (run["outcome"], run["transactions"], run["differences"]) == ("passed", 0, 0)
    assert len(every(conn, "select * from recon.broker_transactions")) == 2


def test_what_was_booked_before_the_first_answer_counts_in_the_totals_alone(
    conn: Connection,
) -> None:
    broker = HandBroker(conn)
    entry(conn, broker.account_id, "deposit", "10000", "ours-1")
    entry(conn, broker.own_id, "deposit", "10000")
    for account_id in (broker.account_id, broker.own_id):
        fill(conn, account_id, EUR_USD, "buy", "500", "1.1004", external_id=f"x{account_id}")
    snapshot = broker.snapshot() | {"transaction_id": "77"}
    for _ in range(2):
        run = answer(conn, broker.account_id, snapshot, [], "77")
        assert (run["outcome"], run["differences"]) == ("passed", 0)
    entry(conn, broker.own_id, "deposit", "3")
    snapshot = broker.snapshot() | {"transaction_id": "77"}
    for _ in range(2):
        answer(conn, broker.account_id, snapshot, [], "77")
    (found,) = lasting(conn)
    assert (found["cause"], found["difference"]) == ("balance", D("3"))


def test_what_is_booked_while_the_first_answer_is_on_its_way_is_told_by_the_next(
    conn: Connection, broker: HandBroker
) -> None:
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    (told,) = broker.transactions[-1:]
    snapshot = broker.snapshot()
    broker.fill(EUR_USD, "buy", "500", "1.1004")
    broker.entry("deposit", "5")
    first = answer(
        conn, broker.account_id, snapshot | {"taken_at": broker.snapshot()["taken_at"]}, [],
        told["transaction_id"],
    )  # fmt: skip
    assert first["outcome"] != "failed"
    missing = broker.transactions[-2:]
    for _ in range(2):
        run = answer(conn, broker.account_id, broker.snapshot(), missing, told["transaction_id"])
        assert (run["outcome"], run["differences"]) == ("passed", 0)
    assert lasting(conn) == []


# Failures


def test_a_broker_that_does_not_answer_leaves_all_as_it_was(
    conn: Connection, broker: HandBroker
) -> None:
    broker.look()
    broker.fill_only(EUR_USD, "buy", "10", "1.1")
    broker.look()
    broker.look()
    before = one(conn, "select * from api.reconciliation_status")
    run = one(
        conn, "select * from api.record_broker_failure(%s, 'no answer in time')",
        [broker.account_id],
    )  # fmt: skip
    assert (run["outcome"], run["reason"]) == ("failed", "no answer in time")
    assert (run["positions"], run["tolerances"]) == (None, None)
    status = one(conn, "select * from api.reconciliation_status")
    for name in ("open_discrepancies", "last_answer_at", "broker_balance", "consistent_since"):
        assert status[name] == before[name]
    assert (status["failure"], status["outcome"]) == ("no answer in time", "failed")
    assert status["failing_since"] is not None
    broker.look()
    status = one(conn, "select * from api.reconciliation_status")
    assert (status["failing_since"], status["outcome"]) == (None, "discrepancies")


def test_a_failure_does_not_break_consistency(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    since = one(conn, "select * from api.reconciliation_status")["consistent_since"]
    conn.execute("select api.record_broker_failure(%s, 'x')", [broker.account_id])
    broker.look()
    assert one(conn, "select * from api.reconciliation_status")["consistent_since"] == since


def test_a_beat_that_was_left_out_is_kept(conn: Connection) -> None:
    run = one(conn, "select * from api.record_skipped_beat('the one before had not ended')")
    assert (run["outcome"], run["account_id"]) == ("skipped", None)
    assert refused(conn, "select api.record_skipped_beat(' ')") == "TM411"
    assert refused(conn, "select api.record_skipped_beat(null)") == "TM411"


def test_a_failure_has_a_reason(conn: Connection, broker: HandBroker) -> None:
    query = "select api.record_broker_failure(%s, '')"
    assert refused(conn, query, broker.account_id) == "TM411"


# In flight


def test_a_fill_in_flight_is_no_discrepancy(conn: Connection, broker: HandBroker) -> None:
    conn.execute("select api.set_reconciliation_settings(p_grace => '10 minutes')")
    assert broker.look()["differences"] == 0
    external_id = broker.fill_only(EUR_USD, "buy", "10", "1.1")  # the ledger is told in a moment
    ours = fill(conn, broker.account_id, EUR_USD, "sell", "20", "1.1")  # the broker tells it later
    for _ in range(3):
        run = broker.look()
        assert (run["outcome"], run["differences"]) == ("passed", 2)
    assert every(conn, "select * from recon.sightings") == []
    fill(conn, broker.account_id, EUR_USD, "buy", "10", "1.1", external_id=external_id)
    broker.fill_only(EUR_USD, "sell", "20", "1.1")
    run = broker.look()
    assert (run["outcome"], run["differences"]) == ("passed", 0)
    assert ours["external_id"] is None
    assert every(conn, "select * from api.discrepancies") == []


def test_a_ledger_that_is_ahead_of_the_snapshot_agrees_with_it(
    conn: Connection, broker: HandBroker
) -> None:
    """Transactions that came after the snapshot was taken bring it up to the ledger."""
    snapshot = broker.snapshot()
    broker.fill(EUR_USD, "buy", "10", "1.1")
    broker.fill(EUR_USD, "sell", "500", "1.2")
    broker.entry("withdrawal", "-5")
    assert broker.compare(snapshot)["differences"] == 0


def test_a_booking_that_the_broker_does_not_know_yet_is_no_difference(
    conn: Connection, broker: HandBroker
) -> None:
    conn.execute("select api.set_reconciliation_settings(p_grace => '1 second')")
    broker.look()
    snapshot = broker.snapshot()
    told = len(broker.transactions)
    broker.fill(EUR_USD, "sell", "500", "1.2")
    later, broker.transactions = broker.transactions[told:], broker.transactions[:told]
    for _ in range(2):
        assert broker.compare(snapshot)["outcome"] == "passed"
    assert every(conn, "select * from recon.sightings") == []
    broker.transactions += later
    assert broker.look()["differences"] == 0


def test_a_difference_is_a_discrepancy_from_the_grace_time_on(
    conn: Connection, broker: HandBroker
) -> None:
    broker.look()
    conn.execute("select api.set_reconciliation_settings(p_grace => '1 hour')")
    entry(conn, broker.own_id, "adjustment", "5")
    for _ in range(3):
        run = broker.look()
        assert (run["outcome"], run["differences"]) == ("passed", 1)
    conn.execute("update recon.sightings set first_seen_at = first_seen_at - interval '1 hour'")
    assert broker.look()["outcome"] == "discrepancies"


def test_a_difference_that_the_next_look_does_not_see_is_none(
    conn: Connection, broker: HandBroker
) -> None:
    for equity in ("9950", None, "9950", None):
        run = broker.look(equity=equity) if equity else broker.look()
        assert run["outcome"] == "passed"
    assert every(conn, "select * from api.discrepancies") == []


def test_what_comes_again_is_a_new_discrepancy(conn: Connection, broker: HandBroker) -> None:
    for _ in range(2):
        for _ in range(3):
            broker.look(equity="9950")
        broker.look()
    found = every(conn, "select * from api.discrepancies order by discrepancy_id")
    assert [row["status"] for row in found] == ["resolved", "resolved"]
    assert len(every(conn, "select * from api.alerts")) == 2


def test_two_looks_in_one_transaction_leave_nothing_after_a_rollback(
    conn: Connection, database: Database, broker: HandBroker
) -> None:
    entry(conn, broker.own_id, "adjustment", "5")
    snapshot = broker.snapshot()
    with transaction(database) as dry:
        for _ in range(2):
            run = answer(dry, broker.account_id, snapshot, broker.transactions)
        assert run["outcome"] == "discrepancies"
        dry.rollback()
    for table in ("runs", "discrepancies", "broker_transactions", "accounts"):
        assert every(conn, f"select * from recon.{table}") == []


# Terms and tolerances


def test_the_most_specific_tolerance_wins(conn: Connection, broker: HandBroker) -> None:
    other = HandBroker(conn, number="A-2")
    other.entry("deposit", "10000")
    other.fill(EUR_USD, "buy", "1000", "1.1004")
    snapshot = broker.snapshot()
    (position,) = snapshot["positions"]
    snapshot["positions"] = [position | {"quantity": "1005"}]

    def differs(which: HandBroker) -> bool:
        run = which.compare(which.snapshot() | {"positions": snapshot["positions"]})
        return bool(run["differences"])

    def tolerate(absolute: str | None, **where: Any) -> Row:
        names = "".join(f", p_{name} => %s" for name in where)
        return one(
            conn,
            f"select * from api.set_tolerance('quantity', %s::numeric, %s::numeric{names})",
            [absolute, None if absolute is None else "0", *where.values()],
        )

    margins = "select api.set_tolerance('{}', 1000, 1)"
    for kind in ("margin_used", "unrealized_pnl", "equity"):
        conn.execute(margins.format(kind))
    assert (differs(broker), differs(other)) == (True, True)
    tolerate("5")
    assert (differs(broker), differs(other)) == (False, False)
    tolerate("4", symbol=EUR_USD)
    assert (differs(broker), differs(other)) == (True, True)
    tolerate("5", account_id=broker.account_id)
    assert (differs(broker), differs(other)) == (False, True)
    row = tolerate("4", account_id=broker.account_id, symbol=EUR_USD)
    assert (row["symbol"], row["absolute"]) == (EUR_USD, D("4"))
    assert (differs(broker), differs(other)) == (True, True)
    tolerate(None, account_id=broker.account_id, symbol=EUR_USD)
    assert (differs(broker), differs(other)) == (False, True)
    tolerances = one(
        conn,
        "select tolerances from api.reconciliation_runs where account_id = %s"
        " order by run_id limit 1",
        [broker.account_id],
    )["tolerances"]
    assert tolerances["quantity"] == {"absolute": "0", "relative": "0"}


def test_a_relative_tolerance_is_a_fraction_of_the_broker_value(
    conn: Connection, broker: HandBroker
) -> None:
    conn.execute("select api.set_tolerance('balance', 0, 0.001)")
    entry(conn, broker.own_id, "adjustment", "10")
    assert broker.look()["differences"] == 0
    entry(conn, broker.own_id, "adjustment", "0.10")
    assert broker.look()["differences"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "null, 1",
        "'spread', 1",
        "'balance', null",
        "'balance', null, null",
        "'balance', -1",
        "'balance', 'NaN'",
        "'balance', 0, 1.1",
        "'balance', 1e15",
        "'balance', 1, 0, null, 'EUR/USD'",
    ],
)
def test_a_tolerance_that_makes_no_sense_is_refused(conn: Connection, arguments: str) -> None:
    assert refused(conn, f"select api.set_tolerance({arguments})") == "TM405"


def test_a_tolerance_names_what_exists(conn: Connection) -> None:
    assert refused(conn, "select api.set_tolerance('price', 1, 0, -1)") == "TM101"
    query = "select api.set_tolerance('price', 1, p_symbol => 'X')"
    assert refused(conn, query) == "TM120"


def test_terms_are_of_accounts_with_a_broker_account(conn: Connection) -> None:
    query = "select api.set_reconciliation_terms(%s)"
    assert refused(conn, query, -1) == "TM101"
    assert refused(conn, query, account(conn)) == "TM406"


@pytest.mark.parametrize(
    "setting",
    ["p_grace => '-1 s'", "p_grace => '2 h'", "p_price_window => '2 min'",
     "p_stopped_after => '0'", "p_escalate_after => '-1 s'"],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(conn: Connection, setting: str) -> None:
    assert refused(conn, f"select api.set_reconciliation_settings({setting})") == "TM412"


# Acknowledgement


def discrepancy(broker: HandBroker) -> int:
    broker.look()
    entry(broker.conn, broker.own_id, "adjustment", "5")
    broker.look()
    broker.look()
    (found,) = lasting(broker.conn)
    return int(found["discrepancy_id"])


def test_a_discrepancy_is_acknowledged_once(conn: Connection, broker: HandBroker) -> None:
    discrepancy_id = discrepancy(broker)
    query = "select * from api.acknowledge_discrepancy(%s, %s, %s)"
    row = one(conn, query, [discrepancy_id, "Ann", "asked the broker"])
    assert (row["status"], row["acknowledged_by"], row["note"]) == (
        "acknowledged",
        "Ann",
        "asked the broker",
    )
    assert one(conn, query, [discrepancy_id, "Bob", None]) == row
    event = one(conn, "select * from ledger.events order by event_seq desc limit 1")
    assert (event["kind"], event["is_open"]) == ("discrepancy", True)
    assert event["body"]["acknowledged_by"] == "Ann"
    broker.look()
    assert lasting(conn)[0]["status"] == "acknowledged"
    entry(conn, broker.account_id, "adjustment", "5")
    broker.look()
    row = one(conn, query, [discrepancy_id, "Bob", None])
    assert (row["status"], row["acknowledged_by"]) == ("resolved", "Ann")
    assert_sound(conn)


def test_an_acknowledgement_names_a_discrepancy_and_somebody(
    conn: Connection, broker: HandBroker
) -> None:
    query = "select api.acknowledge_discrepancy(%s, %s)"
    assert refused(conn, query, -1, "Ann") == "TM407"
    for nobody in (None, " ", "x" * 201):
        assert refused(conn, query, discrepancy(broker) if nobody is None else 1, nobody) == (
            "TM408"
        )


# Sessions


def test_two_that_compare_the_same_account_follow_one_another(
    conn: Connection, database: Database, broker: HandBroker
) -> None:
    broker.look()
    entry(conn, broker.own_id, "adjustment", "5")
    broker.look()
    snapshot = broker.snapshot()
    with transaction(database) as first:
        answer(first, broker.account_id, snapshot, [], broker.since())
        second = waiting(
            database,
            pid(first),
            lambda other: answer(other, broker.account_id, snapshot, [], broker.since()),
        )
        first.commit()
        assert second.result()["outcome"] == "discrepancies"
    assert len(every(conn, "select * from api.discrepancies")) == 1
    assert len(every(conn, "select * from api.alerts")) == 1
    assert_sound(conn)


def test_what_is_booked_while_it_looks_decides(
    conn: Connection, database: Database, broker: HandBroker
) -> None:
    """A booking that commits while the look waits for the account is seen by it."""
    broker.look()
    external_id = broker.fill_only(EUR_USD, "buy", "10", "1.1")
    broker.look()
    snapshot = broker.snapshot()
    with transaction(database) as booking:
        fill(booking, broker.account_id, EUR_USD, "buy", "10", "1.1", external_id=external_id)
        look = waiting(
            database,
            pid(booking),
            lambda other: answer(other, broker.account_id, snapshot, [], broker.since()),
        )
        booking.commit()
        run = look.result()
    assert (run["outcome"], run["differences"]) == ("passed", 0)
    assert every(conn, "select * from api.discrepancies") == []


def test_an_old_snapshot_is_refused(database: Database, broker: HandBroker) -> None:
    with transaction(database) as old:
        old.execute("set transaction isolation level repeatable read")
        with pytest.raises(psycopg.Error) as error:
            old.execute("select api.record_broker_failure(%s, 'x')", [broker.account_id])
    assert error.value.sqlstate == "TM141"


# Retention and rights


def test_old_runs_and_answers_are_dropped(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    for days in (1, 3, 40):
        conn.execute(
            "insert into recon.runs (account_id, started_at, outcome) values (%s, %s, 'passed')",
            [broker.account_id, now() - timedelta(days=days)],
        )
        conn.execute(
            "insert into recon.broker_snapshots values (%s, 0, %s, '{}')",
            [broker.account_id, now() - timedelta(days=days)],
        )
    with conn.transaction():
        conn.execute("set local role tidemark_reconcile")
        dropped = one(conn, "select api.drop_old_reconciliations() as chunks")["chunks"]
    assert dropped == 3
    assert len(every(conn, "select * from api.reconciliation_runs")) == 3
    assert len(every(conn, "select * from recon.broker_snapshots")) == 2
    assert len(every(conn, "select * from recon.broker_transactions")) == 2
    assert broker.look()["differences"] == 0
    assert refused(conn, "select api.drop_old_reconciliations('0')") == "TM413"
    assert refused(conn, "select api.drop_old_reconciliations(null)") == "TM413"


def test_the_reconciler_needs_no_table(database: Database, broker: HandBroker) -> None:
    snapshot = broker.snapshot()
    with database.connect("tidemark_reconcile") as reconciler:
        run = answer(reconciler, broker.account_id, snapshot, broker.transactions)
        assert run["outcome"] == "passed"
        for view in ("accounts_to_reconcile", "reconciliation_status", "reconciliation_runs",
                     "discrepancies", "alerts", "alert_deliveries", "tolerances"):  # fmt: skip
            every(reconciler, f"select * from api.{view}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reconciler.execute("select * from recon.accounts")
    with database.connect("tidemark_readonly") as reader:
        every(reader, "select * from api.discrepancies")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select api.record_broker_failure(1, 'x')")


# Repair


def allow_repair(broker: HandBroker) -> None:
    row = one(
        broker.conn,
        "select * from api.set_reconciliation_terms(%s, p_repair => true)",
        [broker.account_id],
    )
    assert (row["repair"], row["is_enabled"]) == (True, True)


def test_repair_books_what_the_ledger_lacks_once(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    allow_repair(broker)
    bought = broker.fill_only(EUR_USD, "buy", "500", "1.1002", commission="1.50")
    sold = broker.fill_only(EUR_USD, "sell", "1200", "1.1100")
    financing = broker.entry_only("financing", "-0.75")
    assert broker.look()["outcome"] == "passed"  # it waits for the next look
    assert len(every(conn, "select * from api.fills where account_id = %s",
                     [broker.account_id])) == 1  # fmt: skip
    for _ in range(2):
        run = broker.look()
        assert (run["outcome"], run["differences"]) == ("passed", 0)
    booked = every(
        conn,
        "select * from api.fills where account_id = %s order by fill_id",
        [broker.account_id],
    )
    assert [row["external_id"] for row in booked] == ["2", bought, sold]
    assert booked[1]["commission"] == D("1.50")
    repaired = one(
        conn,
        "select * from api.entries where account_id = %s and external_id = %s",
        [broker.account_id, financing],
    )
    assert repaired["amount"] == D("-0.75")
    assert repaired["note"].startswith("reconciliation: run ")
    found = every(conn, "select * from api.discrepancies order by discrepancy_id")
    assert [row["status"] for row in found] == ["resolved"] * 3
    assert found[0]["resolution"] == f"repaired: booked as entry {repaired['entry_id']}"
    assert found[1]["resolution"] == f"repaired: booked as fill {booked[1]['fill_id']}"
    alerts = every(conn, "select * from api.alerts")
    assert [alert["status"] for alert in alerts] == ["resolved"] * 3
    assert positions(conn, broker.account_id)[0]["quantity"] == D("300")
    assert_sound(conn)


def test_repair_of_a_hedging_account_opens_and_closes(conn: Connection) -> None:
    broker = HandBroker(conn, mode="hedging")
    broker.entry("deposit", "1000")
    allow_repair(broker)
    broker.fill_only(EUR_USD, "buy", "500", "1.1002", effect="open")
    broker.fill_only(EUR_USD, "sell", "300", "1.1002", effect="open")
    broker.fill_only(EUR_USD, "sell", "100", "1.1002", effect="close")
    broker.look()
    assert broker.look()["differences"] == 0
    assert [(row["side"], row["quantity"]) for row in positions(conn, broker.account_id)] == [
        ("long", D("400")),
        ("short", D("300")),
    ]


def test_realized_pnl_that_repair_books_otherwise_is_a_balance_discrepancy(
    conn: Connection, broker: HandBroker
) -> None:
    broker.look()
    allow_repair(broker)
    broker.fill_only(EUR_USD, "buy", "1000", "1.0504")
    broker.fill(EUR_USD, "sell", "1000", "1.1100")
    for _ in range(3):
        broker.look()
    (found,) = lasting(conn)
    assert (found["cause"], found["difference"]) == ("balance", D("25.00"))
    assert_sound(conn)


def test_repair_never_mends_what_no_transaction_explains(
    conn: Connection, broker: HandBroker
) -> None:
    broker.look()
    allow_repair(broker)
    entry(conn, broker.own_id, "adjustment", "5")
    extra = fill(conn, broker.account_id, EUR_USD, "buy", "7", "1.1", external_id="x")
    before = one(conn, "select count(*) from ledger.entries")
    for _ in range(3):
        broker.look()
    assert {row["cause"] for row in lasting(conn)} == {"balance", "extra_fill"}
    assert one(conn, "select count(*) from ledger.entries") == before
    assert every(conn, "select * from api.fills order by fill_id desc")[0] == extra


def test_repair_that_is_refused_says_why(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    allow_repair(broker)
    broker.transactions.append(
        FILL | {"transaction_id": "3", "symbol": "XAU/USD", "realized_pnl": "0"}
    )
    for _ in range(3):
        broker.look(
            positions=[
                *broker.snapshot()["positions"],
                POSITION | {"symbol": "XAU/USD"},
            ]
        )
    (found,) = lasting(conn)
    assert found["cause"] == "missing_fill"
    assert found["evidence"]["repair_refused"] == "TM120: instrument does not exist"


def test_without_leave_nothing_is_booked(conn: Connection, broker: HandBroker) -> None:
    broker.look()
    broker.fill_only(EUR_USD, "buy", "500", "1.1002")
    for _ in range(3):
        broker.look()
    assert [row["cause"] for row in lasting(conn)] == ["missing_fill"]
    assert positions(conn, broker.account_id)[0]["quantity"] == D("1000")


def test_amounts_with_more_digits_than_the_account_has_are_rounded_by_repair(
    conn: Connection, broker: HandBroker
) -> None:
    broker.look()
    allow_repair(broker)
    entry(conn, broker.own_id, "financing", "-1.24")
    broker._tell({"kind": "entry", "entry_kind": "financing", "amount": "-1.2351"})
    broker._tell({"kind": "entry", "entry_kind": "financing", "amount": "-0.0049"})
    for _ in range(3):
        run = broker.look()
    assert (run["outcome"], run["differences"]) == ("passed", 0)
    booked = one(conn, "select * from api.entries where external_id = '3'")
    assert booked["amount"] == D("-1.24")
    assert every(conn, "select * from recon.broker_transactions where not is_settled") == []
