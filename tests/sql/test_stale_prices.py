"""Old prices: what they value keeps its figures, and says that they are old."""

from datetime import timedelta

import psycopg
import pytest

from tests.factories import Connection, D, account, fill, instrument, one, positions, state


def price(conn: Connection, symbol: str, age: str) -> None:
    """A tick of 1.2 whose price was made so long ago."""
    conn.execute(
        "select api.ingest_ticks(array[%s], array[now() - %s::interval], '{1.2}', '{1.2}')",
        [symbol, age],
    )


def set_stale_after(conn: Connection, symbol: str, interval: str | None) -> timedelta:
    base, quote = symbol.split("/")
    row = one(
        conn,
        "select stale_after from api.upsert_instrument(%s, %s, %s, 0.05, 1, %s)",
        [symbol, base, quote, interval],
    )
    found: timedelta = row["stale_after"]
    return found


def test_a_fresh_price_is_not_stale(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    assert (state(conn, account_id)["is_stale"], state(conn, account_id)["price_age"]) == (
        False,
        None,
    )
    price(conn, "EUR/USD", "0 s")
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    now, (position,) = state(conn, account_id), positions(conn, account_id)
    assert (now["is_stale"], position["is_stale"]) == (False, False)
    assert timedelta(0) <= now["price_age"] < timedelta(seconds=30)


def test_an_old_price_flags_the_position_and_its_account_and_keeps_their_figures(
    conn: Connection,
) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    price(conn, "EUR/USD", "2 min")
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    now, (position,) = state(conn, account_id), positions(conn, account_id)
    assert (now["is_stale"], position["is_stale"], now["is_priced"]) == (True, True, True)
    assert now["unrealized_pnl"] == position["unrealized_pnl"] == D("10.00")
    assert timedelta(minutes=2) <= now["price_age"] <= position["price_age"]
    price(conn, "EUR/USD", "0 s")
    assert state(conn, account_id)["is_stale"] is False


def test_an_old_conversion_price_flags_what_it_converts(conn: Connection) -> None:
    for symbol in ("EUR/USD", "USD/CHF"):
        instrument(conn, symbol)
    price(conn, "EUR/USD", "0 s")
    price(conn, "USD/CHF", "2 h")
    converted, plain = account(conn, "CHF"), account(conn, "USD")
    for account_id in (converted, plain):
        fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    assert state(conn, converted)["is_stale"] is True
    assert positions(conn, converted)[0]["price_age"] >= timedelta(hours=2)
    assert state(conn, plain)["is_stale"] is False
    total = one(conn, "select * from api.portfolio_totals(%s, 'CHF')", [[plain]])
    assert (total["is_stale"], total["is_priced"]) == (True, True)


def test_one_old_price_among_fresh_ones_flags_its_position_and_the_account(
    conn: Connection,
) -> None:
    account_id = account(conn)
    for symbol, age in [("EUR/USD", "0 s"), ("GBP/USD", "5 min")]:
        instrument(conn, symbol)
        price(conn, symbol, age)
        fill(conn, account_id, symbol, "buy", "100", "1.1")
    flags = {row["symbol"]: row["is_stale"] for row in positions(conn, account_id)}
    assert flags == {"EUR/USD": False, "GBP/USD": True}
    now = state(conn, account_id)
    assert (now["is_stale"], now["equity"]) == (True, D("10020.00"))
    assert now["price_age"] >= timedelta(minutes=5)
    fill(conn, account_id, "GBP/USD", "sell", "100", "1.2")
    assert state(conn, account_id)["is_stale"] is False


def test_a_price_goes_stale_once_it_is_older_than_its_instrument_allows(conn: Connection) -> None:
    set_stale_after(conn, "EUR/USD", "10 min")
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    price(conn, "EUR/USD", "10 min")
    assert state(conn, account_id)["is_stale"] is True
    price(conn, "EUR/USD", "9 min")
    assert state(conn, account_id)["is_stale"] is False


def test_an_old_price_keeps_every_figure(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    price(conn, "EUR/USD", "1 day")
    now = state(conn, account_id)
    figures = ("unrealized_pnl", "equity", "margin_equity", "margin_used", "margin_available")
    assert [str(now[name]) for name in figures] == [
        "10.00", "10010.00", "10010.00", "6.00", "10004.00",
    ]  # fmt: skip
    assert now["margin_state"] == "ok"


def test_what_has_no_price_is_unknown_and_not_stale(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    for row in (state(conn, account_id), *positions(conn, account_id)):
        assert (row["is_priced"], row["is_stale"], row["price_age"]) == (False, False, None)


def test_a_total_is_as_stale_as_what_it_sums_and_converts(conn: Connection) -> None:
    for symbol in ("EUR/USD", "USD/CHF"):
        instrument(conn, symbol)
    holder = account(conn, "USD")
    fill(conn, holder, "EUR/USD", "buy", "100", "1.1")

    def is_stale(currency: str) -> bool:
        total = one(conn, "select * from api.portfolio_totals(%s, %s)", [[holder], currency])
        assert None not in (total["equity"], total["margin_used"])
        stale: bool = total["is_stale"]
        return stale

    price(conn, "EUR/USD", "2 h")
    price(conn, "USD/CHF", "2 h")
    assert (is_stale("USD"), is_stale("CHF")) == (True, True)
    price(conn, "USD/CHF", "0 s")
    assert (is_stale("USD"), is_stale("CHF")) == (True, True)
    price(conn, "EUR/USD", "0 s")
    assert (is_stale("USD"), is_stale("CHF")) == (False, False)


def test_every_instrument_has_its_own_age(conn: Connection) -> None:
    assert set_stale_after(conn, "EUR/USD", None) == timedelta(minutes=1)
    account_id = account(conn)
    price(conn, "EUR/USD", "2 min")
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    assert set_stale_after(conn, "EUR/USD", "1 day") == timedelta(days=1)
    assert state(conn, account_id)["is_stale"] is False
    assert set_stale_after(conn, "EUR/USD", None) == timedelta(days=1)
    assert set_stale_after(conn, "GBP/USD", "5 s") == timedelta(seconds=5)
    assert set_stale_after(conn, "EUR/USD", None) == timedelta(days=1)


@pytest.mark.parametrize("interval", ["0 s", "-1 s", "infinity"])
def test_an_age_that_makes_no_sense_is_refused(conn: Connection, interval: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        set_stale_after(conn, "EUR/USD", interval)
    assert refused.value.sqlstate == "TM121"
    assert "stale after" in (refused.value.diag.message_hint or "")
