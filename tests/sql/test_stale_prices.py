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


def test_every_instrument_has_its_own_age(conn: Connection) -> None:
    assert set_stale_after(conn, "EUR/USD", None) == timedelta(minutes=1)
    account_id = account(conn)
    price(conn, "EUR/USD", "2 min")
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.1")
    assert set_stale_after(conn, "EUR/USD", "1 day") == timedelta(days=1)
    assert state(conn, account_id)["is_stale"] is False
    assert set_stale_after(conn, "EUR/USD", None) == timedelta(days=1)


@pytest.mark.parametrize("interval", ["0 s", "-1 s", "infinity"])
def test_an_age_that_makes_no_sense_is_refused(conn: Connection, interval: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        set_stale_after(conn, "EUR/USD", interval)
    assert refused.value.sqlstate == "TM121"
    assert "stale after" in (refused.value.diag.message_hint or "")
