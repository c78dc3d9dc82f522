"""What accounts are long and short in each currency, and what several are worth in one."""

import psycopg
import pytest

from tests.factories import (
    Connection,
    D,
    Row,
    account,
    entry,
    every,
    fill,
    instrument,
    one,
    state,
    tick,
    ticks,
)


@pytest.fixture(autouse=True)
def market(conn: Connection) -> None:
    """EUR/USD at 1.10 and USD/JPY at 150, with spreads."""
    for symbol in ("EUR/USD", "USD/JPY"):
        instrument(conn, symbol)
    ticks(conn, ("EUR/USD", 0, "1.0999", "1.1001"), ("USD/JPY", 0, "149.9", "150.1"))


def exposures(conn: Connection, account_id: int) -> dict[str, tuple[object, ...]]:
    rows = every(conn, "select * from api.exposures where account_id = %s", [account_id])
    return {
        row["currency"]: tuple(
            row[name] for name in ("amount", "long_amount", "short_amount", "value", "is_priced")
        )
        for row in rows
    }


def totals(conn: Connection, account_ids: list[int] | None, currency: str) -> Row:
    return one(conn, "select * from api.portfolio_totals(%s, %s)", [account_ids, currency])


def test_a_position_is_long_in_one_currency_and_short_in_the_other(conn: Connection) -> None:
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.0")
    assert exposures(conn, account_id) == {
        "EUR": (D("1000"), D("1000"), D("0"), D("1100.00"), True),
        "USD": (D("-1100"), D("0"), D("-1100"), D("-1100.00"), True),
    }


def test_currencies_are_netted_over_positions(conn: Connection) -> None:
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.0")
    fill(conn, account_id, "USD/JPY", "buy", "3000", "150")
    assert exposures(conn, account_id) == {
        "EUR": (D("1000"), D("1000"), D("0"), D("1100.00"), True),
        "USD": (D("1900"), D("3000"), D("-1100"), D("1900.00"), True),
        "JPY": (D("-450000"), D("0"), D("-450000"), D("-3000.00"), True),
    }
    values = [row[3] for row in exposures(conn, account_id).values()]
    assert sum(values) == 0


def test_a_short_position_is_the_other_way_round_and_contracts_count_in_units(
    conn: Connection,
) -> None:
    instrument(conn, "XAU/USD", contract_size="100")
    tick(conn, "XAU/USD", 0, "1300.00", "1300.50")
    account_id = account(conn)
    fill(conn, account_id, "XAU/USD", "sell", "0.5", "1300")
    assert exposures(conn, account_id) == {
        "XAU": (D("-50"), D("0"), D("-50"), D("-65012.50"), True),
        "USD": (D("65012.50"), D("65012.50"), D("0"), D("65012.50"), True),
    }


def test_long_and_short_of_one_instrument_stand_apart_and_are_netted(conn: Connection) -> None:
    account_id = account(conn, mode="hedging")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.0", "open")
    fill(conn, account_id, "EUR/USD", "sell", "400", "1.0", "open")
    assert exposures(conn, account_id) == {
        "EUR": (D("600"), D("1000"), D("-400"), D("660.00"), True),
        "USD": (D("-660"), D("440"), D("-1100"), D("-660.00"), True),
    }


def test_amounts_are_exact_and_values_rounded_so_that_both_sides_cancel(conn: Connection) -> None:
    tick(conn, "EUR/USD", 1, "1.08714", "1.08719")
    account_id = account(conn, "JPY", scale=0)
    fill(conn, account_id, "EUR/USD", "buy", "0.12345678", "1.0")
    seen = exposures(conn, account_id)
    assert seen["EUR"][0] == D("0.12345678")
    assert seen["USD"][0] == -D("0.12345678") * D("1.087165")
    assert (seen["EUR"][3], seen["USD"][3]) == (D("20"), D("-20"))  # 20.13 yen


def test_without_positions_there_is_no_exposure(conn: Connection) -> None:
    account_id = account(conn)
    assert exposures(conn, account_id) == {}
    fill(conn, account_id, "EUR/USD", "buy", "10", "1.1")
    fill(conn, account_id, "EUR/USD", "sell", "10", "1.1")
    assert exposures(conn, account_id) == {}


def test_an_unknown_rate_leaves_the_amounts_known(conn: Connection) -> None:
    instrument(conn, "USD/CHF")
    account_id = account(conn, "CHF")
    fill(conn, account_id, "EUR/USD", "buy", "10", "1.1")
    assert exposures(conn, account_id) == {
        "EUR": (D("10"), D("10"), D("0"), None, False),
        "USD": (D("-11"), D("0"), D("-11"), None, False),
    }


def test_an_unknown_price_makes_an_exposure_unknown(conn: Connection) -> None:
    instrument(conn, "GBP/USD")
    account_id = account(conn)
    fill(conn, account_id, "GBP/USD", "sell", "10", "1.3")
    fill(conn, account_id, "EUR/USD", "buy", "10", "1.1")
    seen = exposures(conn, account_id)
    assert seen["GBP"] == (D("-10"), D("0"), D("-10"), None, False)
    assert seen["USD"] == (None, None, None, None, False)
    assert seen["EUR"] == (D("10"), D("10"), D("0"), D("11.00"), True)


def test_totals_add_each_account_converted_and_rounded(conn: Connection) -> None:
    dollars, euros = account(conn, "USD", "100"), account(conn, "EUR", "0.03")
    yen = account(conn, "JPY", "1000", scale=0)
    entry(conn, yen, "credit", "100")
    fill(conn, dollars, "EUR/USD", "buy", "100", "1.09")
    now = totals(conn, [dollars, euros, yen], "USD")
    assert now["accounts"] == 3
    assert now["balance"] == D("106.70")  # 100 + 0.03 + 6.67
    assert now["credit"] == D("0.67")
    assert now["unrealized_pnl"] == D("0.99")
    assert now["equity"] == D("108.36")
    assert now["margin_equity"] == D("108.36")
    assert now["margin_used"] == D("5.50")
    assert now["margin_available"] == D("102.86")
    assert now["margin_level"] == D("19.701818")
    assert (now["is_priced"], now["currency"]) == (True, "USD")
    assert totals(conn, [dollars], "USD")["equity"] == state(conn, dollars)["equity"]
    assert totals(conn, None, "USD") == now
    assert totals(conn, [dollars, dollars], "USD")["accounts"] == 1


def test_no_account_is_worth_nothing(conn: Connection) -> None:
    now = totals(conn, [], "CHF")
    assert (now["accounts"], now["is_priced"], now["is_stale"]) == (0, True, False)
    for name in ("balance", "credit", "unrealized_pnl", "equity", "margin_equity", "margin_used"):
        assert str(now[name]) == "0.00", name
    assert (now["margin_available"], now["margin_level"]) == (D("0"), None)


def test_without_a_list_all_open_accounts_count(conn: Connection) -> None:
    account(conn, deposit="5")
    closed = account(conn, deposit="7")
    conn.execute("select api.close_account(%s)", [closed])
    assert (totals(conn, None, "USD")["accounts"], totals(conn, None, "USD")["balance"]) == (1, 5)
    assert totals(conn, [closed], "USD")["balance"] == D("7.00")


def test_totals_sum_what_was_rounded_for_each_account(conn: Connection) -> None:
    accounts = [account(conn, "EUR", "0.01") for _ in range(3)]
    assert totals(conn, accounts[:1], "USD")["balance"] == D("0.01")  # 0.011
    assert totals(conn, accounts, "USD")["balance"] == D("0.03")  # of the sum, 0.033
    row = one(conn, "select * from api.portfolio_totals(%s, 'USD', 3)", [accounts])
    assert str(row["balance"]) == "0.033"
    yen = one(conn, "select * from api.portfolio_totals(%s, 'JPY', 0)", [accounts])
    assert str(yen["balance"]) == "6"  # 3 × round(0.01 × 165)


def test_a_currency_of_its_own_needs_no_instrument(conn: Connection) -> None:
    account_id = account(conn, "CHF", "5")
    assert totals(conn, [account_id], "CHF")["equity"] == D("5.00")


def test_totals_that_need_an_unknown_price_are_unknown(conn: Connection) -> None:
    instrument(conn, "GBP/USD")
    account_id, pounds = account(conn, deposit="5"), account(conn, "GBP", "7")
    fill(conn, account_id, "GBP/USD", "buy", "10", "1.3")
    mine = totals(conn, [account_id], "USD")
    assert (mine["balance"], mine["equity"], mine["is_priced"]) == (D("5.00"), None, False)
    for name in ("unrealized_pnl", "margin_equity", "margin_used", "margin_available"):
        assert mine[name] is None, name
    both = totals(conn, [account_id, pounds], "USD")
    assert (both["balance"], both["unrealized_pnl"], both["margin_used"]) == (None, None, None)
    tick(conn, "GBP/USD", 1, "1.3", "1.3")
    assert totals(conn, [account_id, pounds], "USD")["equity"] == D("14.10")


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "remedy"),
    [("'{-1}', 'USD'", "TM101", "api.open_account"), ("null, 'usd'", "TM123", "such as USD"),
     ("null, null", "TM123", "such as USD"), ("null, 'USD', 9", "TM123", "8 decimals"),
     ("null, 'USD', -1", "TM123", "8 decimals"), ("null, 'USD', null", "TM123", "8 decimals"),
     ("null, 'CHF'", "TM132", "CHF/USD")],
)  # fmt: skip
def test_totals_that_cannot_be_are_refused_by_code(
    conn: Connection, arguments: str, sqlstate: str, remedy: str
) -> None:
    account(conn)
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select * from api.portfolio_totals({arguments})")
    assert refused.value.sqlstate == sqlstate
    assert remedy in (refused.value.diag.message_hint or "")


def test_price_pnl_and_conversion_pnl_add_up(conn: Connection) -> None:
    account_id = account(conn, "JPY", scale=0)
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.0")
    ticks(conn, ("EUR/USD", 1, "1.2", "1.2"), ("USD/JPY", 1, "160", "160"))
    (now,) = every(conn, "select * from api.positions where account_id = %s", [account_id])
    assert now["unrealized_pnl"] == D("32000")
    assert (now["price_pnl"], now["conversion_pnl"]) == (D("30000"), D("2000"))
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.2")
    (now,) = every(conn, "select * from api.positions where account_id = %s", [account_id])
    # 200 at the rate of opening, which is now (1000 × 150 + 1200 × 160) ÷ 2200
    assert (now["price_pnl"], now["conversion_pnl"]) == (D("31091"), D("909"))
