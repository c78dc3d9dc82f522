"""The independent calculation of bars gives what was worked out by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.curve_oracle import (
    Account,
    Bar,
    Entry,
    Fill,
    Instrument,
    Source,
    Tick,
    bars,
    read,
    stored_bars,
)
from tests.factories import Connection, D, account, entry, fill, instrument, state, ticks

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
EURUSD, USDJPY, EURJPY = 1, 2, 3
INSTRUMENTS = [
    Instrument(EURUSD, "EUR/USD", "EUR", "USD", D("1")),
    Instrument(USDJPY, "USD/JPY", "USD", "JPY", D("1")),
    Instrument(EURJPY, "EUR/JPY", "EUR", "JPY", D("1")),
]


class Books:
    """Says what happens, in seconds after START."""

    def __init__(self, currency: str = "USD", scale: int = 2) -> None:
        self.source = Source(INSTRUMENTS, [Account(1, currency, scale)])

    def deposit(self, second: float, amount: str) -> None:
        self.entry(second, "deposit", amount)

    def entry(self, second: float, kind: str, amount: str) -> None:
        self.source.entries.append(Entry(1, kind, D(amount), at(second)))

    def fill(self, second: float, instrument_id: int, quantity: str, cost: str) -> None:
        self.source.fills.append(
            Fill(1, instrument_id, "net", D(quantity), D(cost), at(second)),
        )

    def tick(self, second: float, instrument_id: int, bid: str, ask: str) -> None:
        number = len(self.source.ticks) + 1
        self.source.ticks.append(Tick(instrument_id, at(second), number, D(bid), D(ask)))

    def bars(self, max_instants: int | None = None) -> list[Bar]:
        return bars(self.source, max_instants=max_instants)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def seen(bar: Bar, *columns: str) -> tuple[Any, ...]:
    return tuple(getattr(bar, column) for column in columns)


def prices(bar: Bar) -> tuple[Any, ...]:
    return seen(bar, "open", "high", "low", "close")


def keys(found: list[Bar]) -> list[tuple[int, int]]:
    """Second after START and part."""
    return [(int((bar.bucket_at - START).total_seconds()), bar.part) for bar in found]


def long_books() -> Books:
    """10,000 deposited, EUR/USD at 1.1000 / 1.1002, and 1,000 bought at the ask."""
    books = Books()
    books.deposit(0, "10000")
    books.tick(1, EURUSD, "1.1000", "1.1002")
    books.fill(2, EURUSD, "1000", "1100.2")
    return books


def test_a_long_is_followed_tick_by_tick() -> None:
    books = long_books()
    books.tick(3.1, EURUSD, "1.1050", "1.1052")  # 4.80
    books.tick(3.5, EURUSD, "1.0900", "1.0902")  # -10.20
    books.tick(3.9, EURUSD, "1.1010", "1.1012")  # 0.80
    deposited, bought, moved = books.bars()
    assert deposited == Bar(
        1, at(0), 1, D("0"), D("0"), D("0"), D("0"), D("10000"), D("10000"), D("1"), D("10000"),
        D("0"), D("0"), True, False,
    )  # fmt: skip
    assert prices(bought) == (D("0"), D("0"), D("-0.2"), D("-0.2"))
    assert moved == Bar(
        1,
        at(3),
        0,
        D("-0.2"),
        D("4.8"),
        D("-10.2"),
        D("0.8"),
        D("10000"),
        D("10000"),
        D("1"),
        D("10000"),
        D("15"),
        D("0.001499280345"),
        True,
        False,
    )  # fmt: skip  15 ÷ 10004.8
    assert keys([deposited, bought, moved]) == [(0, 1), (2, 0), (3, 0)]


def test_a_second_in_which_nothing_changed_has_no_bar() -> None:
    books = long_books()
    books.tick(3, EURUSD, "1.1000", "1.1007")  # a long does not see the ask
    books.tick(4, USDJPY, "150", "150")
    assert keys(books.bars()) == [(0, 1), (2, 0)]


def test_a_second_that_returns_to_where_it_began_has_a_bar() -> None:
    books = long_books()
    books.tick(3.1, EURUSD, "1.1010", "1.1012")
    books.tick(3.2, EURUSD, "1.1000", "1.1002")
    *_, bar = books.bars()
    assert prices(bar) == (D("-0.2"), D("0.8"), D("-0.2"), D("-0.2"))
    assert bar.fall == D("1")


def test_the_open_counts_for_the_fall() -> None:
    books = long_books()
    books.tick(3, EURUSD, "1.0900", "1.0902")
    *_, bar = books.bars()
    assert seen(bar, "high", "fall") == (D("-0.2"), D("10"))


def test_a_later_high_is_no_fall() -> None:
    books = long_books()
    books.tick(3.1, EURUSD, "1.0998", "1.1000")  # -0.4, fall 0.2
    books.tick(3.2, EURUSD, "1.1102", "1.1104")  # 10
    books.tick(3.3, EURUSD, "1.1101", "1.1103")  # 9.9, fall 0.1
    *_, bar = books.bars()
    assert seen(bar, "high", "low", "fall") == (D("10"), D("-0.4"), D("0.2"))
    assert bar.fall_pct == D("0.000020000400")  # 0.2 ÷ 9999.8


def test_the_deepest_fall_in_percent_may_be_another_than_in_money() -> None:
    books = Books()
    books.deposit(0, "100")
    books.tick(0.5, EURUSD, "1", "1")
    books.fill(1, EURUSD, "100", "100")
    books.tick(2.1, EURUSD, "0.9", "0.9")  # 100 → 90: 10, 10 %
    books.tick(2.2, EURUSD, "3.0", "3.0")
    books.tick(2.3, EURUSD, "2.8", "2.8")  # 300 → 280: 20, 6.7 %
    *_, bar = books.bars()
    assert seen(bar, "fall", "fall_pct") == (D("20"), D("0.1"))


def test_a_deposit_in_mid_second_ends_the_bar() -> None:
    books = long_books()
    books.tick(3.1, EURUSD, "1.1010", "1.1012")  # 0.8
    books.deposit(3.5, "500")
    books.tick(3.9, EURUSD, "1.1020", "1.1022")  # 1.8
    *_, before, after = books.bars()
    assert keys([before, after]) == [(3, 0), (3, 1)]
    assert prices(before) == (D("-0.2"), D("0.8"), D("-0.2"), D("0.8"))
    assert prices(after) == (D("0.8"), D("1.8"), D("0.8"), D("1.8"))
    assert seen(before, "balance", "net_flow") == (D("10000"), D("10000"))
    assert seen(after, "balance", "net_flow") == (D("10500"), D("10500"))
    assert seen(before, "base_index", "base_equity") == (D("1"), D("10000"))
    assert seen(after, "base_index", "base_equity") == (D("1.00008"), D("10500.8"))


def test_what_ticks_at_the_instant_of_a_flow_belongs_to_the_bar_that_it_ends() -> None:
    books = long_books()
    books.deposit(3.5, "500")
    books.tick(3.5, EURUSD, "1.1010", "1.1012")
    *_, before, after = books.bars()
    assert keys([before, after]) == [(3, 0), (3, 1)]
    assert prices(before) == (D("-0.2"), D("0.8"), D("-0.2"), D("0.8"))
    assert prices(after) == (D("0.8"),) * 4


def test_a_part_in_which_nothing_happened_leaves_its_number_free() -> None:
    books = long_books()
    books.deposit(3.2, "500")
    books.entry(3.6, "credit", "50")
    books.entry(3.6, "withdrawal", "-20")
    *_, first, second = books.bars()
    assert keys([first, second]) == [(3, 1), (3, 2)]
    assert seen(first, "balance", "net_flow") == (D("10500"), D("10500"))
    assert seen(second, "balance", "net_flow") == (D("10480"), D("10530"))


def test_an_entry_that_is_no_flow_is_performance() -> None:
    books = long_books()
    books.entry(3, "financing", "-1.25")
    *_, bar = books.bars()
    assert keys([bar]) == [(3, 0)]
    assert prices(bar) == (D("-0.2"), D("-0.2"), D("-1.45"), D("-1.45"))
    assert seen(bar, "balance", "net_flow") == (D("9998.75"), D("10000"))


def test_a_fill_that_changes_nothing_has_a_bar() -> None:
    books = long_books()
    books.fill(3, EURUSD, "100", "110")  # at the bid
    *_, bar = books.bars()
    assert keys([bar]) == [(3, 0)]
    assert prices(bar) == (D("-0.2"),) * 4


def test_ticks_of_one_instant_are_applied_together_and_the_last_of_an_instrument_counts() -> None:
    books = Books("JPY", 0)
    books.tick(0.1, EURUSD, "1.1", "1.1")
    books.tick(0.1, USDJPY, "100", "100")
    books.deposit(0.5, "10000")
    books.fill(1, EURUSD, "100", "110")
    books.fill(1, USDJPY, "10", "1000")
    books.tick(2.5, USDJPY, "200", "200")
    books.tick(2.5, USDJPY, "110", "110")  # 10 × 110 − 1000
    books.tick(2.5, EURUSD, "1.2", "1.2")  # (100 × 1.2 − 110) × 110
    *_, bar = books.bars()
    assert prices(bar) == (D("0"), D("1200"), D("0"), D("1200"))


def test_a_late_tick_counts_where_it_belongs() -> None:
    books = long_books()
    books.tick(4, EURUSD, "1.1010", "1.1012")
    books.tick(3, EURUSD, "1.1002", "1.1003")
    *_, late, last = books.bars()
    assert keys([late, last]) == [(3, 0), (4, 0)]
    assert (late.close, last.open, last.close) == (D("0"), D("0"), D("0.8"))


def busy_second(books: Books) -> None:
    """Eight instants; first, last, lowest and highest bid and ask are at .0 .7 .2 .1 .3 .1."""
    for tenth, bid, ask in [
        (0, "1.1000", "1.1005"),
        (1, "1.1040", "1.1045"),
        (2, "1.0960", "1.0965"),
        (3, "1.0960", "1.0961"),
        (4, "1.1020", "1.1025"),
        (5, "1.0980", "1.0985"),
        (6, "1.1040", "1.1045"),
        (7, "1.1010", "1.1015"),
    ]:
        books.tick(3 + tenth / 10, EURUSD, bid, ask)


def test_six_ticks_at_most_stand_for_a_busy_second() -> None:
    books = long_books()
    busy_second(books)
    thinned, whole = books.bars(6)[-1], books.bars()[-1]
    assert prices(thinned) == prices(whole) == (D("-0.2"), D("3.8"), D("-4.2"), D("0.8"))
    assert seen(thinned, "fall", "is_thinned") == (D("8"), True)
    assert not whole.is_thinned
    assert books.bars(8)[-1] == whole


def test_what_thinning_leaves_out_is_no_instant_of_another_instrument() -> None:
    books = Books()
    books.deposit(0, "10000")
    books.tick(1, EURUSD, "1.1", "1.1")
    books.tick(1, USDJPY, "100", "100")
    books.fill(2, EURUSD, "10000", "11000")
    books.fill(2, USDJPY, "10000", "1000000")
    busy_second(books)
    books.tick(3.45, USDJPY, "200", "200")  # 5000 more; EUR/USD is at -40 of .3
    books.tick(3.65, USDJPY, "100", "100")  # and, if nothing is left out, at 40 of .6
    whole, thinned = books.bars()[-1], books.bars(6)[-1]
    assert whole.high == D("5040")
    assert thinned.high == D("4960")
    assert thinned.close == whole.close == D("10")


def test_only_bars_of_who_is_touched_by_thinning_are_marked() -> None:
    books = Books()
    books.tick(0, USDJPY, "100", "100")
    books.tick(0, EURUSD, "1.1", "1.1")
    books.deposit(1, "10000")
    books.fill(2, USDJPY, "100", "10000")
    books.tick(3.5, USDJPY, "101", "101")
    busy_second(books)
    assert not books.bars(6)[-1].is_thinned
    books.fill(2.5, EURUSD, "1", "1.1")
    assert books.bars(6)[-1].is_thinned


def test_thinning_of_the_conversion_pair_marks_the_bar() -> None:
    books = Books("EUR")
    books.tick(0, USDJPY, "100", "100")
    books.tick(0, EURUSD, "1.1", "1.1")
    books.deposit(1, "10000")
    books.tick(1.5, EURJPY, "110", "110")
    books.fill(2, EURJPY, "1", "110")
    busy_second(books)
    books.tick(3.5, EURJPY, "120", "120")
    assert not books.bars(6)[-1].is_thinned  # the yen is converted by EUR/JPY itself
    del books.source.ticks[2]
    assert books.bars(6)[-1].is_thinned  # until it ticks, USD is the pivot


def test_equity_below_zero_ends_the_index_until_the_next_flow_begins_anew() -> None:
    books = Books()
    books.deposit(0, "100")
    books.tick(0.5, EURUSD, "1", "1")
    books.fill(1, EURUSD, "1000", "1000")
    books.tick(2, EURUSD, "0.95", "0.95")  # 50
    books.tick(3.1, EURUSD, "0.90", "0.90")  # 0: not above zero
    books.tick(3.2, EURUSD, "0.98", "0.98")  # 80
    books.tick(4, EURUSD, "0.97", "0.97")  # 70: above zero, still unknown
    books.deposit(5, "30")  # 100
    books.tick(6, EURUSD, "0.98", "0.98")  # 110
    found = dict(zip(keys(books.bars()), books.bars(), strict=True))
    index = ("base_index", "base_equity", "fall_pct")
    assert seen(found[2, 0], *index) == (D("1"), D("100"), D("0.5"))
    assert seen(found[3, 0], *index) == (None, None, None)
    assert found[3, 0].fall == D("50")
    assert seen(found[4, 0], *index) == (None, None, None)
    assert seen(found[5, 1], *index) == (D("1"), D("100"), D("0"))
    assert seen(found[6, 0], *index) == (D("1"), D("100"), D("0"))


def test_a_withdrawal_of_everything_ends_the_index() -> None:
    books = Books()
    books.deposit(0, "100")
    books.entry(1, "withdrawal", "-100")
    books.deposit(2, "70")
    first, emptied, anew = books.bars()
    assert seen(first, "base_index", "base_equity") == (D("1"), D("100"))
    assert seen(emptied, "base_index", "base_equity", "fall_pct") == (None, None, None)
    assert seen(anew, "base_index", "base_equity") == (D("1"), D("70"))


def test_the_index_is_chained_and_rounded_at_each_flow() -> None:
    books = Books()
    books.deposit(0, "300")
    books.entry(1, "dividend", "100")  # 4/3
    books.deposit(2, "200")  # from 400 to 600
    books.entry(3, "dividend", "6")
    books.entry(4, "withdrawal", "-306")  # 1.333333333333 × 606 ÷ 600
    _, _, second, earned, third = books.bars()
    assert seen(second, "base_index", "base_equity") == (D("1.333333333333"), D("600"))
    assert seen(earned, "base_index", "base_equity") == (D("1.333333333333"), D("600"))
    assert seen(third, "base_index", "base_equity") == (D("1.346666666666"), D("300"))


def test_a_position_without_a_price_makes_equity_unknown() -> None:
    books = Books()
    books.deposit(0, "1000")
    books.fill(1.5, EURUSD, "100", "110")
    books.tick(2.2, EURUSD, "1.2", "1.2")
    books.tick(2.6, EURUSD, "1.1", "1.1")
    _, unpriced, priced = books.bars()
    assert prices(unpriced) == (D("0"), D("0"), D("0"), None)
    assert seen(unpriced, "fall", "fall_pct", "is_priced") == (D("0"), D("0"), False)
    assert prices(priced) == (None, D("10"), D("0"), D("0"))
    assert seen(priced, "fall", "is_priced") == (D("10"), False)
    assert seen(priced, "base_index", "base_equity") == (D("1"), D("1000"))
    assert priced.fall_pct == D("0.009900990099")


def test_a_bar_that_knows_no_equity_at_all_has_no_figures_of_it() -> None:
    books = Books()
    books.deposit(0, "1000")
    books.fill(1, EURUSD, "100", "110")
    books.entry(2, "financing", "-1")
    *_, bar = books.bars()
    assert prices(bar) == (None,) * 4
    assert seen(bar, "fall", "fall_pct", "is_priced") == (None, None, False)
    assert seen(bar, "balance", "net_flow") == (D("999"), D("1000"))


def test_a_flow_at_which_equity_is_unknown_ends_the_index() -> None:
    books = Books()
    books.deposit(0, "1000")
    books.fill(1, EURUSD, "100", "110")
    books.deposit(2, "1000")
    books.tick(3, EURUSD, "1.2", "1.2")
    books.deposit(4, "10")
    *_, unknown, priced, anew = books.bars()
    assert keys([unknown, priced, anew]) == [(2, 1), (3, 0), (4, 1)]
    assert [bar.base_index for bar in (unknown, priced, anew)] == [None, None, D("1")]
    assert anew.base_equity == D("2020")


def test_a_position_without_a_rate_waits_for_the_path_and_takes_a_better_one() -> None:
    books = Books("JPY", 0)
    books.deposit(0, "1000")
    books.tick(0.5, EURUSD, "2", "2")
    books.fill(1, EURUSD, "100", "100")
    books.tick(2, EURJPY, "300", "300")  # USD → EUR → JPY: 150
    books.tick(3, USDJPY, "160", "160")  # the direct pair takes over
    books.tick(4, EURJPY, "400", "400")  # and the pivot no longer counts
    _, bought, pivot, direct = books.bars()
    assert bought.close is None
    assert pivot.close == D("15000")
    assert direct.close == D("16000")


def test_a_conversion_is_rounded_at_12_decimals_and_an_amount_at_the_money_scale() -> None:
    books = Books("EUR")
    books.deposit(0, "1000")
    books.tick(0.5, EURUSD, "3", "3")
    books.fill(1, EURUSD, "1000000", "0.015")  # (3,000,000 − 0.015) × 0.333333333333
    *_, bar = books.bars()
    assert bar.close == D("999999.99")  # 999999.994; an exact third would make 999999.995


def test_a_cost_without_a_quantity_still_counts() -> None:
    books = long_books()
    books.tick(3, EURUSD, "1.1050", "1.1052")
    books.fill(4, EURUSD, "-1000", "-1100")  # booked at another average cost
    books.entry(4, "realized_pnl", "5")
    books.tick(5, EURUSD, "2", "2")
    *_, bar = books.bars()
    assert keys([bar]) == [(4, 0)]
    assert bar.close == D("4.8")  # 5 − 0.2


def test_bars_end_where_they_are_closed_to_and_begin_where_they_are_wanted() -> None:
    books = long_books()
    books.tick(3, EURUSD, "1.1050", "1.1052")
    books.tick(4, EURUSD, "1.1060", "1.1062")
    everything = books.bars()
    assert bars(books.source, at(4)) == everything[:-1]
    assert bars(books.source, at(4), since=at(2)) == everything[1:-1]


def test_what_a_database_has_booked_ends_at_its_account_states(conn: Connection) -> None:
    for symbol in ("XAU/USD", "EUR/USD", "EUR/GBP"):
        instrument(conn, symbol, contract_size="100")
    for number in range(40):
        move = D("0.0007") * (number * 7 % 11)
        ticks(
            conn,
            ("EUR/USD", number / 3, str(D("1.1") + move), str(D("1.1002") + move)),
            ("EUR/GBP", number / 5, str(D("0.85") - move), str(D("0.8501") - move)),
            ("XAU/USD", number / 7, str(1300 + 1000 * move), str(1301 + 1000 * move)),
        )
    ids = [account(conn, "USD", markup="0.01"), account(conn, "GBP", mode="hedging")]
    fill(conn, ids[0], "XAU/USD", "buy", "3", "1303.17", commission="2")
    fill(conn, ids[0], "XAU/USD", "sell", "1", "1305.93")
    fill(conn, ids[0], "EUR/GBP", "sell", "70", "0.8533")
    fill(conn, ids[1], "EUR/USD", "buy", "90", "1.1013", "open")
    fill(conn, ids[1], "EUR/USD", "sell", "40", "1.1029", "open")
    entry(conn, ids[1], "credit", "17")
    entry(conn, ids[1], "withdrawal", "-170")
    last = {bar.account_id: bar for bar in bars(read(conn))}
    for account_id in ids:
        bar, now = last[account_id], state(conn, account_id)
        assert bar.close + bar.net_flow == now["equity"]
        assert bar.balance == now["balance"]
    assert stored_bars(conn) == []
