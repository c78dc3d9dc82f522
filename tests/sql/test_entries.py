"""Cash movements: balance, credit, the chain of balance_after, and what is refused."""

import psycopg
import pytest

from tests.factories import Connection, D, account, assert_sound, entry, every, one, state


def test_a_deposit_and_a_withdrawal_move_balance_and_equity(conn: Connection) -> None:
    account_id = account(conn, deposit="1000.50")
    booked = entry(conn, account_id, "withdrawal", "-200.25")

    assert booked["balance_after"] == D("800.25")
    now = state(conn, account_id)
    assert (now["balance"], now["equity"], now["credit"]) == (D("800.25"), D("800.25"), D("0.00"))
    assert_sound(conn)


def test_credit_moves_credit_and_equity_but_not_the_balance(conn: Connection) -> None:
    account_id = account(conn, deposit="1000")
    booked = entry(conn, account_id, "credit", "250")

    assert booked["balance_after"] == D("1000")
    now = state(conn, account_id)
    assert (now["balance"], now["credit"], now["equity"]) == (D("1000"), D("250"), D("1250"))
    assert_sound(conn)


@pytest.mark.parametrize("kind", ["realized_pnl", "financing", "dividend", "adjustment", "credit"])
def test_kinds_that_go_both_ways_take_both_signs(conn: Connection, kind: str) -> None:
    account_id = account(conn, deposit=None)
    entry(conn, account_id, kind, "5")
    entry(conn, account_id, kind, "-7")
    now = state(conn, account_id)
    assert now["balance"] + now["credit"] == D("-2")
    assert_sound(conn)


def test_each_entry_moves_the_version(conn: Connection) -> None:
    account_id = account(conn, deposit=None)
    before = state(conn, account_id)["version"]
    entry(conn, account_id, "deposit", "1")
    assert state(conn, account_id)["version"] == before + 1


def test_the_same_external_id_books_once(conn: Connection) -> None:
    account_id = account(conn, deposit=None)
    first = entry(conn, account_id, "deposit", "100", external_id="broker-1")
    again = entry(conn, account_id, "deposit", "100.00", external_id="broker-1")
    assert again == first
    assert state(conn, account_id)["balance"] == D("100")


def test_a_repeat_is_answered_on_a_closed_account_too(conn: Connection) -> None:
    account_id = account(conn, deposit=None)
    first = entry(conn, account_id, "deposit", "100", external_id="broker-1")
    conn.execute("select api.close_account(%s)", [account_id])
    assert entry(conn, account_id, "deposit", "100", external_id="broker-1") == first


@pytest.mark.parametrize(
    ("kind", "amount", "sqlstate"),
    [
        ("deposit", "0", "TM110"),
        ("deposit", "NaN", "TM110"),
        ("deposit", "Infinity", "TM110"),
        ("adjustment", "-Infinity", "TM110"),
        ("deposit", "1e15", "TM110"),
        ("deposit", "1.005", "TM110"),
        ("deposit", None, "TM110"),
        ("deposit", "-1", "TM112"),
        ("withdrawal", "1", "TM112"),
        ("commission", "1", "TM112"),
        ("bonus", "1", "TM112"),
        (None, "1", "TM112"),
    ],
)
def test_what_cannot_be_booked_is_refused_by_code(
    conn: Connection, kind: str | None, amount: str | None, sqlstate: str
) -> None:
    account_id = account(conn, deposit=None)
    with pytest.raises(psycopg.Error) as refused:
        conn.execute("select api.record_entry(%s, %s, %s::numeric)", [account_id, kind, amount])
    assert refused.value.sqlstate == sqlstate
    assert refused.value.diag.message_hint
    assert state(conn, account_id)["balance"] == 0


def test_other_refusals_have_codes_of_their_own(conn: Connection) -> None:
    account_id = account(conn, deposit=None)
    entry(conn, account_id, "deposit", "100", external_id="x")
    cases = [
        ("select api.record_entry(-1, 'deposit', 1)", "TM101"),
        (f"select api.record_entry({account_id}, 'deposit', 2, p_external_id => 'x')", "TM111"),
        (f"select api.record_entry({account_id}, 'deposit', 2, 'infinity')", "TM113"),
        (f"select api.record_entry({account_id}, 'deposit', 2, p_external_id => '')", "TM114"),
    ]
    for statement, sqlstate in cases:
        with pytest.raises(psycopg.Error) as refused:
            conn.execute(statement)
        assert refused.value.sqlstate == sqlstate
    conn.execute("select api.close_account(%s)", [account_id])
    with pytest.raises(psycopg.Error) as refused:
        entry(conn, account_id, "deposit", "1")
    assert refused.value.sqlstate == "TM102"


@pytest.mark.parametrize("table", ["ledger.entries", "ledger.fills"])
@pytest.mark.parametrize(
    "statement", ["update {} set external_id = 'x'", "delete from {}", "truncate {} cascade"]
)
def test_booked_rows_are_never_changed(conn: Connection, table: str, statement: str) -> None:
    account(conn)
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(statement.format(table))
    assert refused.value.sqlstate == "TM140"


def test_opening_the_same_broker_account_again_returns_the_first(conn: Connection) -> None:
    statement = "select account_id from api.open_account('A', 'USD', 'netting', 'broker', '1')"
    first = one(conn, statement)
    assert one(conn, statement) == first
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(statement.replace("USD", "EUR"))
    assert refused.value.sqlstate == "TM104"
    assert len(every(conn, "select * from api.accounts")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "' ', 'USD'",
        "'A', 'usd'",
        "'A', null",
        "'A', 'USD', 'both'",
        "'A', 'USD', 'netting', null, '1'",
        "repeat('A', 201), 'USD'",
        "'A', 'USD', 'netting', ''",
        "'A', 'USD', 'netting', 'b', ''",
        "'A', 'USD', 'netting', null, null, 1",
        "'A', 'USD', 'netting', null, null, 0, 9",
    ],
)
def test_an_account_that_makes_no_sense_is_refused(conn: Connection, arguments: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select api.open_account({arguments})")
    assert refused.value.sqlstate == "TM103"


def test_the_ledger_check_sees_a_broken_chain(conn: Connection) -> None:
    account_id = account(conn)
    conn.execute("alter table ledger.entries disable trigger user")
    conn.execute("update ledger.entries set balance_after = balance_after + 1")
    conn.execute("update ledger.accounts set balance = balance - 1")
    items = [row["item"] for row in every(conn, "select * from api.verify_ledger()")]
    assert "balance" in items
    assert any(item.startswith("balance_after of entry") for item in items)
    assert {row["account_id"] for row in every(conn, "select * from api.verify_ledger()")} == {
        account_id
    }
