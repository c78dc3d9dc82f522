"""Bars follow from ticks, fills and entries, whatever the batches and whenever they close."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests import curve_oracle
from tests.conftest import Connection, Database
from tests.factories import account, assert_sound, every, instrument, one
from tests.supervisors import until

Clones = Callable[[], AbstractContextManager[Database]]
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
    waiting: list[tuple[str, datetime, str, str]] = []

    def flush() -> None:
        if waiting:
            ingest(conn, waiting)
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


def ingest(conn: Connection, rows: Sequence[tuple[str, datetime, str, str]]) -> None:
    """Ticks in one call: symbol, event time, bid, ask."""
    conn.execute(
        "select api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
        [list(column) for column in zip(*rows, strict=True)],
    )


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


def rebuild_all_marked(conn: Connection) -> int:
    """Rebuild until nothing is marked; how many times."""
    for times in range(100):
        if one(conn, "select api.rebuild_marked('0') as bars")["bars"] is None:
            assert every(conn, "select * from api.curve_marks") == []
            return times
    raise AssertionError("marks do not end")


def assert_extremes(conn: Connection) -> None:
    """High-water marks and drawdowns of the curves are those of their bars, walked through."""
    for curve in every(conn, "select * from equity.curves"):
        bars = every(
            conn,
            "select * from equity.curve_1s where account_id = %s order by bucket_at, part",
            [curve["account_id"]],
        )
        high, high_at, deepest = Decimal(0), None, Decimal(0)
        index_high, deepest_pct = Decimal(1), Decimal(0)
        for bar in bars:
            if bar["high"] is not None:
                deepest = max(deepest, bar["fall"], high - bar["low"])
                if bar["high"] > high or high_at is None:
                    high, high_at = max(high, bar["high"]), bar["bucket_at"]
            if bar["is_indexed"] and bar["index_high"] is not None:
                fall = (index_high - bar["index_low"]) / index_high
                deepest_pct = max(deepest_pct, bar["fall_pct"], round(fall, 12))
                index_high = max(index_high, bar["index_high"])
        assert (curve["high_water_mark"], curve["max_drawdown"]) == (high, deepest)
        assert curve["high_water_at"] == high_at
        if all(bar["is_indexed"] for bar in bars):
            assert (curve["index_high"], curve["max_drawdown_pct"]) == (index_high, deepest_pct)
        else:
            assert (curve["index_high"], curve["max_drawdown_pct"]) == (None, None)


@pytest.mark.parametrize("seed", [20, 21])
def test_batches_and_times_of_closing_change_no_bar(clones: Clones, seed: int) -> None:
    tellings = []
    for batch, closes_often in [(1, True), (7, True), (500, True), (7, False)]:
        with clones() as database, database.connect() as conn:
            tell(
                conn,
                Day(seed),
                accounts(conn),
                batch,
                after=(lambda conn=conn: close(conn)) if closes_often else (lambda: None),
            )
            close(conn, END)
            assert every(conn, "select * from api.curve_marks") == []
            assert_extremes(conn)
            tellings.append(curve_oracle.stored_bars(conn))
            expected = curve_oracle.bars(curve_oracle.read(conn), END, max_instants=6)
            assert_bars(conn, expected)
    assert tellings[0]
    assert all(telling == tellings[0] for telling in tellings)


@pytest.mark.parametrize("seed", range(30, 34))
def test_what_comes_late_is_marked_and_rebuilding_makes_bars_what_they_would_have_been(
    conn: Connection, seed: int
) -> None:
    day = Day(seed)
    chance = random.Random(seed)
    late = [event for event in day.events if chance.random() < 0.1]
    day.events = [event for event in day.events if event not in late]
    for event in late:
        day.events.insert(chance.randrange(len(day.events)), event)
    tell(conn, day, accounts(conn), batch=3, after=lambda: close(conn))
    close(conn, END)
    expected = curve_oracle.bars(curve_oracle.read(conn), END, max_instants=6)
    assert curve_oracle.stored_bars(conn) != expected
    assert rebuild_all_marked(conn) > 0
    assert_bars(conn, expected)
    assert_extremes(conn)


@pytest.mark.parametrize("seed", range(40, 42))
def test_rebuilding_any_stretch_changes_nothing_when_nothing_was_late(
    conn: Connection, seed: int
) -> None:
    account_ids = accounts(conn)
    tell(conn, Day(seed), account_ids, batch=7)
    close(conn, END)
    before = curve_oracle.stored_bars(conn)
    curves = every(conn, "select * from equity.curves order by account_id")
    chance = random.Random(seed)
    for _ in range(12):
        first, last = sorted(chance.sample(range(-2, 25), 2))
        bars = one(
            conn,
            "select api.rebuild_curve(%s, %s, %s) as bars",
            [
                chance.choice([*account_ids, None]),
                START + timedelta(seconds=first),
                START + timedelta(seconds=last),
            ],
        )["bars"]
        assert bars >= 0
        assert curve_oracle.stored_bars(conn) == before
        assert every(conn, "select * from equity.curves order by account_id") == curves


def test_a_bar_is_rebuilt_from_ticks_alone(conn: Connection) -> None:
    account_ids = accounts(conn)
    tell(conn, Day(50), account_ids, batch=7)
    close(conn, END)
    before = curve_oracle.stored_bars(conn)
    conn.execute("update equity.curve_bars set close = open, low = open - 1, fall = 0")
    assert curve_oracle.stored_bars(conn) != before
    assert one(conn, "select api.rebuild_curve(null) as bars")["bars"] == len(before)
    assert curve_oracle.stored_bars(conn) == before


def test_a_rebuild_leaves_alone_what_is_kept_no_longer(conn: Connection) -> None:
    account_ids = accounts(conn)
    tell(conn, Day(51), account_ids, batch=7)
    later = Day(52)
    later.events = [(at + timedelta(days=10), kind, what) for at, kind, what in later.events]
    tell(conn, later, account_ids, batch=7)
    close(conn, END + timedelta(days=10))
    rollups = "select * from equity.curve_1d order by account_id, bucket_at"
    days = every(conn, rollups)
    curves = every(conn, "select * from equity.curves order by account_id")
    conn.execute("call api.refresh_rollups()")
    conn.execute("update equity.curve_settings set keep_seconds = '7 days'")
    assert one(conn, "select equity.drop_bars() as days")["days"] == 1
    kept = curve_oracle.stored_bars(conn)
    assert kept
    assert kept[0].bucket_at > START + timedelta(days=9)

    conn.execute("select api.rebuild_curve(null)")
    assert_bars(conn, kept)
    assert every(conn, rollups) == days
    for curve, before in zip(
        every(conn, "select * from equity.curves order by account_id"), curves, strict=True
    ):
        if before["high_water_at"] < kept[0].bucket_at:  # the second is not known any more
            before["high_water_at"] = before["high_water_at"].replace(hour=0, minute=0, second=0)
        assert curve == before


def a_day_to_drop(conn: Connection) -> None:
    """Bars of a day that are to be kept no longer."""
    tell(conn, Day(51), accounts(conn), batch=7)
    one_tick(conn, 10 * 86_400, "EUR/USD", "1.1")
    close(conn, END + timedelta(days=10))
    conn.execute("call api.refresh_rollups()")
    conn.execute("update equity.curve_settings set keep_seconds = '7 days'")


def test_nothing_is_dropped_while_bars_are_rebuilt(database: Database, conn: Connection) -> None:
    """What a rebuilding has begun with is there to its end, and until roll-ups have it."""
    a_day_to_drop(conn)
    with database.connect() as rebuilding:
        rebuilding.execute("begin")
        rebuilding.execute("select api.rebuild_curve(null)")
        assert one(conn, "select equity.drop_bars() as days") == {"days": 0}
        rebuilding.execute("commit")
    if one(conn, "select equity.edition()")["edition"] == "community":
        assert one(conn, "select equity.drop_bars() as days") == {"days": 0}
        conn.execute("call equity.maintain_rollups_job(0, null)")
    else:
        assert one(conn, "select equity.drop_bars() as days") == {"days": 1}
    kept = one(conn, "select min(bucket_at) as first_at from equity.curve_bars")["first_at"]
    assert kept is None or kept > END


def test_nothing_is_dropped_while_rollups_are_refreshed(
    database: Database, conn: Connection
) -> None:
    """A refresh that has begun with a day finds its bars."""
    a_day_to_drop(conn)
    with database.connect() as refreshing:
        refreshing.execute("select pg_advisory_lock(hashtextextended('tidemark rollups', 0))")
        assert one(conn, "select equity.drop_bars() as days") == {"days": 0}
    until(lambda: one(conn, "select equity.drop_bars() as days") == {"days": 1}, "it is dropped")


def test_an_account_without_bookings_has_nothing_to_rebuild(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn, "USD", None)
    assert one(conn, "select api.rebuild_curve(%s) as bars", [account_id])["bars"] == 0


def test_a_closing_that_is_cut_off_goes_on_where_it_was(database: Database) -> None:
    with database.connect() as conn:
        account_ids = accounts(conn)
        tell(conn, Day(60), account_ids, batch=7)
        with database.connect() as closing:
            closing.execute("select api.announce_closing(%s)", [END])
        for _ in range(5):
            closing = database.connect()
            closing.execute("select api.close_next_bars('3 seconds')")
            closing.execute("begin")
            closing.execute("select api.close_next_bars('3 seconds')")
            conn.execute("select pg_terminate_backend(%s, 5000)", [closing.info.backend_pid])
            closing.close()
        assert one(conn, "select closed_to from api.curve_status")["closed_to"] < END
        close(conn, END)
        assert_bars(conn, curve_oracle.bars(curve_oracle.read(conn), END, max_instants=6))


def one_tick(conn: Connection, second: float, symbol: str, bid: str) -> None:
    ingest(conn, [(symbol, START + timedelta(seconds=second), bid, bid)])


def holder(conn: Connection, quantity: str) -> int:
    """An account with 1,000 USD that has bought EUR/USD at 1.1; GBP/USD ticks on for it."""
    instrument(conn, "EUR/USD")
    instrument(conn, "GBP/USD")
    account_id = account(conn, "USD", None)
    one_tick(conn, 0, "EUR/USD", "1.1")
    one_tick(conn, 0, "GBP/USD", "1.3")
    conn.execute("select api.record_entry(%s, 'deposit', 1000, %s)", [account_id, START])
    book(conn, [account_id], START, "fill", (0, "buy", "EUR/USD", quantity, "1.1"))
    return account_id


def assert_bars_and_curves(conn: Connection, end: datetime) -> None:
    assert_bars(conn, curve_oracle.bars(curve_oracle.read(conn), end, max_instants=6))
    assert_extremes(conn)


def test_what_follows_a_late_tick_that_is_the_newest_begins_where_it_ended(
    conn: Connection,
) -> None:
    holder(conn, "100")
    one_tick(conn, 30, "GBP/USD", "1.31")
    close(conn, START + timedelta(seconds=30))
    one_tick(conn, 20, "EUR/USD", "1.2")
    close(conn, START + timedelta(seconds=38))
    assert rebuild_all_marked(conn) == 1
    one_tick(conn, 40, "EUR/USD", "1.25")
    close(conn, START + timedelta(seconds=45))
    assert_bars_and_curves(conn, START + timedelta(seconds=45))


def test_an_index_that_was_unknown_goes_on_when_the_price_is_put_right(conn: Connection) -> None:
    holder(conn, "10000")
    for second, bid in enumerate(["1.1", "1.11", "0.5", "1.12", "1.13", "1.14"], 1):
        one_tick(conn, second, "EUR/USD", bid)
    close(conn, START + timedelta(seconds=7))
    one_tick(conn, 3, "EUR/USD", "1.115")
    assert rebuild_all_marked(conn) == 1
    one_tick(conn, 8, "EUR/USD", "1.15")
    close(conn, START + timedelta(seconds=9))
    assert_bars_and_curves(conn, START + timedelta(seconds=9))


def test_extremes_have_what_was_rebuilt_a_moment_ago_of_another_day(conn: Connection) -> None:
    """Though that day's roll-up follows within a minute, on the community edition."""
    holder(conn, "100")
    next_day = 86_400
    for second in (2, 4, next_day, next_day + 4):
        one_tick(conn, second, "EUR/USD", "1.11")
    end = START + timedelta(seconds=2 * next_day)
    one_tick(conn, 2 * next_day, "EUR/USD", "1.11")
    close(conn, end)
    conn.execute("call api.refresh_rollups()")
    for second, bid in ((3, "1.5"), (next_day + 2, "1.2")):
        one_tick(conn, second, "EUR/USD", bid)
        assert rebuild_all_marked(conn) == 1
    assert_bars_and_curves(conn, end)


def test_what_comes_late_while_bars_are_rebuilt_stays_marked(database: Database) -> None:
    """The rebuilding waits, in a trigger, between its bars and its end."""
    with database.connect() as conn, database.connect() as rebuilding:
        account_id = holder(conn, "100")
        for second in range(1, 10):
            one_tick(conn, second, "EUR/USD", f"1.{10 + second}")
        close(conn, START + timedelta(seconds=10))
        conn.execute(
            "create function pg_temp.pause() returns trigger language plpgsql as"
            " 'begin perform pg_advisory_xact_lock(77); return null; end';"
            "create trigger pause after update of high_water_mark on equity.curves"
            " execute function pg_temp.pause()"
        )

        def buy_late(second: int) -> None:
            at = START + timedelta(seconds=second)
            book(conn, [account_id], at, "fill", (0, "buy", "EUR/USD", "100", "1.1"))

        buy_late(2)
        conn.execute("select pg_advisory_lock(77)")
        thread = threading.Thread(target=rebuild_all_marked, args=[rebuilding])
        thread.start()
        waits = "select from pg_locks where locktype = 'advisory' and objid = 77 and not granted"
        while not every(conn, waits):
            assert thread.is_alive()
            time.sleep(0.01)
        buy_late(7)
        conn.execute("select pg_advisory_unlock(77)")
        thread.join()
        conn.execute("drop trigger pause on equity.curves")
        rebuild_all_marked(conn)
        assert_bars_and_curves(conn, START + timedelta(seconds=10))


def test_bookings_beside_the_closing_are_in_the_bars_or_marked(database: Database) -> None:
    """Everything happens now, and bars close without any grace: much is late."""
    with database.connect() as conn:
        conn.execute("update equity.curve_settings set grace = '0'")
        account_ids = accounts(conn)
        over = threading.Event()

        def trade(number: int) -> None:
            chance = random.Random(number)
            with database.connect() as own:
                own.execute("select api.record_entry(%s, 'deposit', 1000)", [account_ids[number]])
                while not over.is_set():
                    what = (
                        number,
                        chance.choice(["buy", "sell"]),
                        chance.choice(SYMBOLS[:2]),
                        "10",
                        "1.1",
                    )
                    at = datetime.now(UTC)
                    book(own, account_ids, at, "fill", what)
                    if chance.random() < 0.1:
                        book(own, account_ids, at, "entry", (number, "deposit", 5))

        def feed() -> None:
            chance = random.Random(9)
            with database.connect() as own:
                while not over.is_set():
                    rows = []
                    for symbol in chance.choices(SYMBOLS, k=3):
                        price = str(PRICES[symbol] + chance.random() / 100)
                        rows.append((symbol, datetime.now(UTC), price, price))
                    ingest(own, rows)

        threads = [threading.Thread(target=trade, args=[number]) for number in range(4)]
        threads.append(threading.Thread(target=feed))
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while time.monotonic() - began < 6:
            close(conn)
        over.set()
        for thread in threads:
            thread.join()
        end = datetime.now(UTC).replace(microsecond=0)
        close(conn, end)
        times = rebuild_all_marked(conn)
        print(f"{len(every(conn, 'select from ledger.fills'))} fills, {times} rebuilt")
        assert_bars(conn, curve_oracle.bars(curve_oracle.read(conn), end, max_instants=6))
        assert_extremes(conn)
        assert_sound(conn)


def test_bookings_while_bars_close_are_not_taken_for_earlier_ones(database: Database) -> None:
    """Each account is quiet until it trades, at any moment of a closing of seconds before that."""
    seconds, traders = 60, 30
    with database.connect() as conn, database.connect() as closing:
        for symbol in SYMBOLS:
            instrument(conn, symbol)
        chance = random.Random(3)
        tick_randomly(conn, chance, 0, 1)
        account_ids = [account(conn, "USD", None) for _ in range(traders)]
        for number in range(traders):
            for symbol in SYMBOLS:
                what = (number, "buy", symbol, "1000", f"{PRICES[symbol]}")
                book(conn, account_ids, START, "fill", what)
        tick_randomly(conn, chance, 1, seconds)
        end = START + timedelta(seconds=seconds)
        closing.execute("call api.close_bars(%s)", [START + timedelta(seconds=2)])
        closing.execute("select api.announce_closing(%s)", [end])

        def close_all() -> None:
            while one(closing, "select api.close_next_bars('1 second') as width")["width"]:
                pass

        thread = threading.Thread(target=close_all)
        thread.start()
        for number in range(traders):
            what = (number, "sell", chance.choice(SYMBOLS), "700", "1.1")
            book(conn, account_ids, end, "fill", what)
            thread.join(chance.random() / 50)
        thread.join()
        assert every(conn, "select * from api.curve_marks") == []
        assert_bars(conn, curve_oracle.bars(curve_oracle.read(conn), end, max_instants=6))


def tick_randomly(conn: Connection, chance: random.Random, first: int, seconds: int) -> None:
    """Ticks of all instruments in every second from `first` on, few or many, in one statement."""
    rows = []
    for second in range(first, first + seconds):
        for _ in range(chance.choice([3, 30, 120])):
            symbol = chance.choice(SYMBOLS)
            bid = PRICES[symbol] * (1 + chance.gauss(0, 0.003))
            at = START + timedelta(seconds=second, microseconds=chance.randrange(1_000_000))
            rows.append((symbol, at, f"{bid:.5f}", f"{bid * chance.choice([1, 1.0002]):.5f}"))
    ingest(conn, rows)


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_of_computing_bars_give_the_same(conn: Connection, seed: int) -> None:
    """Ticks alone move accounts with positions small and huge: in floats, and exactly."""
    chance = random.Random(seed)
    for symbol in SYMBOLS:
        instrument(conn, symbol)
    tick_randomly(conn, chance, 0, 2)
    for _ in range(30):
        account_id = account(
            conn,
            chance.choice(["USD", "EUR", "GBP", "JPY"]),
            None,
            scale=chance.choice([0, 2, 4, 8]),
        )
        at = START + timedelta(seconds=1)
        conn.execute(
            "select api.record_entry(%s, 'deposit', %s, %s)",
            [account_id, chance.choice([1, 1000, 10**6, 10**13]), at],
        )
        for symbol in chance.sample(SYMBOLS, chance.randint(1, 4)):
            quantity = chance.choice(
                ["0.00000001", "1", "33.3", "1000", "1000000", "1000000000000"]
            )
            side = chance.choice(["buy", "sell"])
            price = f"{PRICES[symbol] * (1 + chance.gauss(0, 0.001)):.7f}"
            book(conn, [account_id], at, "fill", (0, side, symbol, quantity, price))
    close(conn, START + timedelta(seconds=2))
    for first in range(2, 12, 2):
        tick_randomly(conn, chance, first, 2)
        close(conn, START + timedelta(seconds=first + 1))
    close(conn, START + timedelta(seconds=12))
    in_floats = curve_oracle.stored_bars(conn)
    curves = every(conn, "select * from equity.curves order by account_id")
    assert len(in_floats) > 250
    with_more = one(
        conn,
        "select cardinality(equity.accounts_with_more_than_ticks(%s, array("
        " select p from equity.price_paths(%s, %s,"
        " array(select instrument_id from market.instruments),"
        " array(select distinct currency from ledger.accounts)) p"
        "))) as number",
        [START + timedelta(seconds=2)] * 3,
    )["number"]
    assert with_more < 30  # the others went the fast way

    conn.execute("select api.rebuild_curve(null)")
    assert_bars(conn, in_floats)
    assert every(conn, "select * from equity.curves order by account_id") == curves
    assert_bars(conn, curve_oracle.bars(curve_oracle.read(conn), START + timedelta(seconds=12), 6))
    assert_extremes(conn)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("call api.close_bars(now() + interval '1 hour')", "TM171"),
        ("select api.rebuild_curve(12345)", "TM101"),
        ("select api.rebuild_curve(null, now(), now())", "TM172"),
        ("select api.rebuild_curve(null, null)", "TM172"),
    ],
)
def test_what_cannot_be_is_refused(conn: Connection, query: str, code: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(query)
    assert refused.value.sqlstate == code
    assert refused.value.diag.message_hint


def test_closing_needs_a_session_outside_of_a_transaction(conn: Connection) -> None:
    instrument(conn, "EUR/USD")
    conn.execute("begin")
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        conn.execute("call api.close_bars()")
    conn.execute("rollback")
    conn.execute("call api.close_bars()")


def test_nothing_is_closed_before_the_first_tick(conn: Connection) -> None:
    """The first tick may be one of long ago."""
    account(conn, "USD")
    close(conn)
    assert one(conn, "select closed_to from api.curve_status") == {"closed_to": None}


def test_live_seconds_are_closed_by_the_clock_when_ticks_stop(conn: Connection) -> None:
    conn.execute("update equity.curve_settings set grace = '0'")
    instrument(conn, "EUR/USD")
    now = "clock_timestamp()"
    conn.execute(f"select api.ingest_ticks('{{EUR/USD}}', array[{now}], '{{1.1}}', '{{1.1}}')")
    account_id = account(conn, "USD")
    until = datetime.now(UTC) + timedelta(seconds=20)
    while not every(conn, "select * from equity.curve_bars"):
        close(conn)
        assert datetime.now(UTC) < until
        time.sleep(0.05)
    bars = curve_oracle.stored_bars(conn)
    assert [bar.account_id for bar in bars] == [account_id]
    assert every(conn, "select * from api.curve_marks") == []


def test_while_one_closes_another_has_nothing_to_do(database: Database, conn: Connection) -> None:
    tell(conn, Day(61), accounts(conn), batch=7)
    with database.connect() as other:
        other.execute("begin")
        other.execute("select equity.lock_curve()")
        close(conn, END)
        assert curve_oracle.stored_bars(conn) == []
        other.execute("commit")
    close(conn, END)
    assert curve_oracle.stored_bars(conn)


def test_bookings_and_ticks_do_not_wait_for_bars_that_are_closed(database: Database) -> None:
    with database.connect() as conn, database.connect() as closing:
        account_ids = accounts(conn)
        tell(conn, Day(62), account_ids, batch=7)
        closing.execute("select api.announce_closing(%s)", [END])
        closing.execute("begin")
        closing.execute("select api.close_next_bars('1 minute')")
        conn.execute("set lock_timeout = '2s'")
        at = END + timedelta(seconds=1)
        book(conn, account_ids, at, "entry", (0, "deposit", 1))
        book(conn, account_ids, at, "fill", (0, "buy", "EUR/USD", "1", "1.1"))
        tick_randomly(conn, random.Random(1), 61, 1)
        closing.execute("commit")
        assert curve_oracle.stored_bars(conn)
