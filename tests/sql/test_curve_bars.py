"""Bars follow from ticks, fills and entries, whatever the batches and whenever they close."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests import curve_oracle
from tests.conftest import Connection
from tests.factories import account, instrument

START = datetime(2026, 2, 2, 9, 0, tzinfo=UTC)
SYMBOLS = ["EUR/USD", "USD/JPY", "EUR/GBP", "GBP/USD", "XAU/USD"]
PRICES = {"EUR/USD": 1.1, "USD/JPY": 150.0, "EUR/GBP": 0.85, "GBP/USD": 1.3, "XAU/USD": 2000.0}


class Day:
    """A random course of events, the same for the same seed, that can be told in many ways."""

    def __init__(self, seed: int, seconds: int = 20) -> None:
        chance = random.Random(seed)
        self.events: list[tuple[datetime, str, tuple[Any, ...]]] = []
        prices = dict(PRICES)
        busy = {chance.randrange(seconds) for _ in range(3)}
        for second in range(seconds):
            if chance.random() < 0.15:
                continue
            for _ in range(chance.choice([1, 2, 5]) + (40 if second in busy else 0)):
                at = START + timedelta(seconds=second, microseconds=chance.randrange(8) * 125_000)
                if second in busy:
                    at += timedelta(microseconds=chance.randrange(100_000))
                # gold ticks late for the first time, and the cross may change the paths
                symbol = chance.choice(SYMBOLS[: 2 + second // 3])
                prices[symbol] *= 1 + chance.gauss(0, 0.002)
                spread = prices[symbol] * chance.choice([0, 0.0001, 0.0005])
                digits = 3 if symbol == "USD/JPY" else 5
                bid = f"{prices[symbol]:.{digits}f}"
                ask = f"{max(float(bid), prices[symbol] + spread):.{digits}f}"
                self.events.append((at, "tick", (symbol, bid, ask)))
        for number in range(40):
            at = START + timedelta(
                seconds=chance.randrange(seconds), microseconds=chance.randrange(8) * 125_000
            )
            booking: tuple[Any, ...]
            if chance.random() < 0.6:
                symbol = chance.choice(SYMBOLS)
                quantity = str(chance.choice([1, 10, 500, 1000]))
                price = f"{PRICES[symbol] * (1 + chance.gauss(0, 0.002)):.3f}"
                booking = (chance.choice(["buy", "sell"]), symbol, quantity, price)
                self.events.append((at, "fill", (number % 4, *booking)))
            else:
                kind, amount = chance.choice(
                    [("deposit", 500), ("withdrawal", -300), ("credit", 50), ("credit", -50),
                     ("financing", -3), ("adjustment", 7), ("withdrawal", -5000)]
                )  # fmt: skip
                self.events.append((at, "entry", (number % 4, kind, amount)))
        for number in range(4):
            first = START + timedelta(milliseconds=100 * number)
            self.events.append((first, "entry", (number, "deposit", 1000)))
        self.events.sort(key=lambda event: event[0])


def accounts(conn: Connection) -> list[int]:
    """Four accounts of different currencies, scales and modes, and the instruments."""
    for symbol in SYMBOLS:
        instrument(conn, symbol)
    return [
        account(conn, "USD", None),
        account(conn, "EUR", None, mode="hedging"),
        account(conn, "JPY", None, scale=0),
        account(conn, "GBP", None, scale=4),
    ]


def tell(
    conn: Connection,
    day: Day,
    account_ids: list[int],
    batch: int,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Ticks in batches of so many, each flushed before a booking; `after` runs after each call."""
    waiting: list[tuple[Any, ...]] = []

    def flush() -> None:
        if waiting:
            conn.execute(
                "select api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
                [list(column) for column in zip(*waiting, strict=True)],
            )
            waiting.clear()
            after()

    for at, kind, what in day.events:
        if kind == "tick":
            waiting.append((what[0], at, what[1], what[2]))
            if len(waiting) >= batch:
                flush()
        else:
            flush()
            book(conn, account_ids, at, kind, what)
            after()
    flush()


def book(
    conn: Connection, account_ids: list[int], at: datetime, kind: str, what: tuple[Any, ...]
) -> None:
    """One fill or entry; one that the account cannot take is left out."""
    try:
        if kind == "entry":
            conn.execute(
                "select api.record_entry(%s, %s, %s, %s)",
                [account_ids[what[0]], what[1], what[2], at],
            )
        else:
            number, side, symbol, quantity, price = what
            effect = ("open" if side == "buy" else "close") if number == 1 else "auto"
            conn.execute(
                "select api.record_fill(%s, %s, %s, %s::numeric, %s::numeric, %s,"
                " p_effect => %s, p_commission => 1)",
                [account_ids[number], symbol, side, quantity, price, at, effect],
            )
    except psycopg.Error as error:
        if error.sqlstate not in {"TM131", "TM133"}:
            raise


def assert_bars(conn: Connection, expected: list[curve_oracle.Bar]) -> None:
    """The bars in the database are these; tells the first ones that differ."""
    stored = curve_oracle.stored_bars(conn)
    differing = sorted(set(stored) ^ set(expected), key=lambda bar: bar[:3])
    told = [("stored" if bar in stored else "expected", bar) for bar in differing[:4]]
    assert not told, "\n".join(f"{who}: {bar}" for who, bar in told)


def close(conn: Connection, to: datetime | None = None) -> None:
    """Close bars up to a moment, or as far as may be."""
    conn.execute("call api.close_bars(%s)", [to])


END = START + timedelta(seconds=60)


@pytest.mark.parametrize("seed", range(6))
def test_bars_equal_an_independent_calculation(conn: Connection, seed: int) -> None:
    tell(conn, Day(seed), accounts(conn), batch=7)
    close(conn, END)
    expected = curve_oracle.bars(curve_oracle.read(conn), END, max_instants=6)
    assert len(expected) > 30
    assert_bars(conn, expected)
    assert any(bar.is_thinned for bar in expected)
    assert any(bar.part > 0 for bar in expected)
    assert any(bar.base_index is None for bar in expected)


@pytest.mark.parametrize("seed", range(6, 9))
def test_unthinned_bars_equal_a_calculation_tick_by_tick(conn: Connection, seed: int) -> None:
    conn.execute("update equity.curve_settings set max_instants = 100")
    tell(conn, Day(seed), accounts(conn), batch=7)
    close(conn, END)
    expected = curve_oracle.bars(curve_oracle.read(conn), END, max_instants=None)
    assert_bars(conn, expected)
    assert not any(bar.is_thinned for bar in expected)
