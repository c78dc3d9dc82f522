"""Fills: positions by average cost, realized P&L, netting and hedging, and what is refused."""

import psycopg
import pytest

from tests.factories import (
    Connection,
    D,
    account,
    assert_sound,
    every,
    fill,
    instrument,
    positions,
    state,
    tick,
)


@pytest.fixture
def eur_usd(conn: Connection) -> str:
    """EUR/USD, quoted 1.1000 / 1.1002."""
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.1000", "1.1002")
    return "EUR/USD"


def test_adding_to_a_position_averages_its_cost(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    fill(conn, account_id, eur_usd, "buy", "1000", "1.10")
    fill(conn, account_id, eur_usd, "buy", "3000", "1.20")

    (position,) = positions(conn, account_id)
    assert (position["side"], position["quantity"]) == ("long", D("4000"))
    assert position["average_price"] == D("1.175")
    assert position["unrealized_pnl"] == D("-300.00")
    assert state(conn, account_id)["equity"] == D("9700.00")
    assert_sound(conn)


def test_a_partial_close_realizes_its_share(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    fill(conn, account_id, eur_usd, "buy", "3000", "1.10")
    closed = fill(conn, account_id, eur_usd, "sell", "1000", "1.15")

    assert (closed["effect"], closed["realized_pnl"]) == ("close", D("50.00"))
    (position,) = positions(conn, account_id)
    assert (position["quantity"], position["average_price"]) == (D("2000"), D("1.1"))
    assert state(conn, account_id)["balance"] == D("10050.00")
    assert_sound(conn)


def test_a_full_close_releases_all_of_the_cost(conn: Connection, eur_usd: str) -> None:
    """A stored average price would leave 0.0000000001 behind, or lose it."""
    account_id = account(conn, scale=8)
    fill(conn, account_id, eur_usd, "buy", "3", "1.1")
    fill(conn, account_id, eur_usd, "buy", "4", "1.2")
    fill(conn, account_id, eur_usd, "sell", "1", "1.3")
    fill(conn, account_id, eur_usd, "sell", "6", "1.3")

    assert positions(conn, account_id) == []
    assert state(conn, account_id)["balance"] == D("10001.00000000")
    assert_sound(conn)


def test_a_fill_beyond_zero_flips_the_position(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    fill(conn, account_id, eur_usd, "buy", "1000", "1.10")
    flipped = fill(conn, account_id, eur_usd, "sell", "1500", "1.20")

    assert (flipped["effect"], flipped["realized_pnl"]) == ("flip", D("100.00"))
    (position,) = positions(conn, account_id)
    assert (position["side"], position["quantity"]) == ("short", D("500"))
    assert (position["average_price"], position["price"]) == (D("1.2"), D("1.1002"))
    assert_sound(conn)


def test_a_hedging_account_keeps_long_and_short_apart(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn, mode="hedging")
    fill(conn, account_id, eur_usd, "buy", "1000", "1.10", effect="open")
    fill(conn, account_id, eur_usd, "sell", "400", "1.20", effect="open")
    fill(conn, account_id, eur_usd, "sell", "250", "1.15", effect="close")
    fill(conn, account_id, eur_usd, "buy", "100", "1.10", effect="close")

    long, short = positions(conn, account_id)
    assert (long["side"], long["quantity"], long["average_price"]) == ("long", D("750"), D("1.1"))
    assert (short["side"], short["quantity"], short["average_price"]) == (
        "short",
        D("300"),
        D("1.2"),
    )
    assert state(conn, account_id)["balance"] == D("10022.50")
    assert state(conn, account_id)["margin_used"] == long["margin_used"]
    assert_sound(conn)


def test_contract_size_multiplies_the_quantity(conn: Connection) -> None:
    instrument(conn, "XAU/USD", margin_rate="0.05", contract_size="100")
    tick(conn, "XAU/USD", 0, "1300.00", "1300.50")
    account_id = account(conn, deposit="100000")
    fill(conn, account_id, "XAU/USD", "sell", "2", "1310.25")

    (position,) = positions(conn, account_id)
    assert position["unrealized_pnl"] == D("1950.00")
    assert position["average_price"] == D("1310.25")
    assert position["margin_used"] == D("13002.50")
    assert_sound(conn)


def test_commission_is_booked_as_its_own_entry(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    booked = fill(conn, account_id, eur_usd, "buy", "1000", "1.1002", commission="2.50")
    assert booked["commission"] == D("2.50")
    entries = every(conn, "select kind, amount, fill_id from api.entries order by entry_id")
    assert entries[-1] == {"kind": "commission", "amount": D("-2.50"), "fill_id": booked["fill_id"]}
    assert state(conn, account_id)["balance"] == D("9997.50")
    assert_sound(conn)


def test_realized_pnl_is_converted_and_carries_the_markup(conn: Connection) -> None:
    for symbol in ("EUR/JPY", "USD/JPY"):
        instrument(conn, symbol)
    tick(conn, "EUR/JPY", 0, "160.00", "160.02")
    tick(conn, "USD/JPY", 0, "149.99", "150.01")
    account_id = account(conn, "USD", markup="0.005")
    fill(conn, account_id, "EUR/JPY", "buy", "1000", "159.00")
    gain = fill(conn, account_id, "EUR/JPY", "sell", "500", "160.00")
    loss = fill(conn, account_id, "EUR/JPY", "sell", "500", "158.00")

    assert gain["conversion_rate"] == D("0.006666666667")
    assert gain["realized_pnl"] == D("3.32")  # 500 / 150 * 0.995 = 3.3166...
    assert loss["realized_pnl"] == D("-3.35")  # -500 / 150 * 1.005 = -3.35
    assert_sound(conn)


def test_the_same_external_id_books_once(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    first = fill(conn, account_id, eur_usd, "buy", "1000", "1.10", external_id="t-1")
    again = fill(conn, account_id, eur_usd, "buy", "1000.0", "1.1", external_id="t-1")
    assert again == first
    with pytest.raises(psycopg.Error) as refused:
        fill(conn, account_id, eur_usd, "buy", "1001", "1.10", external_id="t-1")
    assert refused.value.sqlstate == "TM111"
    assert len(every(conn, "select * from api.fills")) == 1


def test_a_repeated_close_is_answered_though_nothing_is_left_to_close(
    conn: Connection, eur_usd: str
) -> None:
    account_id = account(conn)
    fill(conn, account_id, eur_usd, "buy", "1000", "1.10")
    first = fill(conn, account_id, eur_usd, "sell", "1000", "1.10", effect="close", external_id="c")
    assert (
        fill(conn, account_id, eur_usd, "sell", "1000", "1.10", effect="close", external_id="c")
        == first
    )


def test_events_are_numbered_without_gaps(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    for _ in range(3):
        fill(conn, account_id, eur_usd, "buy", "1", "1.1")
        with pytest.raises(psycopg.Error):
            fill(conn, account_id, eur_usd, "buy", "-1", "1.1")
    rows = every(conn, "select event_seq from api.fills order by fill_id")
    assert [row["event_seq"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "sqlstate"),
    [
        ("'EUR/USD', 'hold', 1, 1", "TM130"),
        ("'EUR/USD', null, 1, 1", "TM130"),
        ("'EUR/USD', 'buy', 0, 1", "TM130"),
        ("'EUR/USD', 'buy', -1, 1", "TM130"),
        ("'EUR/USD', 'buy', null, 1", "TM130"),
        ("'EUR/USD', 'buy', 'NaN', 1", "TM130"),
        ("'EUR/USD', 'buy', 'Infinity', 1", "TM130"),
        ("'EUR/USD', 'buy', 1e15, 1", "TM130"),
        ("'EUR/USD', 'buy', 1, 1e15", "TM130"),
        ("'EUR/USD', 'buy', 1, 1, '1969-12-31'", "TM113"),
        ("'EUR/USD', 'buy', 1, 1, '10000-01-01'", "TM113"),
        ("'EUR/USD', 'buy', 0.123456789, 1", "TM130"),
        ("'EUR/USD', 'buy', 1, 0", "TM130"),
        ("'EUR/USD', 'buy', 1, 'NaN'", "TM130"),
        ("'EUR/USD', 'buy', 1, null", "TM130"),
        ("'EUR/USD', 'buy', 1, 1.12345678901", "TM130"),
        ("'EUR/USD', 'buy', 1, 1, p_commission => -1", "TM130"),
        ("'EUR/USD', 'buy', 1, 1, p_commission => 0.001", "TM130"),
        ("'EUR/USD', 'buy', 1, 1, p_effect => 'flip'", "TM130"),
        ("'EUR/USD', 'buy', 1, 1, p_effect => null", "TM130"),
        ("'EUR/USD', 'buy', 1, 1, 'infinity'", "TM113"),
        ("'EUR/USD', 'buy', 1, 1, p_external_id => ''", "TM114"),
        ("'EUR/USD', 'buy', 1, 1, p_external_id => ' '", "TM114"),
        ("'EUR/USD', 'buy', 1, 1, p_external_id => repeat('x', 201)", "TM114"),
        ("'EUR/XXX', 'buy', 1, 1", "TM120"),
        ("null, 'buy', 1, 1", "TM120"),
        ("'EUR/USD', 'sell', 1, 1, p_effect => 'close'", "TM131"),
    ],
)
def test_a_fill_that_cannot_be_is_refused_by_code(
    conn: Connection, eur_usd: str, arguments: str, sqlstate: str
) -> None:
    account_id = account(conn)
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select api.record_fill({account_id}, {arguments})")
    assert refused.value.sqlstate == sqlstate
    assert refused.value.diag.message_hint
    assert positions(conn, account_id) == []
    assert_sound(conn)


def test_the_effect_must_fit_the_position(conn: Connection, eur_usd: str) -> None:
    netting, hedging = account(conn), account(conn, mode="hedging")
    fill(conn, netting, eur_usd, "buy", "10", "1.1")
    fill(conn, hedging, eur_usd, "buy", "10", "1.1", effect="open")
    for account_id, side, quantity, effect in [
        (netting, "sell", "11", "close"),
        (netting, "buy", "1", "close"),
        (netting, "sell", "1", "open"),
        (hedging, "sell", "11", "close"),
        (hedging, "buy", "1", "close"),
        (hedging, "buy", "1", "auto"),
    ]:
        with pytest.raises(psycopg.Error) as refused:
            fill(conn, account_id, eur_usd, side, quantity, "1.1", effect=effect)
        assert refused.value.sqlstate == "TM131"


def test_unknown_and_closed_accounts_are_refused(conn: Connection, eur_usd: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        fill(conn, -1, eur_usd, "buy", "1", "1")
    assert refused.value.sqlstate == "TM101"

    account_id = account(conn)
    fill(conn, account_id, eur_usd, "buy", "1", "1")
    with pytest.raises(psycopg.Error) as refused:
        conn.execute("select api.close_account(%s)", [account_id])
    assert refused.value.sqlstate == "TM105"
    fill(conn, account_id, eur_usd, "sell", "1", "1")
    conn.execute("select api.close_account(%s)", [account_id])
    with pytest.raises(psycopg.Error) as refused:
        fill(conn, account_id, eur_usd, "buy", "1", "1")
    assert refused.value.sqlstate == "TM102"


def test_a_symbol_without_conversion_path_is_refused_with_the_remedy(
    conn: Connection, eur_usd: str
) -> None:
    account_id = account(conn, "CHF")
    with pytest.raises(psycopg.Error) as refused:
        fill(conn, account_id, eur_usd, "buy", "1", "1.1")
    assert refused.value.sqlstate == "TM132"
    assert "CHF/USD" in (refused.value.diag.message_hint or "")


def test_realizing_without_a_conversion_price_is_refused(conn: Connection, eur_usd: str) -> None:
    instrument(conn, "USD/CHF")
    account_id = account(conn, "CHF")
    fill(conn, account_id, eur_usd, "buy", "10", "1.1")
    with pytest.raises(psycopg.Error) as refused:
        fill(conn, account_id, eur_usd, "sell", "10", "1.2")
    assert refused.value.sqlstate == "TM133"
    tick(conn, "USD/CHF", 1, "0.9", "0.9")
    assert fill(conn, account_id, eur_usd, "sell", "10", "1.2")["realized_pnl"] == D("0.90")
    assert_sound(conn)


def test_terms_of_an_instrument_with_fills_stay(conn: Connection, eur_usd: str) -> None:
    account_id = account(conn)
    fill(conn, account_id, eur_usd, "buy", "10", "1.1")
    version = state(conn, account_id)["version"]
    instrument(conn, "EUR/USD", margin_rate="0.10")
    with pytest.raises(psycopg.Error) as refused:
        instrument(conn, "EUR/USD", contract_size="2")
    assert refused.value.sqlstate == "TM122"
    now = state(conn, account_id)
    assert (now["margin_used"], now["version"]) == (D("1.10"), version + 1)


@pytest.mark.parametrize(
    "arguments",
    ["'EUR USD', 'EUR', 'USD', 0.1", "null, 'EUR', 'USD', 0.1", "'X', 'eur', 'USD', 0.1",
     "'X', 'EUR', 'EUR', 0.1", "'X', 'EUR', 'USD', 2", "'X', 'EUR', 'USD', null",
     "'X', 'EUR', 'USD', 0.1, 0", "'X', 'EUR', 'USD', 0.1, 'NaN'"],
)  # fmt: skip
def test_an_instrument_that_makes_no_sense_is_refused(conn: Connection, arguments: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select api.upsert_instrument({arguments})")
    assert refused.value.sqlstate == "TM121"
