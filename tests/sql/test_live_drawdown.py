"""The drawdown in api.account_states: from the closed bars and the one that is open."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Connection
from tests.factories import D, account, every, instrument, one, state
from tests.sql.test_curve_bars import Day, accounts, close, tell

START = datetime(2026, 2, 2, 9, 0, tzinfo=UTC)
FIGURES = ["high_water_mark", "drawdown", "drawdown_pct", "max_drawdown", "max_drawdown_pct"]


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


def tick(conn: Connection, at: float, price: str) -> None:
    conn.execute(
        "select api.ingest_ticks('{EUR/USD}', array[%s], array[%s::numeric], array[%s::numeric])",
        [second(at), price, price],
    )


def entry(conn: Connection, account_id: int, at: float, kind: str, amount: str) -> None:
    conn.execute(
        "select api.record_entry(%s, %s, %s::numeric, %s)", [account_id, kind, amount, second(at)]
    )


def drawdown(conn: Connection, account_id: int) -> list[Any]:
    """The five figures."""
    row = state(conn, account_id)
    return [row[name] for name in FIGURES]


@pytest.fixture
def holder(conn: Connection) -> int:
    """An account with 1,000 USD that bought 1,000 EUR at 1.10, when the price was that."""
    instrument(conn, "EUR/USD")
    tick(conn, 0, "1.10")
    account_id = account(conn, "USD", None)
    entry(conn, account_id, 0, "deposit", "1000")
    conn.execute(
        "select api.record_fill(%s, 'EUR/USD', 'buy', 1000, 1.10, %s)", [account_id, second(0.5)]
    )
    return account_id


def test_a_new_account_is_at_its_high_water_mark(conn: Connection) -> None:
    row = state(conn, account(conn, "USD", None))
    assert [row[name] for name in FIGURES] == [D("0.00"), D("0.00"), None, D("0.00"), None]
    assert row["under_water_since"] is None


def test_the_open_bar_counts_at_once(conn: Connection, holder: int) -> None:
    tick(conn, 1, "1.20")
    assert drawdown(conn, holder) == [D("1100"), D("0"), D("0"), D("0"), D("0")]
    close(conn, second(2))
    assert drawdown(conn, holder) == [D("1100"), D("0"), D("0"), D("0"), D("0")]
    tick(conn, 2, "1.09")
    fallen = [D("1100"), D("110"), D("0.1"), D("110"), D("0.1")]
    assert drawdown(conn, holder) == fallen
    assert state(conn, holder)["under_water_since"] == second(1)
    close(conn, second(3))
    assert drawdown(conn, holder) == fallen
    tick(conn, 3, "1.145")
    assert drawdown(conn, holder) == [D("1100"), D("55"), D("0.05"), D("110"), D("0.1")]
    tick(conn, 4, "1.30")
    close(conn, second(5))
    assert drawdown(conn, holder) == [D("1200"), D("0"), D("0"), D("110"), D("0.1")]
    assert state(conn, holder)["high_water_at"] == second(4)
    assert state(conn, holder)["under_water_since"] is None


def test_cash_flows_change_no_drawdown(conn: Connection, holder: int) -> None:
    tick(conn, 1, "1.20")
    tick(conn, 2, "1.09")
    close(conn, second(3))
    before = drawdown(conn, holder)
    entry(conn, holder, 3, "deposit", "500")
    assert drawdown(conn, holder)[1:] == before[1:]
    assert state(conn, holder)["high_water_mark"] == D("1600")
    close(conn, second(4))
    assert drawdown(conn, holder)[1:] == before[1:]
    entry(conn, holder, 4, "withdrawal", "-1000")
    entry(conn, holder, 4, "credit", "30")
    assert drawdown(conn, holder)[1:] == before[1:]
    close(conn, second(5))
    assert drawdown(conn, holder)[1:] == before[1:]


def test_a_fall_between_two_reads_is_not_forgotten(conn: Connection, holder: int) -> None:
    tick(conn, 1.1, "1.20")
    tick(conn, 1.2, "1.00")
    tick(conn, 1.3, "1.30")
    close(conn, second(2))
    assert drawdown(conn, holder) == [
        D("1200"), D("0"), D("0"), D("200"), D("0.181818181818"),
    ]  # fmt: skip


def test_equity_below_zero_leaves_money_and_no_percent(conn: Connection, holder: int) -> None:
    tick(conn, 1, "0.05")
    assert drawdown(conn, holder) == [D("1000"), D("1050"), None, D("1050"), None]
    close(conn, second(2))
    assert drawdown(conn, holder) == [D("1000"), D("1050"), None, D("1050"), None]
    tick(conn, 2, "1.20")
    assert drawdown(conn, holder) == [D("1100"), D("0"), None, D("1050"), None]


def test_an_unknown_equity_has_no_drawdown(conn: Connection, holder: int) -> None:
    instrument(conn, "GBP/USD")
    conn.execute("select api.record_fill(%s, 'GBP/USD', 'buy', 1, 1.3, %s)", [holder, second(0.6)])
    assert drawdown(conn, holder) == [None] * 5


@pytest.mark.parametrize("seed", range(80, 84))
def test_live_figures_are_those_of_history_at_every_closed_bar(conn: Connection, seed: int) -> None:
    account_ids = accounts(conn)
    tell(conn, Day(seed), account_ids, batch=9)
    for number in range(1, 25):
        close(conn, second(number))
        for account_id in account_ids:
            curve = one(conn, "select * from equity.curves where account_id = %s", [account_id])
            bars = every(
                conn,
                "select bucket_at, high_water_mark, drawdown, drawdown_pct, deepest, deepest_pct"
                " from api.drawdown_series(%s, %s, %s, '1 second') order by bucket_at",
                [account_id, START, second(number)],
            )
            if not bars or bars[-1]["drawdown"] is None:
                continue
            performance = curve["performance"]
            high = max(bars[-1]["high_water_mark"], D("0"))
            assert curve["high_water_mark"] == high
            assert bars[-1]["drawdown"] == bars[-1]["high_water_mark"] - performance
            deepest = max(bar["deepest"] for bar in bars if bar["deepest"] is not None)
            assert curve["max_drawdown"] == deepest
            percents = [bar["deepest_pct"] for bar in bars if bar["deepest"] is not None]
            if curve["max_drawdown_pct"] is not None:
                assert curve["max_drawdown_pct"] == max(percents)
            else:
                assert None in percents
