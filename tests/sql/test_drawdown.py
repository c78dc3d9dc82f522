"""The equity curve in buckets, and the drawdowns in it."""

import random
import statistics
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.factories import Connection, D, Row, account, every, instrument
from tests.sql.curves import DAY, Curve, buckets, deepest, fraction, random_curve, raw

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ONE_DAY = timedelta(days=1)
FUNCTIONS = [
    "equity_curve",
    "drawdown_series",
    "rolling_drawdown",
    "drawdown_episodes",
    "performance",
]
WITH_WIDTH = {"equity_curve", "drawdown_series", "rolling_drawdown"}


def call(conn: Connection, function: str, *arguments: Any) -> list[Row]:
    marks = ", ".join(["%s"] * len(arguments))
    return every(conn, f"select * from api.{function}({marks})", arguments)


def whole(conn: Connection, function: str, account_id: int, *arguments: Any) -> list[Row]:
    """A function over the month of the curves."""
    return call(conn, function, account_id, DAY - ONE_DAY, DAY + 60 * ONE_DAY, *arguments)


def empty_account(conn: Connection) -> int:
    return account(conn, deposit=None)


def daily(conn: Connection, *performances: object, deposit: int = 100) -> int:
    """An account that closes each day, from DAY on, at these, one bar a day."""
    curve = Curve().flow(deposit)
    for number, value in enumerate(performances):
        curve.move(DAY + number * ONE_DAY + 12 * HOUR, value)
    return curve.store(conn, empty_account(conn))


# the curve in buckets


@pytest.mark.parametrize("seed", range(4))
def test_a_curve_in_buckets_is_what_its_seconds_come_to(conn: Connection, seed: int) -> None:
    chance = random.Random(seed)
    account_id = random_curve(seed, 150, 40 * MINUTE).store(conn, empty_account(conn))
    for width in (SECOND, 7 * SECOND, MINUTE, 5 * MINUTE, HOUR, 5 * HOUR, ONE_DAY, 7 * ONE_DAY):
        begin = DAY + timedelta(seconds=chance.randrange(3 * 86400))
        end = begin + timedelta(seconds=chance.randrange(1, 4 * 86400), microseconds=5)
        ours = call(conn, "equity_curve", account_id, begin, end, width)
        assert ours == [
            {
                "bucket_at": members[0]["placed_at"],
                "open": members[0]["equity_open"],
                "high": max(bar["equity_high"] for bar in members),
                "low": min(bar["equity_low"] for bar in members),
                "close": members[-1]["equity_close"],
                "balance": members[-1]["balance"],
                "net_flow": members[-1]["net_flow"],
                "performance": members[-1]["close"],
                "growth_index": members[-1]["index_close"],
                "is_priced": True,
                "is_thinned": False,
            }
            for members in buckets(raw(conn, account_id, begin, end), width)
        ]


def test_a_range_is_cut_into_the_coarsest_stretches_that_fit_it(conn: Connection) -> None:
    conn.execute("set timezone to 'America/New_York'")
    begin = datetime(2026, 3, 1, 22, 58, 59, 500000, UTC)
    pieces = [
        (row["level"], row["from_at"].astimezone(UTC).strftime("%d %T"))
        for row in every(
            conn,
            "select * from equity.curve_pieces(%s, %s, 3)",
            [begin, datetime(2026, 3, 9, 1, 1, 1, 1, UTC)],
        )
    ]
    assert pieces == [
        (1, "01 22:59:00"),
        (2, "01 23:00:00"),
        (3, "02 00:00:00"),
        (2, "09 00:00:00"),
        (1, "09 01:00:00"),
        (0, "09 01:01:00"),
    ]


def test_months_are_those_of_utc(conn: Connection) -> None:
    conn.execute("set timezone to 'America/New_York'")
    curve = Curve().flow(100)
    for at in (datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)):
        curve.move(at, curve.performance + 1)
    account_id = curve.store(conn, empty_account(conn))
    rows = whole(conn, "equity_curve", account_id, "1 month")
    assert [(row["bucket_at"], row["close"]) for row in rows] == [
        (datetime(2026, 3, 1, tzinfo=UTC), 101),
        (datetime(2026, 4, 1, tzinfo=UTC), 102),
    ]
    rows = call(conn, "equity_curve", account_id, "-infinity", "infinity", "1 day")
    assert [row["close"] for row in rows] == [101, 102]


@pytest.mark.parametrize("points", [2, 3, 10, 100, 1000])
def test_a_chart_has_no_more_points_than_asked_for_and_every_extreme(
    conn: Connection, points: int
) -> None:
    account_id = random_curve(points, 200, 40 * MINUTE).store(conn, empty_account(conn))
    bars = raw(conn, account_id, DAY, DAY + 60 * ONE_DAY)
    for begin, end in (
        (DAY, DAY + 60 * ONE_DAY),
        (DAY + 3 * HOUR, DAY + 60 * ONE_DAY),
        ("-infinity", "infinity"),
    ):
        rows = call(conn, "equity_curve_points", account_id, begin, end, points)
        assert 1 <= len(rows) <= points
        if begin != DAY + 3 * HOUR:
            assert max(row["high"] for row in rows) == max(bar["equity_high"] for bar in bars)
            assert min(row["low"] for row in rows) == min(bar["equity_low"] for bar in bars)
            assert rows[-1]["close"] == bars[-1]["equity_close"]


@pytest.mark.parametrize("lasts", [timedelta(minutes=5), timedelta(hours=30)])
@pytest.mark.parametrize("begin", [DAY - 365 * ONE_DAY, DAY - ONE_DAY / 2, "-infinity"])
def test_a_chart_looks_closely_at_a_young_account(
    conn: Connection, begin: object, lasts: timedelta
) -> None:
    curve = Curve().flow(100)
    for step in range(101):
        curve.move(DAY + 23 * HOUR + lasts * step / 100, curve.performance + 1)
    account_id = curve.store(conn, empty_account(conn))
    rows = call(conn, "equity_curve_points", account_id, begin, DAY + 3 * ONE_DAY, 100)
    assert 40 <= len(rows) <= 100


# curves worked by hand


def test_a_loss_on_the_first_day_is_a_drawdown(conn: Connection) -> None:
    account_id = daily(conn, -10, -5, 20)
    rows = whole(conn, "drawdown_series", account_id, "1 day")
    assert [
        (row["high_water_mark"], row["drawdown"], row["drawdown_pct"], row["deepest"])
        for row in rows
    ] == [(0, 10, D("0.1"), 10), (0, 5, D("0.05"), 10), (20, 0, 0, 5)]
    assert whole(conn, "drawdown_episodes", account_id) == [
        {
            "peak_at": DAY + 12 * HOUR,
            "trough_at": DAY + 12 * HOUR,
            "recovered_at": DAY + 60 * HOUR,
            "depth": 10,
            "depth_pct": D("0.1"),
            "length": 2 * ONE_DAY,
            "time_to_recover": 2 * ONE_DAY,
            "is_open": False,
        }
    ]
    figures = one_performance(conn, account_id)
    assert (figures["max_drawdown"], figures["max_drawdown_pct"]) == (10, D("0.1"))
    assert (figures["net_profit"], figures["time_weighted_return"]) == (20, D("0.2"))
    assert (figures["recovery_factor"], figures["days"]) == (2, 3)
    assert (figures["best_day"], figures["best_return"]) == (
        date(2026, 3, 4),
        fraction(D("95"), D("120")) * -1,
    )
    assert (figures["worst_day"], figures["worst_return"]) == (date(2026, 3, 2), D("-0.1"))
    assert figures["longest_under_water"] == 2 * ONE_DAY


def one_performance(conn: Connection, account_id: int, *arguments: Any) -> Row:
    (row,) = whole(conn, "performance", account_id, *arguments)
    return row


def test_a_drawdown_that_never_recovers_is_open(conn: Connection) -> None:
    account_id = daily(conn, 10, -10, 0)
    (episode,) = whole(conn, "drawdown_episodes", account_id)
    assert episode == {
        "peak_at": DAY + 12 * HOUR,
        "trough_at": DAY + 36 * HOUR,
        "recovered_at": None,
        "depth": 20,
        "depth_pct": fraction(D("110"), D("90")),
        "length": 2 * ONE_DAY,
        "time_to_recover": None,
        "is_open": True,
    }


def test_a_flat_curve_has_no_drawdown(conn: Connection) -> None:
    account_id = daily(conn, 0, 0, 0)
    assert whole(conn, "drawdown_episodes", account_id) == []
    figures = one_performance(conn, account_id)
    assert (figures["max_drawdown"], figures["max_drawdown_pct"], figures["volatility"]) == (
        0,
        0,
        0,
    )
    assert (figures["sharpe_ratio"], figures["calmar_ratio"], figures["recovery_factor"]) == (
        None,
        None,
        None,
    )
    assert figures["longest_under_water"] == timedelta(0)


def test_below_zero_percent_is_unknown_and_money_is_not(conn: Connection) -> None:
    account_id = daily(conn, 10, -150, -50)
    rows = whole(conn, "drawdown_series", account_id, "1 day")
    assert [(row["drawdown"], row["drawdown_pct"]) for row in rows] == [
        (0, 0),
        (160, None),
        (60, None),
    ]
    (episode,) = whole(conn, "drawdown_episodes", account_id)
    assert (episode["depth"], episode["depth_pct"]) == (160, None)
    rolling = call(
        conn,
        "rolling_drawdown",
        [account_id],
        "USD",
        DAY - ONE_DAY,
        DAY + 9 * ONE_DAY,
        "2 days",
        "1 day",
    )
    assert [(row["max_drawdown"], row["max_drawdown_pct"]) for row in rolling] == [
        (0, 0),
        (160, None),
        (160, None),
    ]
    figures = one_performance(conn, account_id)
    assert (figures["max_drawdown"], figures["net_profit"]) == (160, -50)
    for name in ("time_weighted_return", "max_drawdown_pct", "sharpe_ratio", "ulcer_index"):
        assert figures[name] is None


def test_a_deposit_in_a_drawdown_changes_no_figure_in_money(conn: Connection) -> None:
    """Half the equity is lost, ten times as much comes, a tenth of all is lost."""
    curve = Curve().flow(100).move(DAY, 0).move(DAY + HOUR, -50).flow(450)
    curve.move(DAY + HOUR).move(DAY + 2 * HOUR, -100)
    account_id = curve.store(conn, empty_account(conn))
    (episode,) = whole(conn, "drawdown_episodes", account_id)
    assert (episode["depth"], episode["depth_pct"]) == (100, D("0.55"))
    figures = one_performance(conn, account_id)
    assert (figures["max_drawdown"], figures["max_drawdown_pct"]) == (100, D("0.55"))
    assert (figures["time_weighted_return"], figures["net_profit"]) == (D("-0.55"), -100)


def test_money_that_goes_in_a_drawdown_leaves_its_own_peak_in_percent(conn: Connection) -> None:
    """1000 halves; 400 go; 100 doubles, twice, and halves: performance has not come back."""
    curve = Curve().flow(1000).move(DAY, -500).flow(-400).move(DAY)
    for number, value in enumerate([-400, -200, -350], start=1):
        curve.move(DAY + number * HOUR, value)
    account_id = curve.store(conn, empty_account(conn))
    (episode,) = whole(conn, "drawdown_episodes", account_id)
    assert (episode["depth"], episode["depth_pct"], episode["is_open"]) == (500, D("0.5"), True)


def test_a_single_point_is_a_curve(conn: Connection) -> None:
    account_id = daily(conn, 5)
    figures = one_performance(conn, account_id)
    assert (figures["days"], figures["time_weighted_return"]) == (1, D("0.05"))
    assert (figures["volatility"], figures["sharpe_ratio"]) == (None, None)
    assert figures["max_drawdown"] == 0
    (row,) = whole(conn, "drawdown_series", account_id, "1 day")
    assert (row["high_water_mark"], row["drawdown"]) == (5, 0)


def test_a_range_without_bars_is_empty(conn: Connection) -> None:
    account_id = empty_account(conn)
    for function in FUNCTIONS[:-1]:
        width = ["1 day"] if function in WITH_WIDTH else []
        assert whole(conn, function, account_id, *width) == []
    figures = one_performance(conn, account_id)
    assert (figures["days"], figures["net_profit"], figures["max_drawdown"]) == (0, 0, 0)
    assert figures["time_weighted_return"] is None
    assert whole(conn, "equity_curve_points", account_id, 10) == []


def test_before_an_account_is_funded_bars_that_do_not_move_do_not_matter(conn: Connection) -> None:
    curve = Curve().move(DAY + HOUR).move(DAY + 2 * HOUR)
    curve.flow(100).move(DAY + 2 * HOUR, -10)
    account_id = curve.store(conn, empty_account(conn))
    assert one_performance(conn, account_id)["max_drawdown_pct"] == D("0.1")
    rows = whole(conn, "drawdown_series", account_id, "1 hour")
    assert [row["drawdown_pct"] for row in rows] == [0, D("0.1")]
    rows = whole(conn, "equity_curve", account_id, "1 hour")
    assert [row["growth_index"] for row in rows] == [None, D("0.9")]


def test_before_an_account_is_funded_a_move_makes_percent_unknown(conn: Connection) -> None:
    curve = Curve().move(DAY + HOUR, -1).flow(100).move(DAY + 2 * HOUR, -10)
    account_id = curve.store(conn, empty_account(conn))
    figures = one_performance(conn, account_id)
    assert (figures["max_drawdown"], figures["max_drawdown_pct"]) == (10, None)
    after = call(conn, "performance", account_id, DAY + 90 * MINUTE, DAY + ONE_DAY)
    assert after[0]["max_drawdown_pct"] == fraction(D("99"), D("90"))


def test_an_account_that_was_funded_once_is_not_unfunded_after_ruin(conn: Connection) -> None:
    curve = Curve().flow(100).move(DAY, -100).move(DAY + ONE_DAY)
    curve.flow(50).move(DAY + ONE_DAY, -110)
    account_id = curve.store(conn, empty_account(conn))
    (figures,) = call(conn, "performance", account_id, DAY + HOUR, DAY + 9 * ONE_DAY)
    assert (figures["max_drawdown"], figures["max_drawdown_pct"]) == (10, None)


def test_bars_without_a_price_are_skipped(conn: Connection) -> None:
    curve = Curve().flow(100).move(DAY, 10).unpriced(DAY + HOUR).move(DAY + 2 * HOUR, -10)
    account_id = curve.store(conn, empty_account(conn))
    rows = whole(conn, "drawdown_series", account_id, "1 hour")
    assert [(row["drawdown"], row["is_priced"]) for row in rows] == [
        (0, True),
        (None, False),
        (20, True),
    ]
    (episode,) = whole(conn, "drawdown_episodes", account_id)
    assert (episode["depth"], episode["depth_pct"]) == (20, fraction(D("110"), D("90")))
    figures = one_performance(conn, account_id)
    assert (figures["max_drawdown"], figures["is_priced"]) == (20, False)


def test_within_one_bucket_the_low_is_placed_by_the_fall(conn: Connection) -> None:
    """Below the old peak and back, and further below it than anything fell inside the bucket."""
    curve = Curve().flow(100).move(DAY, 0).move(DAY + MINUTE, -5)
    curve.move(DAY + 2 * MINUTE, -30, 20, 19).move(DAY + 3 * MINUTE, 20, 25, 5, 30)
    account_id = curve.store(conn, empty_account(conn))
    episodes = whole(conn, "drawdown_episodes", account_id)
    assert [
        (row["peak_at"], row["trough_at"], row["recovered_at"], row["depth"]) for row in episodes
    ] == [
        (DAY, DAY + 2 * MINUTE, DAY + 2 * MINUTE, 30),
        (DAY + 2 * MINUTE, DAY + 2 * MINUTE, DAY + 3 * MINUTE, 1),
        (DAY + 3 * MINUTE, DAY + 3 * MINUTE, DAY + 3 * MINUTE, 20),
    ]


# curves at random against the definition


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [SECOND, 90 * SECOND, HOUR, 6 * HOUR, ONE_DAY])
def test_the_series_under_water_is_what_the_definition_says(
    conn: Connection, seed: int, width: timedelta
) -> None:
    account_id = random_curve(seed, 60, 50 * MINUTE, flows=4).store(conn, empty_account(conn))
    begin, end = DAY + 5 * HOUR, DAY + 2 * ONE_DAY + 13 * SECOND
    bars = raw(conn, account_id, begin, end)
    seen: list[Row] = []
    expected = []
    for members in buckets(bars, width):
        money, percent = deepest(members, seen)
        seen += members
        peak = max(bars[0]["open"], *(bar["high"] for bar in seen))
        index_peak = max(bar["index_high"] for bar in seen)
        expected.append(
            {
                "bucket_at": members[0]["placed_at"],
                "high_water_mark": peak,
                "drawdown": peak - members[-1]["close"],
                "drawdown_pct": fraction(index_peak, members[-1]["index_close"]),
                "deepest": money,
                "deepest_pct": percent,
                "is_priced": True,
                "is_thinned": False,
            }
        )
    assert expected
    assert call(conn, "drawdown_series", account_id, begin, end, width) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("window", "bucket", "given"),
    [
        (7 * MINUTE, MINUTE, MINUTE),
        (45 * SECOND, SECOND, None),
        (5 * HOUR, MINUTE, None),
        (24 * HOUR, HOUR, None),
        (20 * ONE_DAY, ONE_DAY, None),
        (6 * HOUR, 3 * HOUR, 3 * HOUR),
        (HOUR, HOUR, HOUR),
    ],
)
def test_the_rolling_drawdown_is_that_of_each_window(
    conn: Connection, seed: int, window: timedelta, bucket: timedelta, given: timedelta | None
) -> None:
    account_id = random_curve(seed, 80, 30 * MINUTE, flows=4).store(conn, empty_account(conn))
    begin, end = DAY + 9 * HOUR, DAY + 2 * ONE_DAY + 13 * SECOND
    bars = raw(conn, account_id, DAY - 90 * ONE_DAY, end)
    expected = []
    for members in buckets(bars, bucket):
        at = members[0]["placed_at"]
        if at + bucket > begin:
            last = at + bucket
            money, percent = deepest([b for b in bars if last - window <= b["bucket_at"] < last])
            expected.append((at, money, percent))
    rows = every(
        conn,
        "select * from equity.rolling_falls(array[%s], null, %s, %s, %s, %s)",
        [account_id, begin, end, window, bucket],
    )
    if given is None:
        assert call(conn, "rolling_drawdown", account_id, begin, end, window) == rows
    assert expected
    assert [
        (row["bucket_at"], row["max_drawdown"], row["max_drawdown_pct"]) for row in rows
    ] == expected


def walked_episodes(bars: list[Row], groups: list[list[Row]]) -> list[dict[str, Any]]:
    """One bucket after the other, as the document says it."""
    peak = bars[0]["open"]
    running: dict[str, Any] | None = None
    found = []

    def deepen(at: datetime, fall: Decimal) -> None:
        assert running is not None
        if fall > running["depth"]:
            running.update(depth=fall, trough_at=at)

    for members in groups:
        at = members[0]["placed_at"]
        high = max(bar["high"] for bar in members)
        low = min(bar["low"] for bar in members)
        close = members[-1]["close"]
        fall = deepest(members)[0]
        was_there = members[0]["open"] == peak and not (fall > 0 and close == high)
        if high < peak or (high == peak and was_there):
            running = running or {"peak_at": at, "trough_at": at, "depth": Decimal(0)}
            deepen(at, peak - low)
            continue
        own = fall
        if peak - low > fall:
            deepen(at, peak - low)
            own = high - close
        if running is not None and running["depth"] > 0:
            found.append({**running, "recovered_at": at})
        if own > 0 and close == high:
            found.append({"peak_at": at, "trough_at": at, "recovered_at": at, "depth": own})
            own = Decimal(0)
        running = {"peak_at": at, "trough_at": at, "depth": own}
        peak = high
    if running is not None and running["depth"] > 0:
        found.append({**running, "recovered_at": None})
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("width", [SECOND, MINUTE, 2 * HOUR, ONE_DAY])
def test_episodes_are_those_of_a_walk_along_the_curve(
    conn: Connection, seed: int, width: timedelta
) -> None:
    flows = seed % 2 * 4
    step = (1 + seed % 3 * 4) * 40 * MINUTE  # up to two weeks
    account_id = random_curve(seed, 80, step, flows).store(conn, empty_account(conn))
    begin, end = DAY + 9 * HOUR, DAY + 20 * ONE_DAY + 23 * HOUR
    bars = raw(conn, account_id, begin, end)
    expected = walked_episodes(bars, buckets(bars, width))
    rows = every(
        conn,
        "select * from equity.episodes(array[%s], null, %s, %s, %s)",
        [account_id, begin, end, width],
    )
    if width == MINUTE:
        assert call(conn, "drawdown_episodes", account_id, begin, end) == rows
    names = ("peak_at", "trough_at", "recovered_at", "depth")
    assert [tuple(row[name] for name in names) for row in rows] == [
        tuple(row[name] for name in names) for row in expected
    ]
    for row in rows:
        until = row["recovered_at"] or buckets(bars, width)[-1][0]["placed_at"]
        assert row["length"] == until - row["peak_at"]
        assert row["is_open"] == (row["recovered_at"] is None)
    money, percent = deepest(bars)
    (figures,) = call(conn, "performance", account_id, begin, end)
    assert (figures["max_drawdown"], figures["max_drawdown_pct"]) == (money, percent)
    assert max(row["depth"] for row in rows) == money
    if not flows:
        assert max(row["depth_pct"] for row in rows) == percent


@pytest.mark.parametrize("seed", range(6))
def test_figures_agree_with_the_libraries_where_definitions_do(conn: Connection, seed: int) -> None:
    empyrical = pytest.importorskip("empyrical")
    pandas = pytest.importorskip("pandas")
    quantstats = pytest.importorskip("quantstats.stats")
    chance = random.Random(seed)
    values = [0]
    days: list[int] = []
    curve = Curve().flow(1000)
    for number in range(90):
        if number in (0, 89) or chance.random() < 0.7:
            values.append(values[-1] + chance.randrange(-30, 33))
            curve.move(DAY + number * ONE_DAY + 12 * HOUR, values[-1])
            days.append(number)
    account_id = curve.store(conn, empty_account(conn))
    (ours,) = call(conn, "performance", account_id, DAY, DAY + 100 * ONE_DAY)

    returns = pandas.Series(0.0, index=pandas.date_range("2026-03-02", periods=90))
    for number, before, after in zip(days, values, values[1:], strict=False):
        returns.iloc[number] = (after - before) / (1000 + before)
    close = pytest.approx
    year = {"annualization": 365}
    assert ours["days"] == 90
    assert float(ours["time_weighted_return"]) == close(empyrical.cum_returns_final(returns))
    assert float(ours["annual_return"]) == close(empyrical.annual_return(returns, **year))
    assert float(ours["volatility"]) == close(empyrical.annual_volatility(returns, **year))
    assert float(ours["sharpe_ratio"]) == close(empyrical.sharpe_ratio(returns, **year))
    assert float(ours["sortino_ratio"]) == close(empyrical.sortino_ratio(returns, **year))
    assert float(ours["calmar_ratio"]) == close(empyrical.calmar_ratio(returns, **year))
    assert float(ours["max_drawdown_pct"]) == close(-empyrical.max_drawdown(returns))
    assert float(ours["volatility"]) == close(quantstats.volatility(returns, periods=365))
    assert float(ours["sharpe_ratio"]) == close(quantstats.sharpe(returns, periods=365))
    assert float(ours["sortino_ratio"]) == close(quantstats.sortino(returns, periods=365))
    assert float(ours["calmar_ratio"]) == close(quantstats.calmar(returns, periods=365))
    assert float(ours["max_drawdown_pct"]) == close(-quantstats.max_drawdown(returns))
    assert float(ours["best_return"]) == close(returns.max())
    assert float(ours["worst_return"]) == close(returns.min())
    # it divides by one day less
    assert float(ours["ulcer_index"]) == close(quantstats.ulcer_index(returns) * (89 / 90) ** 0.5)
    assert float(ours["volatility"]) == close(statistics.stdev(returns) * 365**0.5)


# sets of accounts


def set_call(conn: Connection, function: str, ids: list[int] | None, *rest: Any) -> list[Row]:
    return call(conn, function, ids, "USD", DAY, DAY + 9 * ONE_DAY, *rest)


def quote(conn: Connection, at: datetime, price: str) -> None:
    conn.execute(
        "select api.ingest_ticks('{EUR/USD}', array[%s::timestamptz], array[%s::numeric], "
        "array[%s::numeric])",
        [at, price, price],
    )


def test_a_set_is_worth_the_sum_of_what_its_accounts_were_last_worth(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    for day, price in enumerate(["1.10", "1.20", "1.05"]):
        quote(conn, DAY + day * ONE_DAY - HOUR, price)
    dollars = daily(conn, 10, -10, 5)
    euros = Curve().flow(100).move(DAY + 12 * HOUR, 10)
    euros.flow(50).move(DAY + 37 * HOUR)
    euro_id = euros.store(conn, account(conn, "EUR", deposit=None))
    rows = set_call(conn, "equity_curve", [dollars, euro_id, dollars], "1 day")
    # rates at the ends of the days: 1.20, 1.05, 1.05
    assert [(row["open"], row["close"], row["net_flow"], row["performance"]) for row in rows] == [
        (D("210.00"), D("242.00"), D("210.00"), D("32.00")),
        (D("242.00"), D("258.00"), D("262.50"), D("-4.50")),
        (D("258.00"), D("273.00"), D("262.50"), D("10.50")),
    ]
    assert [row["growth_index"] for row in rows] == [
        D("1.152380952381"),
        # 50 euros, 52.50 dollars, are there from the day's beginning
        D("1.009556148436"),
        D("1.068251273345"),
    ]
    assert all(row["is_priced"] for row in rows)
    series = set_call(conn, "drawdown_series", [dollars, euro_id], "1 day")
    assert [(row["high_water_mark"], row["drawdown"]) for row in series] == [
        (D("32.00"), D("0.00")),
        (D("32.00"), D("36.50")),
        (D("32.00"), D("21.50")),
    ]
    (episode,) = set_call(conn, "drawdown_episodes", [dollars, euro_id], "1 day")
    assert (episode["depth"], episode["is_open"]) == (D("36.50"), True)
    rolling = set_call(conn, "rolling_drawdown", [dollars, euro_id], "2 days", "1 day")
    assert [row["max_drawdown"] for row in rolling] == [D("0.00"), D("36.50"), D("36.50")]
    (figures,) = set_call(conn, "performance", [dollars, euro_id])
    assert (figures["net_profit"], figures["max_drawdown"], figures["days"]) == (
        D("10.50"),
        D("36.50"),
        3,
    )
    assert figures["time_weighted_return"] == rows[-1]["growth_index"] - 1


def test_one_account_in_its_own_currency_is_a_set_of_one(conn: Connection) -> None:
    account_id = daily(conn, 10, -10, 5, 20, 15)
    alone = whole(conn, "performance", account_id)
    together = call(conn, "performance", [account_id], "USD", DAY - ONE_DAY, DAY + 60 * ONE_DAY)
    assert together == alone
    for function in ("equity_curve", "drawdown_series"):
        assert call(conn, function, None, "USD", DAY, DAY + 9 * ONE_DAY, "1 day") == call(
            conn, function, account_id, DAY, DAY + 9 * ONE_DAY, "1 day"
        )


def test_a_set_begins_with_what_its_accounts_were_worth_before(conn: Connection) -> None:
    account_ids = [daily(conn, 10, 20, 30), daily(conn, 1)]
    (row,) = call(
        conn, "equity_curve", account_ids, "USD", DAY + 47 * HOUR, DAY + 3 * ONE_DAY, "1 day"
    )
    assert (row["open"], row["close"], row["net_flow"], row["balance"]) == (221, 231, 200, 200)


def test_rates_are_those_of_the_moment_along_the_path_however_old(conn: Connection) -> None:
    """EUR to JPY through USD; USD/JPY last ticked in the year before."""
    instrument(conn, "EUR/USD")
    instrument(conn, "USD/JPY")
    for day, price in ((-1, "1.10"), (1, "1.20"), (4, "1.50")):
        quote(conn, DAY + day * ONE_DAY, price)
    conn.execute(
        "select api.ingest_ticks('{USD/JPY}', array[%s::timestamptz], '{149}', '{151}')",
        [DAY - 100 * ONE_DAY],
    )
    euros = Curve().flow(100).move(DAY + HOUR, 10).move(DAY + 25 * HOUR, 20)
    euro_id = euros.store(conn, account(conn, "EUR", deposit=None))
    for begin, end in ((DAY, DAY + 9 * ONE_DAY), ("-infinity", "infinity")):
        rows = call(conn, "equity_curve", [euro_id], "JPY", begin, end, "1 day")
        # a tick at the end of a bucket belongs to the next one
        assert [row["close"] for row in rows] == [D("18150.00"), D("21600.00")]
    assert rows[0]["growth_index"] == 1


def test_a_set_is_unknown_where_a_rate_is(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    dollars = daily(conn, 10, -10, 5)
    euros = Curve().flow(100).move(DAY + 36 * HOUR, 10)
    euro_id = euros.store(conn, account(conn, "EUR", deposit=None))
    quote(conn, DAY + 60 * HOUR, "1.10")
    rows = set_call(conn, "equity_curve", [dollars, euro_id], "1 day")
    assert [(row["close"], row["is_priced"]) for row in rows] == [
        (None, False),
        (None, False),
        (D("226.00"), False),
    ]


def test_deposits_count_from_the_beginning_and_withdrawals_at_the_end_of_a_bucket(
    conn: Connection,
) -> None:
    curve = Curve().flow(100).move(DAY + HOUR, 10).flow(90).move(DAY + 25 * HOUR, 30)
    curve.move(DAY + 48 * HOUR, 52).flow(-152).move(DAY + 49 * HOUR)
    account_id = curve.store(conn, empty_account(conn))
    rows = set_call(conn, "equity_curve", [account_id], "1 day")
    assert [row["growth_index"] for row in rows] == [D("1.1"), D("1.21"), D("1.331")]


# what is refused


def state_of(action: Callable[[], object]) -> str | None:
    with pytest.raises(psycopg.Error) as error:
        action()
    return error.value.sqlstate


@pytest.mark.parametrize("function", [*FUNCTIONS, "equity_curve_points"])
def test_what_has_no_curve_is_refused(conn: Connection, function: str) -> None:
    account_id = empty_account(conn)
    more: list[Any] = ["1 day"] if function in WITH_WIDTH else []
    more += [10] if function == "equity_curve_points" else []
    end = DAY + ONE_DAY
    for unknown in (account_id + 1, None):
        assert (
            state_of(
                lambda unknown=unknown: every(
                    conn,
                    f"select * from api.{function}(%s::bigint, %s, %s{', %s' * len(more)})",
                    [unknown, DAY, end, *more],
                )
            )
            == "TM101"
        )
    for begin, until in ((DAY, DAY), (end, DAY)):
        assert state_of(lambda b=begin, u=until: call(conn, function, account_id, b, u, *more)) == (
            "TM160"
        )
    if function == "equity_curve_points":
        for points in (1, 0, None, 100001):
            assert (
                state_of(
                    lambda points=points: every(
                        conn,
                        "select * from api.equity_curve_points(%s, %s, %s, %s::int)",
                        [account_id, DAY, end, points],
                    )
                )
                == "TM163"
            )
        return
    assert state_of(lambda: call(conn, function, [account_id], "usd", DAY, end, *more)) == "TM123"
    assert state_of(lambda: call(conn, function, [account_id], "EUR", DAY, end, *more)) == "TM132"
    assert state_of(lambda: call(conn, function, [0], "USD", DAY, end, *more)) == "TM101"
    assert state_of(lambda: call(conn, function, [account_id], "USD", end, DAY, *more)) == "TM160"


@pytest.mark.parametrize("function", ["equity_curve", "drawdown_series", "drawdown_episodes"])
@pytest.mark.parametrize("bucket", ["0", "-1 day", "0.5 s", "1 month 1 day", None])
def test_a_bucket_must_be_of_whole_seconds_or_months(
    conn: Connection, function: str, bucket: str | None
) -> None:
    account_id = empty_account(conn)
    alone = [] if function == "drawdown_episodes" else [[account_id]]
    for first in (*alone, [[account_id], "USD"]):
        assert (
            state_of(
                lambda first=first: every(
                    conn,
                    f"select * from api.{function}("
                    f"{'%s' if len(first) == 1 else '%s, %s'}, %s, %s, %s::interval)",
                    [*first, DAY, DAY + ONE_DAY, bucket],
                )
            )
            == "TM161"
        )


@pytest.mark.parametrize(
    ("window", "bucket"),
    [
        ("0", None),
        ("-1 day", None),
        ("1 month", None),
        ("0.5 s", None),
        (None, None),
        ("90 s", "1 minute"),
        ("1 day", "1 month"),
    ],
)
def test_a_window_must_be_of_whole_buckets(
    conn: Connection, window: str | None, bucket: str | None
) -> None:
    account_id = empty_account(conn)
    assert (
        state_of(
            lambda: every(
                conn,
                "select * from api.rolling_drawdown(%s, 'USD', %s, %s, %s::interval, %s::interval)",
                [[account_id], DAY, DAY + ONE_DAY, window, bucket],
            )
        )
        == "TM162"
    )
    if bucket is None:
        assert (
            state_of(
                lambda: every(
                    conn,
                    "select * from api.rolling_drawdown(%s, %s, %s, %s::interval)",
                    [account_id, DAY, DAY + ONE_DAY, window],
                )
            )
            == "TM162"
        )


def test_literals_without_a_type_tell_accounts_from_sets(conn: Connection) -> None:
    daily(conn, 10, 5)
    for function, more in [(name, ", '1 day'") for name in sorted(WITH_WIDTH)] + [
        ("drawdown_episodes", ""),
        ("performance", ""),
    ]:
        for first in ("1", "'1'", "'{1}', 'USD'", "null, 'USD'"):
            statement = f"select from api.{function}({first}, '2026-01-01', '2027-01-01'{more})"
            assert every(conn, statement)


def test_readers_may_read_and_others_may_not(conn: Connection) -> None:
    account_id = daily(conn, 1)
    for role in ("trading", "reconcile", "readonly"):
        with conn.transaction():
            conn.execute(f"set local role tidemark_{role}".encode())
            assert len(every(conn, "select * from api.equity_curve_1s")) == 1
            assert len(whole(conn, "drawdown_series", account_id, "1 day")) == 1
            assert len(whole(conn, "performance", account_id)) == 1
    conn.execute("set role tidemark_watch")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        whole(conn, "performance", account_id)
