"""Valuation: conversion paths, unknown prices, and all against the independent calculation."""

import random
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.factories import (
    START,
    Connection,
    D,
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
    ticks,
    timeless_state,
)
from tests.oracle import Figures, Oracle


def rate(conn: Connection, source: str, target: str) -> tuple[Decimal | None, list[str]]:
    row = one(
        conn,
        "select rate, path from api.conversion_rates where from_currency = %s and to_currency = %s",
        [source, target],
    )
    return row["rate"], row["path"]


def test_side_prices_value_equity_and_mid_prices_value_margin(conn: Connection) -> None:
    instrument(conn, "EUR/GBP", margin_rate="0.0333")
    account_id = account(conn, "GBP", deposit="50000")
    fill(conn, account_id, "EUR/GBP", "buy", "1000000", "0.8568")
    tick(conn, "EUR/GBP", 0, "0.8566", "0.8568")

    now = state(conn, account_id)
    assert now["unrealized_pnl"] == D("-200.00")
    assert now["equity"] == D("49800.00")
    assert now["margin_equity"] == D("49900.00")
    assert now["margin_used"] == D("28528.11")
    assert now["margin_available"] == D("21371.89")
    assert now["margin_level"] == D("1.749152")


def test_a_rate_is_direct_inverse_or_through_a_pivot(conn: Connection) -> None:
    for symbol in ("EUR/USD", "USD/JPY", "GBP/USD"):
        instrument(conn, symbol)
    ticks(
        conn,
        ("EUR/USD", 0, "1.1000", "1.1002"),
        ("USD/JPY", 0, "149.99", "150.01"),
        ("GBP/USD", 0, "1.2999", "1.3001"),
    )
    assert rate(conn, "USD", "JPY") == (D("150.000000000000"), ["USD/JPY"])
    assert rate(conn, "USD", "EUR") == (D("0.909008271975"), ["EUR/USD"])
    assert rate(conn, "JPY", "EUR") == (D("0.006060055147"), ["USD/JPY", "EUR/USD"])
    assert rate(conn, "JPY", "JPY") == (D("1"), [])


def test_a_direct_pair_takes_over_from_the_pivot_once_it_is_quoted(conn: Connection) -> None:
    for symbol in ("EUR/USD", "GBP/USD"):
        instrument(conn, symbol)
    ticks(conn, ("EUR/USD", 0, "1.2", "1.2"), ("GBP/USD", 0, "1.5", "1.5"))
    instrument(conn, "EUR/GBP")
    instrument(conn, "GBP/CHF")
    instrument(conn, "EUR/CHF")
    holder = account(conn, "GBP")
    fill(conn, holder, "EUR/CHF", "buy", "100", "0.9")
    assert state(conn, holder)["is_priced"] is False

    tick(conn, "EUR/CHF", 1, "1.0", "1.0")
    assert rate(conn, "CHF", "GBP") == (None, ["GBP/CHF"])
    tick(conn, "EUR/GBP", 2, "0.8", "0.8")
    assert rate(conn, "CHF", "GBP") == (D("0.8"), ["EUR/CHF", "EUR/GBP"])
    assert state(conn, holder)["unrealized_pnl"] == D("8.00")
    tick(conn, "GBP/CHF", 3, "1.3", "1.3")
    assert rate(conn, "CHF", "GBP") == (D("0.769230769231"), ["GBP/CHF"])
    assert state(conn, holder)["unrealized_pnl"] == D("7.69")
    assert_sound(conn)


def test_an_account_moves_when_only_its_conversion_pair_ticks(conn: Connection) -> None:
    for symbol in ("EUR/USD", "GBP/USD"):
        instrument(conn, symbol)
    ticks(conn, ("EUR/USD", 0, "1.20", "1.20"), ("GBP/USD", 0, "1.50", "1.50"))
    account_id = account(conn, "GBP")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.10")
    assert state(conn, account_id)["unrealized_pnl"] == D("66.67")
    version = state(conn, account_id)["version"]

    tick(conn, "GBP/USD", 1, "1.60", "1.60")
    assert state(conn, account_id)["unrealized_pnl"] == D("62.50")
    assert state(conn, account_id)["version"] == version + 1
    assert_sound(conn)


def test_a_tick_leaves_the_accounts_that_it_cannot_move_alone(conn: Connection) -> None:
    for symbol in ("EUR/USD", "GBP/USD", "AUD/USD", "NZD/USD", "USD/CAD"):
        instrument(conn, symbol)
    ticks(conn, ("EUR/USD", 0, "1.20", "1.20"), ("GBP/USD", 0, "1.50", "1.50"))
    account_id = account(conn, "USD")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.10")
    before = timeless_state(conn, account_id)
    tick(conn, "GBP/USD", 1, "1.60", "1.60")
    assert timeless_state(conn, account_id) == before


def test_unknown_is_unknown_and_never_zero(conn: Connection) -> None:
    for symbol in ("EUR/USD", "USD/CHF"):
        instrument(conn, symbol)
    account_id = account(conn, "CHF")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.10")

    def unknown() -> bool:
        now, (position,) = state(conn, account_id), positions(conn, account_id)
        figures = ("unrealized_pnl", "equity", "margin_equity", "margin_used", "margin_available")
        assert now["balance"] == D("10000.00")
        assert now["is_priced"] == position["is_priced"]
        assert_sound(conn)
        return not now["is_priced"] and all(now[name] is None for name in figures)

    assert unknown()
    tick(conn, "EUR/USD", 0, "1.2", "1.2")
    assert unknown()
    assert positions(conn, account_id)[0]["unrealized_pnl_quote"] == D("100")
    tick(conn, "USD/CHF", 0, "0.9", "0.9")
    assert not unknown()
    assert state(conn, account_id)["unrealized_pnl"] == D("90.00")


def test_an_unpriced_position_that_is_closed_leaves_the_account_priced(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn, "USD")
    fill(conn, account_id, "EUR/USD", "buy", "1000", "1.10")
    fill(conn, account_id, "EUR/USD", "sell", "1000", "1.20")
    assert state(conn, account_id)["equity"] == D("10100.00")
    assert_sound(conn)


def test_rounding_is_half_away_from_zero(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.005", "1.005")
    long, short = account(conn), account(conn)
    fill(conn, long, "EUR/USD", "buy", "1", "1")
    fill(conn, short, "EUR/USD", "sell", "1", "1")
    assert state(conn, long)["unrealized_pnl"] == D("0.01")
    assert state(conn, short)["unrealized_pnl"] == D("-0.01")


def test_a_rate_that_rounds_to_zero_is_unknown_and_stops_no_tick(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    instrument(conn, "EUR/XXX")
    account_id = account(conn, "EUR")
    ticks(conn, ("EUR/USD", 0, "1.1", "1.1"), ("EUR/XXX", 0, "2", "2"))
    fill(conn, account_id, "EUR/XXX", "buy", "10", "1")
    assert state(conn, account_id)["unrealized_pnl"] == D("5.00")
    both = ticks(
        conn, ("EUR/USD", 1, "1.2", "1.2"), ("EUR/XXX", 1, "999999999999999", "999999999999999")
    )
    assert both == {"accepted": 2, "rejected": 0}
    after = state(conn, account_id)
    assert (after["is_priced"], after["unrealized_pnl"]) == (False, None)
    assert_sound(conn)
    tick(conn, "EUR/XXX", 2, "4", "4")
    assert state(conn, account_id)["unrealized_pnl"] == D("7.50")
    assert_sound(conn)


def test_a_pair_whose_path_is_gone_has_no_rate(conn: Connection) -> None:
    instrument(conn, "EUR/GBP")
    conn.execute("select api.upsert_instrument('X', 'GBP', 'USD', 0.05)")
    conn.execute("select api.upsert_instrument('X', 'CHF', 'USD', 0.05)")
    tick(conn, "X", 0, "1.1", "1.1")
    tick(conn, "X", 1, "1.2", "1.2")
    pairs = every(conn, "select from_currency, to_currency from api.conversion_rates")
    assert {"from_currency": "GBP", "to_currency": "USD"} not in pairs
    assert_sound(conn)


@pytest.mark.parametrize(
    ("numerator", "denominator", "scale", "expected"),
    [
        ("1", "3", 4, "0.3333"),
        ("2", "3", 4, "0.6667"),
        ("1", "8", 2, "0.13"),
        ("-1", "8", 2, "-0.13"),
        ("1", "-8", 2, "-0.13"),
        ("0", "7", 2, "0.00"),
        ("5", "2", 0, "3"),
        ("-5", "2", 0, "-3"),
        # rounding twice would give 0.01: this is 0.00499...9 with more digits than division keeps
        ("4" + "9" * 39, "1" + "0" * 42, 2, "0.00"),
        ("9" * 20, "0.00000000000001", 12, "9" * 20 + "0" * 14 + "." + "0" * 12),
    ],
)
def test_division_rounds_once(
    conn: Connection, numerator: str, denominator: str, scale: int, expected: str
) -> None:
    row = one(
        conn, "select market.round_div(%s, %s, %s) as q", [D(numerator), D(denominator), scale]
    )
    assert str(row["q"]) == expected


def test_the_check_sees_a_state_that_is_wrong(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    tick(conn, "EUR/USD", 0, "1.1", "1.1")
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.0")
    conn.execute("update equity.account_states set unrealized_pnl = unrealized_pnl + 0.01")
    conn.execute(
        "update market.conversion_rates set rate = 2"
        " where from_currency = 'USD' and to_currency = 'EUR'"
    )
    conn.execute("update equity.legs set units = units + 1, cost_float = cost_float + 1")
    conn.execute("update market.quotes set tick_id = 0, event_at = event_at - interval '1 s'")
    rows = every(conn, "select account_id, item from api.verify_equity() order by item")
    assert [(row["account_id"], row["item"]) for row in rows] == [
        (None, "conversion rate USD to EUR"),
        (account_id, "cost of the leg of instrument 1"),
        (None, "quote of EUR/USD: tick_id"),
        (account_id, "units of the leg of instrument 1"),
        (account_id, "unrealized_pnl"),
    ]


def seen(conn: Connection, account_id: int) -> Figures:
    now = state(conn, account_id)
    return Figures(**{name: now[name] for name in Figures.__dataclass_fields__})


@pytest.mark.parametrize("seed", range(6))
def test_random_trading_equals_the_independent_calculation(conn: Connection, seed: int) -> None:
    """Every figure of every account, after every step, to the last digit."""
    chance = random.Random(seed)
    oracle = Oracle()
    mids = {
        "EUR/USD": D("1.1"), "USD/JPY": D("150"), "GBP/USD": D("1.3"), "EUR/GBP": D("0.85"),
        "XAU/USD": D("2000"), "AUD/NZD": D("1.08"), "NZD/USD": D("0.6"), "EUR/CHF": D("0.95"),
    }  # fmt: skip
    for symbol in mids:
        terms = (str(chance.choice([D("0.02"), D("0.0333")])), chance.choice(["1", "100", "0.1"]))
        instrument(conn, symbol, *terms)
        oracle.instrument(symbol, *symbol.split("/"), *terms)
    accounts = []
    for currency, mode, markup, scale in [
        ("USD", "netting", "0", 2), ("EUR", "hedging", "0.005", 2), ("JPY", "netting", "0", 0),
        ("CHF", "hedging", "0", 3), ("NZD", "netting", "0.01", 2),
    ]:  # fmt: skip
        accounts.append(account(conn, currency, None, mode, markup, scale))
        oracle.account(accounts[-1], currency, mode, markup, scale)

    at = 0.0
    for _ in range(150):
        step = chance.random()
        account_id = chance.choice(accounts)
        symbol = chance.choice(list(mids))
        if step < 0.5:
            batch = []
            for moved in chance.sample(list(mids), chance.randint(1, 4)):
                at += chance.choice([0, 0.001, 1])
                mids[moved] *= D(chance.randint(99_000, 101_000)) / 100_000
                bid = mids[moved].quantize(D("0.00001"))
                ask = bid + D(chance.randint(0, 30)).scaleb(-5)
                when = at - chance.choice([0, 0, 0, 5])
                batch.append((moved, when, str(bid), str(ask)))
                oracle.tick(moved, START + timedelta(seconds=when), bid, ask)
            ticks(conn, *batch)
        elif step < 0.6:
            kind, amount = chance.choice(
                [
                    ("deposit", "5000"),
                    ("withdrawal", "-300"),
                    ("credit", "-25"),
                    ("financing", "-7"),
                ]
            )
            entry(conn, account_id, kind, amount)
            oracle.entry(account_id, kind, amount)
        else:
            book = oracle.accounts[account_id]
            side = chance.choice(["buy", "sell"])
            effect = "auto"
            quantity = D(chance.randint(1, 5000)).scaleb(chance.choice([0, -2]))
            if book.hedging:
                leg = "long" if side == "sell" else "short"
                held = abs(book.positions.get((symbol, leg), (0, 0))[0])
                effect = "close" if held and chance.random() < 0.5 else "open"
                if effect == "close":
                    quantity = D(int(held)) if held == int(held) else quantity
                    if quantity > held:
                        effect = "open"
            price = mids[symbol].quantize(D("0.00001"))
            realizes = oracle.rate(symbol.split("/")[1], book.currency) is not None
            if not realizes:
                continue
            booked = fill(conn, account_id, symbol, side, str(quantity), str(price), effect, "1")
            expected = oracle.fill(account_id, symbol, side, quantity, price, 1, effect)
            assert booked["realized_pnl"] == expected
        for each in accounts:
            assert seen(conn, each) == oracle.figures(each)
    assert_sound(conn)
