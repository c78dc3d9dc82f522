"""Margin: what positions need, how far an account is from its levels, and when that changes."""

import random

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
    state,
    tick,
)
from tests.oracle import Oracle


@pytest.fixture(autouse=True)
def eur_usd(conn: Connection) -> None:
    """EUR/USD at 1.10, with a margin rate of 5 %."""
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.1", "1.1")


def set_terms(conn: Connection, account_id: int, *terms: str | None) -> Row:
    names = ("p_hedged_margin => %s", "p_margin_call_level => %s", "p_close_out_level => %s")
    arguments = ", ".join(["%s", *names[: len(terms)]])
    return one(conn, f"select * from api.set_margin_terms({arguments})", [account_id, *terms])


def hedged(conn: Connection) -> int:
    """A hedging account that is long 1,000 and short 400 EUR/USD."""
    account_id = account(conn, mode="hedging")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1", "open")
    fill(conn, account_id, "EUR/USD", "sell", "400", "1.1", "open")
    return account_id


def test_the_larger_side_of_a_hedged_pair_needs_margin_or_the_net(conn: Connection) -> None:
    account_id = hedged(conn)
    assert state(conn, account_id)["margin_used"] == D("55.00")
    version = state(conn, account_id)["version"]
    with conn.transaction():
        assert set_terms(conn, account_id, "net")["hedged_margin"] == "net"
    now = state(conn, account_id)
    assert (now["margin_used"], now["version"]) == (D("33.00"), version + 1)
    assert now["margin_available"] == now["margin_equity"] - D("33.00")
    fill(conn, account_id, "EUR/USD", "sell", "600", "1.1", "open")
    now = state(conn, account_id)
    assert (now["margin_used"], now["margin_level"], now["margin_state"]) == (D("0"), None, "ok")


def test_a_level_that_is_reached_counts(conn: Connection) -> None:
    account_id = account(conn, deposit="100")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")  # needs 55.00 of the 100
    for level, call, close_out, expected in [
        ("1.818182", "1.81", "0.5", "ok"),
        ("1.818182", "1.82", "0.5", "margin_call"),
        ("1.818182", "1.82", "1.82", "close_out"),
    ]:
        set_terms(conn, account_id, "larger_side", call, close_out)
        now = state(conn, account_id)
        assert (now["margin_level"], now["margin_state"]) == (D(level), expected)
    entry(conn, account_id, "withdrawal", "-45")
    set_terms(conn, account_id, "larger_side", "1", "0.5")
    now = state(conn, account_id)
    assert (now["margin_level"], now["margin_state"]) == (D("1"), "margin_call")
    entry(conn, account_id, "withdrawal", "-27.50")
    assert state(conn, account_id)["margin_state"] == "close_out"
    entry(conn, account_id, "deposit", "0.01")
    assert state(conn, account_id)["margin_state"] == "margin_call"


def test_without_a_price_the_margin_state_is_unknown(conn: Connection) -> None:
    instrument(conn, "GBP/USD")
    account_id = account(conn)
    assert state(conn, account_id)["margin_state"] == "ok"
    fill(conn, account_id, "GBP/USD", "buy", "1000", "1.3")
    now = state(conn, account_id)
    assert (now["margin_state"], now["margin_used"], now["is_priced"]) == (None, None, False)


@pytest.mark.parametrize(
    ("terms", "sqlstate"),
    [
        (("gross",), "TM106"),
        ((None,), "TM106"),
        (("net", "0.4", "0.5"), "TM106"),
        (("net", "1", "-0.1"), "TM106"),
        (("net", "NaN", "0.5"), "TM106"),
        (("net", "101", "0.5"), "TM106"),
        (("net", None, "0.5"), "TM106"),
        (("net", "1", None), "TM106"),
    ],
)
def test_terms_that_make_no_sense_are_refused(
    conn: Connection, terms: tuple[str | None, ...], sqlstate: str
) -> None:
    account_id = account(conn)
    with pytest.raises(psycopg.Error) as refused:
        set_terms(conn, account_id, *terms)
    assert refused.value.sqlstate == sqlstate
    assert refused.value.diag.message_hint
    assert one(conn, "select * from api.accounts")["hedged_margin"] == "larger_side"


def test_terms_of_unknown_and_closed_accounts_are_refused(conn: Connection) -> None:
    with pytest.raises(psycopg.Error) as refused:
        set_terms(conn, -1, "net")
    assert refused.value.sqlstate == "TM101"
    assert refused.value.diag.message_hint
    account_id = account(conn)
    conn.execute("select api.close_account(%s)", [account_id])
    with pytest.raises(psycopg.Error) as refused:
        set_terms(conn, account_id, "net")
    assert refused.value.sqlstate == "TM102"
    assert refused.value.diag.message_hint


def test_new_terms_are_told_to_whoever_watches_the_account(
    database: Database, conn: Connection
) -> None:
    account_id = account(conn)
    version = state(conn, account_id)["version"]
    with database.connect() as listener:
        listener.execute("listen tidemark_account")
        set_terms(conn, account_id, "net", "2", "1")
        told = [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)]
        assert told == [str(account_id)]
        assert list(listener.notifies(timeout=0.05)) == []
    assert state(conn, account_id)["version"] == version + 1


def test_terms_that_are_left_out_are_the_usual_ones(conn: Connection) -> None:
    account_id = account(conn)
    set_terms(conn, account_id, "net", "2", "1")
    now = set_terms(conn, account_id)
    assert (now["hedged_margin"], now["margin_call_level"], now["close_out_level"]) == (
        "larger_side",
        D("1"),
        D("0.5"),
    )


def test_a_level_is_judged_exactly_though_it_is_shown_rounded(conn: Connection) -> None:
    account_id = account(conn, deposit="55000000.01")
    fill(conn, account_id, "EUR/USD", "buy", "1000000000", "1.1")
    now = state(conn, account_id)
    assert (now["margin_level"], now["margin_state"]) == (D("1.000000"), "ok")
    entry(conn, account_id, "withdrawal", "-0.01")
    now = state(conn, account_id)
    assert (now["margin_level"], now["margin_state"]) == (D("1.000000"), "margin_call")


def test_each_side_keeps_its_own_margin_in_the_positions(conn: Connection) -> None:
    account_id = hedged(conn)
    for hedged_margin in ("larger_side", "net"):
        set_terms(conn, account_id, hedged_margin)
        margins = {row["side"]: row["margin_used"] for row in positions(conn, account_id)}
        assert margins == {"long": D("55.00"), "short": D("22.00")}


def judged(conn: Connection) -> list[tuple[int, str, str]]:
    rows = every(conn, "select * from api.judge_margins()")
    return [(row["account_id"], row["previous_state"], row["margin_state"]) for row in rows]


def test_a_change_is_found_once_and_recorded(conn: Connection) -> None:
    account_id, rich = account(conn, deposit="60"), account(conn)
    for each in (account_id, rich):
        fill(conn, each, "EUR/USD", "buy", "1000", "1.1")
    assert judged(conn) == []
    tick(conn, "EUR/USD", 1, "1.09", "1.09")
    assert judged(conn) == [(account_id, "ok", "margin_call")]
    assert judged(conn) == []
    tick(conn, "EUR/USD", 2, "1.05", "1.05")
    assert judged(conn) == [(account_id, "margin_call", "close_out")]
    fill(conn, account_id, "EUR/USD", "sell", "1000", "1.05")
    assert judged(conn) == [(account_id, "close_out", "ok")]
    recorded = every(conn, "select * from api.margin_changes order by change_id")
    assert [row["margin_equity"] for row in recorded] == [D("50.00"), D("10.00"), D("10.00")]
    assert recorded[0]["margin_used"] == D("54.50")


def test_an_account_without_a_price_keeps_what_was_judged_last(conn: Connection) -> None:
    instrument(conn, "GBP/USD")
    account_id = account(conn, deposit="50")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
    assert judged(conn) == [(account_id, "ok", "margin_call")]
    fill(conn, account_id, "GBP/USD", "buy", "1", "1.3")
    assert judged(conn) == []
    tick(conn, "GBP/USD", 1, "1.3", "1.3")
    assert judged(conn) == []


def test_without_a_price_a_recovered_account_is_not_judged_ok(conn: Connection) -> None:
    instrument(conn, "GBP/USD")
    account_id = account(conn, deposit="50")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
    assert judged(conn) == [(account_id, "ok", "margin_call")]
    fill(conn, account_id, "GBP/USD", "buy", "1", "1.3")
    entry(conn, account_id, "deposit", "1000")
    assert judged(conn) == []
    tick(conn, "GBP/USD", 1, "1.3", "1.3")
    assert judged(conn) == [(account_id, "margin_call", "ok")]


def test_new_terms_change_what_is_judged(conn: Connection) -> None:
    account_id = account(conn, deposit="60")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
    assert judged(conn) == []
    set_terms(conn, account_id, "larger_side", "2", "1.5")
    assert judged(conn) == [(account_id, "ok", "close_out")]
    set_terms(conn, account_id, "larger_side")
    assert judged(conn) == [(account_id, "close_out", "ok")]


def test_an_account_that_is_closed_comes_out_of_its_margin_call(conn: Connection) -> None:
    account_id = account(conn, deposit="50")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
    assert judged(conn) == [(account_id, "ok", "margin_call")]
    fill(conn, account_id, "EUR/USD", "sell", "1000", "1.1")
    conn.execute("select api.close_account(%s)", [account_id])
    assert judged(conn) == [(account_id, "margin_call", "ok")]
    assert judged(conn) == []


def test_while_one_judges_others_find_nothing(database: Database, conn: Connection) -> None:
    account_id = account(conn, deposit="50")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
    with database.connect("tidemark_watch") as first, conn.transaction():
        first.autocommit = False
        assert judged(first) == [(account_id, "ok", "margin_call")]
        assert judged(conn) == []
        first.commit()
    assert judged(conn) == []


def test_what_was_judged_and_rolled_back_is_found_again(
    database: Database, conn: Connection
) -> None:
    account_id = account(conn, deposit="50")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.1")
    with database.connect("tidemark_watch") as first:
        first.autocommit = False
        assert judged(first) == [(account_id, "ok", "margin_call")]
        first.rollback()
    assert judged(conn) == [(account_id, "ok", "margin_call")]


@pytest.mark.parametrize("seed", range(3))
def test_margins_equal_the_independent_calculation(conn: Connection, seed: int) -> None:
    """Of each account alone (api.account_states) and of all at once (equity.account_margins)."""
    chance = random.Random(seed)
    oracle = Oracle()
    oracle.instrument("EUR/USD", "EUR", "USD", "0.05")
    instrument(conn, "USD/JPY", "0.0333")
    oracle.instrument("USD/JPY", "USD", "JPY", "0.0333")
    for symbol, bid, ask in [("EUR/USD", "1.0871", "1.0873"), ("USD/JPY", "151.237", "151.241")]:
        tick(conn, symbol, 1, bid, ask)
        oracle.tick(symbol, every(conn, "select now() as at")[0]["at"], D(bid), D(ask))
    accounts = []
    for currency in ("USD", "EUR", "JPY"):
        for hedged_margin in ("larger_side", "net"):
            accounts.append(account(conn, currency, "500", "hedging"))
            oracle.account(accounts[-1], currency, "hedging")
            oracle.entry(accounts[-1], "deposit", 500)
            terms = (hedged_margin, "1.5", "0.8")
            set_terms(conn, accounts[-1], *terms)
            oracle.margin_terms(accounts[-1], *terms)
    for account_id in accounts:
        for _ in range(6):
            trade = (
                chance.choice(["EUR/USD", "USD/JPY"]), chance.choice(["buy", "sell"]),
                str(chance.randint(1, 2000)), str(D(chance.randint(100, 200)) / 100),
            )  # fmt: skip
            fill(conn, account_id, *trade, "open")
            oracle.fill(account_id, *trade, 0, "open")
    at_once = {
        row["account_id"]: row for row in every(conn, "select * from equity.account_margins")
    }
    for account_id in accounts:
        now, expected = state(conn, account_id), oracle.figures(account_id)
        for name in expected.__dataclass_fields__:
            assert now[name] == getattr(expected, name), name
        together = at_once[account_id]
        assert together["margin_used"] == expected.margin_used
        assert now["balance"] + together["mid_unrealized_pnl"] == expected.margin_equity
    changes = every(conn, "select * from api.judge_margins()")
    states = {each: oracle.figures(each).margin_state for each in accounts}
    assert {row["account_id"]: row["margin_state"] for row in changes} == {
        each: margin_state for each, margin_state in states.items() if margin_state != "ok"
    }
    for row in changes:
        now = state(conn, row["account_id"])
        for name in ("margin_equity", "margin_used", "margin_state"):
            assert row[name] == now[name], name
    assert_sound(conn)
