"""Corrections: what is taken back is as if it had never been, and all of it stays on the books."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

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
    timeless_state,
)


@pytest.fixture(autouse=True)
def market(conn: Connection) -> None:
    """EUR/USD at 1.10 and USD/JPY at 150."""
    for symbol in ("EUR/USD", "USD/JPY"):
        instrument(conn, symbol)
    tick(conn, "EUR/USD", 0, "1.1", "1.1")
    tick(conn, "USD/JPY", 0, "150", "150")


def reverse_fill(conn: Connection, fill_id: int, external_id: str | None = None) -> Row:
    return one(
        conn,
        "select * from api.reverse_fill(%s, p_external_id => %s)",
        [fill_id, external_id],
    )


def reverse_entry(conn: Connection, entry_id: int, external_id: str | None = None) -> Row:
    return one(
        conn,
        "select * from api.reverse_entry(%s, p_external_id => %s)",
        [entry_id, external_id],
    )


FIGURES = ("balance", "credit", "unrealized_pnl", "equity", "margin_equity", "margin_used")

Trade = tuple[str, str, str, str, str]
"""Symbol, side, quantity, price, effect."""


def book(conn: Connection, account_id: int, trades: list[Trade]) -> list[int]:
    """Book trades with a commission of 1 each; the ids of the fills."""
    return [
        fill(conn, account_id, symbol, side, quantity, price, effect, "1")["fill_id"]
        for symbol, side, quantity, price, effect in trades
    ]


def held(conn: Connection, account_id: int) -> list[Row]:
    """The open positions, without what names the account or changes as time passes."""
    left_out = {"account_id", "price_age"}
    return [
        {name: value for name, value in row.items() if name not in left_out}
        for row in positions(conn, account_id)
    ]


def test_a_reversed_open_invents_no_profit(conn: Connection) -> None:
    account_id = account(conn)
    first = fill(conn, account_id, "EUR/USD", "buy", "100", "100")
    fill(conn, account_id, "EUR/USD", "buy", "100", "110")
    reverse_fill(conn, first["fill_id"])
    (position,) = positions(conn, account_id)
    assert (position["quantity"], position["average_price"]) == (D("100"), D("110"))
    assert state(conn, account_id)["balance"] == D("10000.00")
    assert_sound(conn)


EUR = "EUR/USD"
CASES: dict[str, tuple[str, str, list[Trade], int]] = {
    "an open that was added to": (
        "USD", "netting", [(EUR, "buy", "10", "1", "auto"), (EUR, "buy", "30", "1.2", "auto")], 0,
    ),
    "the only fill": ("USD", "netting", [(EUR, "buy", "10", "1", "auto")], 0),
    "an open that was partly closed later": (
        "USD", "netting",
        [(EUR, "buy", "30", "1", "auto"), (EUR, "buy", "30", "1.3", "auto"),
         (EUR, "sell", "20", "1.4", "auto")], 0,
    ),
    "a close": (
        "USD", "netting", [(EUR, "buy", "30", "1", "auto"), (EUR, "sell", "30", "1.4", "auto")], 1,
    ),
    "a partial close before another": (
        "USD", "netting",
        [(EUR, "buy", "30", "1.1234567891", "auto"), (EUR, "sell", "7", "1.4", "auto"),
         (EUR, "sell", "11", "1.2", "auto")], 1,
    ),
    "a flip": (
        "USD", "netting",
        [(EUR, "buy", "30", "1", "auto"), (EUR, "sell", "70", "1.4", "auto"),
         (EUR, "buy", "10", "1.2", "auto")], 1,
    ),
    "an open whose close then opens": (
        "USD", "netting", [(EUR, "buy", "30", "1", "auto"), (EUR, "sell", "20", "1.4", "auto")], 0,
    ),
    "a converted close with mark-up": (
        "JPY", "netting",
        [(EUR, "buy", "3000", "1", "auto"), (EUR, "sell", "1000", "1.07", "auto"),
         (EUR, "sell", "500", "0.93", "auto")], 1,
    ),
    "a long of a hedging account": (
        "USD", "hedging",
        [(EUR, "buy", "30", "1", "open"), (EUR, "sell", "10", "1.2", "open"),
         (EUR, "buy", "20", "1.3", "open")], 0,
    ),
    "a close of a hedging account": (
        "JPY", "hedging",
        [(EUR, "sell", "3000", "1", "open"), (EUR, "buy", "1000", "1.2", "close"),
         (EUR, "buy", "500", "1.01", "close")], 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_position_and_balance_are_those_of_an_account_without_the_fill(
    conn: Connection, case: str
) -> None:
    currency, mode, trades, number = CASES[case]
    terms = {"mode": mode, "markup": "0.01", "scale": 0 if currency == "JPY" else 2}
    corrected, twin = account(conn, currency, **terms), account(conn, currency, **terms)
    ids = book(conn, corrected, trades)
    book(conn, twin, trades[:number] + trades[number + 1 :])

    reversal = reverse_fill(conn, ids[number])
    assert (reversal["effect"], reversal["reverses_fill_id"]) == ("reversal", ids[number])
    ours, theirs = state(conn, corrected), state(conn, twin)
    assert [ours[name] for name in FIGURES] == [theirs[name] for name in FIGURES]
    assert held(conn, corrected) == held(conn, twin)

    tick(conn, EUR, 1, "1.5", "1.51")
    ours, theirs = state(conn, corrected), state(conn, twin)
    assert [ours[name] for name in FIGURES] == [theirs[name] for name in FIGURES]
    assert_sound(conn)


@pytest.mark.parametrize("number", range(5))
def test_the_other_fills_keep_the_rates_that_they_were_booked_at(
    conn: Connection, number: int
) -> None:
    """Prices move between the fills: booked now, the twin's fills would realize another amount."""
    corrected, twin = (account(conn, "JPY", markup="0.01", scale=0) for _ in range(2))
    ids = []
    for place, (side, quantity, rate) in enumerate(
        [("buy", "900", "140"), ("buy", "300", "150"), ("sell", "700", "155.555"),
         ("sell", "800", "161"), ("buy", "100", "170")]
    ):  # fmt: skip
        tick(conn, "USD/JPY", place + 1, rate, rate)
        trade = (EUR, side, quantity, f"1.{place}", "auto")
        ids += book(conn, corrected, [trade])
        if place != number:
            book(conn, twin, [trade])

    reverse_fill(conn, ids[number])
    ours, theirs = state(conn, corrected), state(conn, twin)
    assert [ours[name] for name in FIGURES] == [theirs[name] for name in FIGURES]
    assert held(conn, corrected) == held(conn, twin)
    assert held(conn, corrected)[0]["price_pnl"] is not None
    assert_sound(conn)


def test_without_the_fill_that_had_no_rate_the_price_pnl_becomes_known(conn: Connection) -> None:
    instrument(conn, "USD/CHF")
    account_id = account(conn, "CHF")
    unrated = fill(conn, account_id, EUR, "buy", "100", "1")
    tick(conn, "USD/CHF", 1, "0.9", "0.9")
    fill(conn, account_id, EUR, "buy", "100", "1")
    (position,) = positions(conn, account_id)
    assert (position["unrealized_pnl"], position["price_pnl"]) == (D("18.00"), None)

    reverse_fill(conn, unrated["fill_id"])
    tick(conn, "USD/CHF", 2, "0.8", "0.8")
    (position,) = positions(conn, account_id)
    assert (position["price_pnl"], position["conversion_pnl"]) == (D("9.00"), D("-1.00"))
    assert_sound(conn)


def test_every_fill_can_be_taken_back_one_by_one(conn: Connection) -> None:
    account_id = account(conn, "JPY", scale=0, markup="0.005")
    sides = ["buy", "sell", "sell", "buy", "buy"]
    ids = book(conn, account_id, [(EUR, side, "37", "1.2345", "auto") for side in sides])
    for fill_id in (ids[1], ids[3], ids[0], ids[4], ids[2]):
        reverse_fill(conn, fill_id)
        assert_sound(conn)
    assert positions(conn, account_id) == []
    assert state(conn, account_id)["equity"] == D("10000")
    events = every(conn, "select event_seq from api.fills order by fill_id")
    assert [event["event_seq"] for event in events] == list(range(1, 11))


def test_the_commission_comes_back_as_an_entry_that_names_the_one_it_reverses(
    conn: Connection,
) -> None:
    account_id = account(conn)
    (fill_id,) = book(conn, account_id, [(EUR, "buy", "10", "1", "auto")])
    reversal = reverse_fill(conn, fill_id)
    assert reversal["commission"] == D("-1.00")
    paid, returned = every(conn, "select * from api.entries where kind = 'commission'")
    assert (paid["amount"], returned["amount"]) == (D("-1.00"), D("1.00"))
    assert returned["reverses_entry_id"] == paid["entry_id"]
    assert returned["fill_id"] == reversal["fill_id"]


def test_a_fill_is_reversed_once_and_answered_again_on_a_closed_account(conn: Connection) -> None:
    account_id = account(conn)
    booked = fill(conn, account_id, EUR, "buy", "10", "1")
    first = reverse_fill(conn, booked["fill_id"])
    conn.execute("select api.close_account(%s)", [account_id])
    assert reverse_fill(conn, booked["fill_id"]) == first
    assert len(every(conn, "select from api.fills")) == 2


def test_an_entry_is_taken_back_by_its_opposite_of_the_same_kind(conn: Connection) -> None:
    account_id = account(conn, deposit="100")
    before = state(conn, account_id)
    kinds = [
        ("deposit", "50"), ("withdrawal", "-20"), ("credit", "30"), ("commission", "-2"),
        ("financing", "-3"), ("dividend", "4"), ("adjustment", "-5"), ("realized_pnl", "6"),
    ]  # fmt: skip
    for kind, amount in kinds:
        booked = entry(conn, account_id, kind, amount)
        reversal = reverse_entry(conn, booked["entry_id"])
        assert (reversal["kind"], reversal["amount"]) == (kind, -D(amount))
        assert reversal["reverses_entry_id"] == booked["entry_id"]
        assert reverse_entry(conn, booked["entry_id"]) == reversal
    after = state(conn, account_id)
    assert [after[name] for name in FIGURES] == [before[name] for name in FIGURES]
    assert after["version"] == before["version"] + 2 * len(kinds)
    assert_sound(conn)


def refused(
    conn: Connection, account_id: int, action: Callable[..., Row], *arguments: Any
) -> str | None:
    """The SQLSTATE of an action that must change nothing."""
    before = timeless_state(conn, account_id)
    with pytest.raises(psycopg.Error) as error:
        action(conn, *arguments)
    assert error.value.diag.message_hint
    assert timeless_state(conn, account_id) == before
    assert_sound(conn)
    return error.value.sqlstate


def test_what_cannot_be_reversed_is_refused_by_code(conn: Connection) -> None:
    account_id = account(conn)
    first = fill(conn, account_id, EUR, "buy", "10", "1", commission="1", external_id="taken")
    second = fill(conn, account_id, EUR, "sell", "4", "1.1")
    deposit = entry(conn, account_id, "deposit", "1", external_id="taken too")
    assert refused(conn, account_id, reverse_fill, -1) == "TM150"
    assert refused(conn, account_id, reverse_entry, -1) == "TM151"
    assert refused(conn, account_id, reverse_fill, first["fill_id"], "taken") == "TM111"
    assert refused(conn, account_id, reverse_entry, deposit["entry_id"], "taken too") == "TM111"
    assert refused(conn, account_id, reverse_fill, first["fill_id"], " ") == "TM114"
    assert refused(conn, account_id, reverse_entry, deposit["entry_id"], "") == "TM114"
    commission = one(conn, "select entry_id from api.entries where kind = 'commission'")
    assert refused(conn, account_id, reverse_entry, commission["entry_id"]) == "TM153"

    reversal = reverse_fill(conn, second["fill_id"])
    assert refused(conn, account_id, reverse_fill, reversal["fill_id"]) == "TM152"
    returned = reverse_entry(conn, deposit["entry_id"])
    assert refused(conn, account_id, reverse_entry, returned["entry_id"]) == "TM152"

    fill(conn, account_id, EUR, "sell", "10", "1.2")
    conn.execute("select api.close_account(%s)", [account_id])
    assert refused(conn, account_id, reverse_fill, first["fill_id"]) == "TM102"
    opening = one(conn, "select min(entry_id) as entry_id from api.entries")
    assert refused(conn, account_id, reverse_entry, opening["entry_id"]) == "TM102"


@pytest.mark.parametrize("function", ["api.reverse_fill", "api.reverse_entry"])
@pytest.mark.parametrize("event_at", ["null", "'infinity'", "'1969-12-31'"])
def test_an_impossible_time_is_refused(conn: Connection, function: str, event_at: str) -> None:
    account_id = account(conn)
    fill(conn, account_id, EUR, "buy", "10", "1")

    def reverse(conn: Connection) -> Row:
        return one(conn, f"select * from {function}(1, {event_at})")

    assert refused(conn, account_id, reverse) == "TM113"


@pytest.mark.parametrize("action", [reverse_fill, reverse_entry])
def test_a_transaction_with_an_old_snapshot_is_refused(
    conn: Connection, action: Callable[..., Row]
) -> None:
    account_id = account(conn)
    fill(conn, account_id, EUR, "buy", "10", "1")

    def reverse(conn: Connection) -> Row:
        with conn.transaction():
            conn.execute("set transaction isolation level repeatable read")
            return action(conn, 1)

    assert refused(conn, account_id, reverse) == "TM141"


def test_the_external_id_of_a_reversal_names_no_trade(conn: Connection) -> None:
    account_id = account(conn)
    booked = fill(conn, account_id, EUR, "buy", "10", "1")
    reverse_fill(conn, booked["fill_id"], "taken")

    def trade(conn: Connection) -> Row:
        return fill(conn, account_id, EUR, "sell", "10", "1", external_id="taken")

    assert refused(conn, account_id, trade) == "TM111"


def test_the_external_id_of_a_reversal_names_no_other_entry(conn: Connection) -> None:
    account_id = account(conn)
    booked = entry(conn, account_id, "credit", "5")
    reverse_entry(conn, booked["entry_id"], "taken")

    def take_credit(conn: Connection) -> Row:
        return entry(conn, account_id, "credit", "-5", external_id="taken")

    assert refused(conn, account_id, take_credit) == "TM111"


def test_an_open_of_a_hedging_account_stays_while_a_later_fill_has_closed_it(
    conn: Connection,
) -> None:
    account_id = account(conn, mode="hedging")
    opened, closed = book(
        conn, account_id, [(EUR, "buy", "10", "1", "open"), (EUR, "sell", "4", "1.1", "close")]
    )
    assert refused(conn, account_id, reverse_fill, opened) == "TM154"
    reverse_fill(conn, closed)
    reverse_fill(conn, opened)
    assert state(conn, account_id)["equity"] == D("10000.00")


def test_a_later_fill_that_would_realize_without_a_rate_is_reversed_first(
    conn: Connection,
) -> None:
    instrument(conn, "USD/CHF")
    account_id = account(conn, "CHF")
    opened = fill(conn, account_id, EUR, "sell", "10", "2")
    fill(conn, account_id, EUR, "buy", "10", "2")  # realizes nothing, so needs no rate
    later = fill(conn, account_id, EUR, "sell", "10", "3")
    assert later["conversion_rate"] is None
    assert refused(conn, account_id, reverse_fill, opened["fill_id"]) == "TM133"
    reverse_fill(conn, later["fill_id"])
    reverse_fill(conn, opened["fill_id"])
    assert positions(conn, account_id)[0]["quantity"] == D("10")
    assert_sound(conn)


def test_a_realized_pnl_beyond_all_bounds_is_refused_by_code(conn: Connection) -> None:
    account_id = account(conn)
    fill(conn, account_id, EUR, "buy", "99999999999999", "1")

    def close(conn: Connection) -> Row:
        return fill(conn, account_id, EUR, "sell", "99999999999999", "999999")

    assert refused(conn, account_id, close) == "TM134"
