"""Writers at the same time: no snapshot of the database ever shows a wrong state."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.factories import (
    START,
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
    ticks,
)
from tests.sql.trading_sessions import (
    NARROW,
    WIDE,
    Sessions,
    assert_replayed,
    pid,
    transaction,
    waiting,
)

EUR_USD = "EUR/USD"


@dataclass(frozen=True)
class Book:
    """A USD account with a deposit of 10000 and 100 EUR/USD, bought at 1.0 and worth 1.1."""

    account_id: int
    deposit_id: int
    fill_id: int


@pytest.fixture
def book(conn: Connection) -> Book:
    instrument(conn, EUR_USD)
    tick(conn, EUR_USD, 0, "1.1", "1.1")
    account_id = account(conn)
    deposit = one(conn, "select entry_id from api.entries")
    bought = fill(conn, account_id, EUR_USD, "buy", "100", "1.0")
    return Book(account_id, deposit["entry_id"], bought["fill_id"])


def assert_state(conn: Connection, account_id: int, balance: str, unrealized_pnl: str) -> None:
    now = state(conn, account_id)
    assert (now["balance"], now["unrealized_pnl"]) == (D(balance), D(unrealized_pnl))
    assert now["equity"] == D(balance) + D(unrealized_pnl)
    assert now["is_priced"]
    assert_sound(conn)


def reverse_fill(conn: Connection, fill_id: int) -> Row:
    return one(conn, "select * from api.reverse_fill(%s)", [fill_id])


def reverse_entry(conn: Connection, entry_id: int) -> Row:
    return one(conn, "select * from api.reverse_entry(%s)", [entry_id])


def set_margin_terms(conn: Connection, account_id: int) -> Row:
    return one(conn, "select * from api.set_margin_terms(%s, 'net')", [account_id])


def insert_tick(conn: Connection, symbol: str) -> None:
    conn.execute(
        "insert into market.ticks (event_at, instrument_id, bid, ask) "
        "select %s, instrument_id, 1.3, 1.3 from api.instruments where symbol = %s",
        [START, symbol],
    )


@dataclass(frozen=True)
class Booking:
    """Something that is booked, and what it adds to balance and position."""

    do: Callable[[Connection, Book], object]
    balance: str = "0"
    quantity: str = "0"
    cost: str = "0"


BOOKINGS = {
    "fill": Booking(
        lambda conn, book: fill(conn, book.account_id, EUR_USD, "buy", "50", "1.2"),
        quantity="50",
        cost="60",
    ),
    "entry": Booking(lambda conn, book: entry(conn, book.account_id, "deposit", "5"), balance="5"),
    "reversal of a fill": Booking(
        lambda conn, book: reverse_fill(conn, book.fill_id), quantity="-100", cost="-100"
    ),
    "reversal of an entry": Booking(
        lambda conn, book: reverse_entry(conn, book.deposit_id), balance="-10000"
    ),
    "margin terms": Booking(lambda conn, book: set_margin_terms(conn, book.account_id)),
}
each_booking = pytest.mark.parametrize("name", BOOKINGS)


def assert_booked(conn: Connection, book: Book, names: list[str], price: str) -> None:
    """The account is what it was, with these bookings added, at this price."""
    balance, quantity, cost = D("10000"), D("100"), D("100")
    for place, name in enumerate(names):
        if name.startswith("reversal") and name in names[:place]:
            continue  # what is reversed again stays reversed
        booking = BOOKINGS[name]
        balance += D(booking.balance)
        quantity += D(booking.quantity)
        cost += D(booking.cost)
    assert_state(conn, book.account_id, str(balance), str(quantity * D(price) - cost))


# Bookings and ticks


@each_booking
def test_a_booking_waits_for_the_tick_that_is_being_stored(
    database: Database, conn: Connection, book: Book, name: str
) -> None:
    with transaction(database) as first:
        tick(first, EUR_USD, 1, "1.3", "1.3")
        booked = waiting(database, pid(first), lambda other: BOOKINGS[name].do(other, book))
    booked.result()
    assert_booked(conn, book, [name], "1.3")


@each_booking
def test_a_tick_waits_for_what_is_being_booked(
    database: Database, conn: Connection, book: Book, name: str
) -> None:
    with transaction(database) as first:
        BOOKINGS[name].do(first, book)
        stored = waiting(database, pid(first), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
    stored.result()
    assert_booked(conn, book, [name], "1.3")


PAUSE_BEFORE_PRICES_MOVE = """
create or replace function market.lock_prices_to_move() returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(1);
    perform pg_advisory_xact_lock(hashtextextended('tidemark prices', 0));
end $$
"""


@each_booking
def test_a_booking_goes_on_while_a_tick_computes_what_all_accounts_are_worth(
    database: Database, conn: Connection, book: Book, name: str
) -> None:
    tick(conn, EUR_USD, 0.5, "1.1", "1.1")  # gives the leg its class
    conn.execute(PAUSE_BEFORE_PRICES_MOVE)
    with transaction(database) as pause:
        pause.execute("select pg_advisory_xact_lock(1)")
        stored = waiting(database, pid(pause), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        BOOKINGS[name].do(conn, book)
        assert_booked(conn, book, [name], "1.1")
    stored.result()
    assert_booked(conn, book, [name], "1.3")


def test_an_account_opened_while_a_tick_computes_is_valued_by_it(
    database: Database, conn: Connection, book: Book
) -> None:
    conn.execute(PAUSE_BEFORE_PRICES_MOVE)
    with transaction(database) as pause:
        pause.execute("select pg_advisory_xact_lock(1)")
        stored = waiting(database, pid(pause), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        opened = account(conn)
        fill(conn, opened, EUR_USD, "sell", "10", "1.0")
    stored.result()
    assert_booked(conn, book, [], "1.3")
    assert_state(conn, opened, "10000.00", "-3.00")


def test_a_booking_that_waited_for_a_tick_taken_back_has_the_price_before(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        tick(first, EUR_USD, 1, "1.3", "1.3")
        booked = waiting(database, pid(first), lambda other: BOOKINGS["fill"].do(other, book))
        first.rollback()
    booked.result()
    assert_booked(conn, book, ["fill"], "1.1")


def test_a_tick_that_waited_for_a_booking_taken_back_does_not_count_it(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        BOOKINGS["fill"].do(first, book)
        stored = waiting(database, pid(first), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        first.rollback()
    stored.result()
    assert_booked(conn, book, [], "1.3")


def test_a_realization_is_converted_at_the_tick_that_it_waited_for(
    database: Database, conn: Connection, book: Book
) -> None:
    account_id = account(conn, "EUR")
    fill(conn, account_id, EUR_USD, "buy", "100", "1.0")
    with transaction(database) as first:
        tick(first, EUR_USD, 1, "1.25", "1.25")
        closed = waiting(
            database,
            pid(first),
            lambda other: fill(other, account_id, EUR_USD, "sell", "100", "1.2"),
        )
    row = closed.result()
    assert (row["conversion_rate"], row["realized_pnl"]) == (D("0.8"), D("16.00"))
    assert_state(conn, account_id, "10016.00", "0.00")


def test_a_first_fill_waits_for_the_first_tick_of_its_instrument(
    database: Database, conn: Connection
) -> None:
    instrument(conn, EUR_USD)
    account_id = account(conn, "EUR")
    with transaction(database) as first:
        tick(first, EUR_USD, 0, "1.25", "1.25")
        booked = waiting(
            database,
            pid(first),
            lambda other: fill(other, account_id, EUR_USD, "buy", "100", "1.2"),
        )
    assert booked.result()["conversion_rate"] == D("0.8")
    assert_state(conn, account_id, "10000.00", "4.00")


def test_a_first_tick_prices_the_fill_that_it_waited_for(
    database: Database, conn: Connection
) -> None:
    instrument(conn, EUR_USD)
    account_id = account(conn, "EUR")
    with transaction(database) as first:
        booked = fill(first, account_id, EUR_USD, "buy", "100", "1.2")
        assert state(first, account_id)["is_priced"] is False
        stored = waiting(
            database, pid(first), lambda other: tick(other, EUR_USD, 0, "1.25", "1.25")
        )
    stored.result()
    assert booked["conversion_rate"] is None
    assert_state(conn, account_id, "10000.00", "4.00")


def test_a_tick_counts_a_fill_in_another_instrument_that_was_under_way(
    database: Database, conn: Connection, book: Book
) -> None:
    instrument(conn, "GBP/USD")
    tick(conn, "GBP/USD", 0, "1.1", "1.1")
    with transaction(database) as first:
        fill(first, book.account_id, "GBP/USD", "buy", "100", "1.0")
        stored = waiting(database, pid(first), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
    stored.result()
    assert_state(conn, book.account_id, "10000.00", "40.00")


@pytest.mark.parametrize("second", ["fill", "reversal of a fill", "margin terms"])
@pytest.mark.parametrize("first", ["fill", "entry", "reversal of an entry"])
def test_a_transaction_goes_on_booking_while_a_tick_waits_for_it(
    database: Database, conn: Connection, book: Book, first: str, second: str
) -> None:
    with transaction(database) as holder:
        BOOKINGS[first].do(holder, book)
        stored = waiting(database, pid(holder), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        BOOKINGS[second].do(holder, book)
    stored.result()
    assert_booked(conn, book, [first, second], "1.3")


def test_a_transaction_goes_on_booking_on_another_account_while_a_tick_waits_for_it(
    database: Database, conn: Connection, book: Book
) -> None:
    account_id = account(conn)
    with transaction(database) as holder:
        BOOKINGS["entry"].do(holder, book)
        stored = waiting(database, pid(holder), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        fill(holder, account_id, EUR_USD, "sell", "10", "1.0")
    stored.result()
    assert_booked(conn, book, ["entry"], "1.3")
    assert_state(conn, account_id, "10000.00", "-3.00")


def test_a_booking_waits_its_turn_behind_a_tick_that_waits(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        BOOKINGS["fill"].do(first, book)
        stored = waiting(database, pid(first), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        booked = waiting(
            database, stored.pid, lambda other: BOOKINGS["reversal of a fill"].do(other, book)
        )
    stored.result()
    booked.result()
    assert_booked(conn, book, ["fill", "reversal of a fill"], "1.3")


def test_a_transaction_may_store_a_tick_and_then_book(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        tick(first, EUR_USD, 1, "1.3", "1.3")
        booked = waiting(database, pid(first), lambda other: BOOKINGS["entry"].do(other, book))
        BOOKINGS["fill"].do(first, book)
    booked.result()
    assert_booked(conn, book, ["entry", "fill"], "1.3")


@each_booking
def test_a_transaction_that_has_booked_stores_no_tick_and_keeps_nobody_waiting(
    database: Database, conn: Connection, book: Book, name: str
) -> None:
    with transaction(database) as first:
        BOOKINGS[name].do(first, book)
        stored = waiting(database, pid(first), lambda other: tick(other, EUR_USD, 1, "1.3", "1.3"))
        with pytest.raises(psycopg.Error) as refused, first.transaction():
            tick(first, EUR_USD, 2, "1.4", "1.4")
        assert refused.value.sqlstate == "TM142"
        with pytest.raises(psycopg.Error) as refused, first.transaction():
            instrument(first, "AUD/NZD")
        assert refused.value.sqlstate == "TM142"
    stored.result()
    assert_booked(conn, book, [name], "1.3")


def test_two_that_feed_partitions_of_one_topic_take_turns(
    database: Database, conn: Connection, book: Book
) -> None:
    def feed(session: Connection, partition: int, bid: str, second: int) -> None:
        session.execute(
            "select api.ingest_ticks('{EUR/USD}', array[%s], array[%s]::numeric[],"
            " array[%s]::numeric[], 'cluster', 'topic', %s, 0, 1)",
            [START + timedelta(seconds=second), bid, bid, partition],
        )

    with transaction(database) as first:
        feed(first, 0, "1.2", 1)
        fed = waiting(database, pid(first), lambda other: feed(other, 2, "1.4", 3))
        feed(first, 1, "1.3", 2)
    fed.result()
    assert one(conn, "select bid from api.quotes")["bid"] == D("1.4")
    assert_state(conn, book.account_id, "10000", "40")


# Bookings on one account


@pytest.mark.parametrize("second", BOOKINGS)
@pytest.mark.parametrize("first", BOOKINGS)
def test_bookings_on_an_account_follow_one_another(
    database: Database, conn: Connection, book: Book, first: str, second: str
) -> None:
    with transaction(database) as holder:
        BOOKINGS[first].do(holder, book)
        booked = waiting(database, pid(holder), lambda other: BOOKINGS[second].do(other, book))
    booked.result()
    assert_booked(conn, book, [first, second], "1.1")


def test_a_fill_closes_what_the_one_before_it_opened(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        fill(first, book.account_id, EUR_USD, "buy", "300", "1.2")
        sold = waiting(
            database,
            pid(first),
            lambda other: fill(other, book.account_id, EUR_USD, "sell", "500", "1.3"),
        )
    row = sold.result()
    assert (row["effect"], row["realized_pnl"]) == ("flip", D("60.00"))  # 400 bought at 1.15
    (position,) = positions(conn, book.account_id)
    assert (position["side"], position["quantity"]) == ("short", D("100"))
    assert_state(conn, book.account_id, "10060.00", "20.00")


def test_an_entry_follows_the_realized_pnl_of_the_fill_before_it(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        fill(first, book.account_id, EUR_USD, "sell", "100", "1.2")
        booked = waiting(
            database, pid(first), lambda other: entry(other, book.account_id, "withdrawal", "-1")
        )
    assert booked.result()["balance_after"] == D("10019.00")
    assert_state(conn, book.account_id, "10019.00", "0.00")


def test_a_fill_reversed_by_two_at_once_is_reversed_once(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        row = reverse_fill(first, book.fill_id)
        again = waiting(database, pid(first), lambda other: reverse_fill(other, book.fill_id))
    assert again.result() == row
    assert positions(conn, book.account_id) == []
    assert_state(conn, book.account_id, "10000.00", "0.00")


def refused_with(action: Callable[[Connection], object]) -> Callable[[Connection], str | None]:
    """An action that returns the SQLSTATE that it was refused with; None if it was not."""

    def run(conn: Connection) -> str | None:
        try:
            action(conn)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    return run


def test_a_fill_is_not_reversed_after_the_close_that_it_waited_for(
    database: Database, conn: Connection, book: Book
) -> None:
    hedged = account(conn, mode="hedging")
    opened = fill(conn, hedged, EUR_USD, "buy", "100", "1.0", "open")
    with transaction(database) as first:
        fill(first, hedged, EUR_USD, "sell", "60", "1.2", "close")
        reversed_ = waiting(
            database, pid(first), refused_with(lambda other: reverse_fill(other, opened["fill_id"]))
        )
    assert reversed_.result() == "TM154"
    assert_state(conn, hedged, "10012.00", "4.00")


def test_a_close_finds_nothing_after_the_reversal_that_it_waited_for(
    database: Database, conn: Connection, book: Book
) -> None:
    hedged = account(conn, mode="hedging")
    opened = fill(conn, hedged, EUR_USD, "buy", "100", "1.0", "open")
    with transaction(database) as first:
        reverse_fill(first, opened["fill_id"])
        closed = waiting(
            database,
            pid(first),
            refused_with(lambda other: fill(other, hedged, EUR_USD, "sell", "60", "1.2", "close")),
        )
    assert closed.result() == "TM131"
    assert_state(conn, hedged, "10000.00", "0.00")


def test_the_same_fill_told_by_two_at_once_is_booked_once(
    database: Database, conn: Connection, book: Book
) -> None:
    def tell(conn: Connection) -> Row:
        return fill(conn, book.account_id, EUR_USD, "buy", "50", "1.2", external_id="b-1")

    with transaction(database) as first:
        row = tell(first)
        again = waiting(database, pid(first), tell)
    assert again.result() == row
    assert_booked(conn, book, ["fill"], "1.1")


# Several accounts


def test_fills_on_two_accounts_do_not_wait_for_each_other(
    database: Database, conn: Connection, book: Book
) -> None:
    account_id = account(conn)
    conn.execute("set lock_timeout = '10s'")
    with transaction(database) as first:
        BOOKINGS["fill"].do(first, book)
        fill(conn, account_id, EUR_USD, "buy", "10", "1.0")
        assert_state(conn, account_id, "10000.00", "1.00")
        fill(first, book.account_id, EUR_USD, "buy", "50", "1.2")
    assert_state(conn, book.account_id, "10000.00", "0.00")


def book_on(conn: Connection, account_id: int, quantity: str) -> None:
    fill(conn, account_id, EUR_USD, "buy", quantity, "1.0")


def test_accounts_locked_beforehand_may_be_booked_on_in_any_order(
    database: Database, conn: Connection, book: Book
) -> None:
    one_id, other_id = book.account_id, account(conn)

    def in_the_other_order(other: Connection) -> None:
        other.autocommit = False
        other.execute("select api.lock_accounts(%s)", [[other_id, one_id]])
        book_on(other, other_id, "1")
        book_on(other, one_id, "2")

    with transaction(database) as first:
        first.execute("select api.lock_accounts(%s)", [[one_id, other_id]])
        book_on(first, one_id, "10")
        second = waiting(database, pid(first), in_the_other_order)
        book_on(first, other_id, "20")
    second.result()
    assert_state(conn, one_id, "10000.00", "11.20")
    assert_state(conn, other_id, "10000.00", "2.10")


def test_accounts_that_are_not_locked_beforehand_can_deadlock(
    database: Database, conn: Connection, book: Book
) -> None:
    one_id, other_id = book.account_id, account(conn)

    def in_the_other_order(other: Connection) -> None:
        other.execute("set deadlock_timeout = '10min'")  # the first session finds it
        other.autocommit = False
        book_on(other, other_id, "1")
        book_on(other, one_id, "2")

    with transaction(database) as first:
        first.execute("set local deadlock_timeout = '10ms'")
        book_on(first, one_id, "10")
        second = waiting(database, pid(first), in_the_other_order)
        with pytest.raises(psycopg.errors.DeadlockDetected):
            book_on(first, other_id, "20")
        first.rollback()
    second.result()
    assert_state(conn, one_id, "10000.00", "10.20")
    assert_state(conn, other_id, "10000.00", "0.10")


# Terms of instruments


def test_new_terms_wait_for_the_fill_that_is_being_booked(
    database: Database, conn: Connection
) -> None:
    instrument(conn, EUR_USD)
    tick(conn, EUR_USD, 0, "1.1", "1.1")
    account_id = account(conn)
    with transaction(database) as first:
        fill(first, account_id, EUR_USD, "buy", "100", "1.0")
        changed = waiting(
            database,
            pid(first),
            refused_with(lambda other: instrument(other, EUR_USD, contract_size="10")),
        )
    assert changed.result() == "TM122"
    assert_state(conn, account_id, "10000.00", "10.00")


def test_a_fill_waits_for_the_terms_that_are_being_changed(
    database: Database, conn: Connection
) -> None:
    instrument(conn, EUR_USD)
    tick(conn, EUR_USD, 0, "1.1", "1.1")
    account_id = account(conn)
    with transaction(database) as first:
        instrument(first, EUR_USD, contract_size="10")
        booked = waiting(
            database,
            pid(first),
            lambda other: fill(other, account_id, EUR_USD, "buy", "100", "1.0"),
        )
    booked.result()
    assert_state(conn, account_id, "10000.00", "100.00")


def test_a_new_margin_rate_counts_the_fill_that_it_waited_for(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        BOOKINGS["fill"].do(first, book)
        changed = waiting(
            database, pid(first), lambda other: instrument(other, EUR_USD, margin_rate="0.1")
        )
    changed.result()
    assert state(conn, book.account_id)["margin_used"] == D("16.50")
    assert_booked(conn, book, ["fill"], "1.1")


# Ticks


@pytest.mark.parametrize(
    ("second", "gbp_usd", "unrealized_pnl"), [(2, "1.8", "120.00"), (0.5, "1.5", "70.00")]
)
def test_tick_statements_follow_one_another(
    database: Database,
    conn: Connection,
    book: Book,
    second: float,
    gbp_usd: str,
    unrealized_pnl: str,
) -> None:
    """A newer one moves the quotes on; a late one only that which the other did not have."""
    for symbol in ("GBP/USD", "AUD/USD"):
        instrument(conn, symbol)
        tick(conn, symbol, 0, "1.1", "1.1")
    fill(conn, book.account_id, "GBP/USD", "buy", "100", "1.1")
    with transaction(database) as first:
        ticks(first, (EUR_USD, 1, "1.3", "1.3"), ("GBP/USD", 1, "1.5", "1.5"))
        stored = waiting(
            database,
            pid(first),
            lambda other: ticks(
                other,
                ("AUD/USD", second, "1.9", "1.9"),
                ("GBP/USD", second, "1.8", "1.8"),
                (EUR_USD, second, "1.5", "1.5"),
            ),
        )
    stored.result()
    quotes = {row["symbol"]: row["bid"] for row in every(conn, "select * from api.quotes")}
    assert (quotes["AUD/USD"], quotes["GBP/USD"]) == (D("1.9"), D(gbp_usd))
    assert_state(conn, book.account_id, "10000.00", unrealized_pnl)


def test_an_inserted_tick_waits_for_the_tick_that_is_being_ingested(
    database: Database, conn: Connection, book: Book
) -> None:
    with transaction(database) as first:
        tick(first, EUR_USD, 0, "1.2", "1.2")
        stored = waiting(database, pid(first), lambda other: insert_tick(other, EUR_USD))
    stored.result()
    assert_booked(conn, book, [], "1.3")


# Isolation levels

WRITERS: dict[str, Callable[[Connection, Book], Any]] = {
    **{name: booking.do for name, booking in BOOKINGS.items()},
    "locked accounts": lambda conn, book: conn.execute(
        "select api.lock_accounts(%s)", [[book.account_id]]
    ),
    "closed account": lambda conn, book: conn.execute(
        "select api.close_account(%s)", [book.account_id]
    ),
    "ingested tick": lambda conn, _: tick(conn, EUR_USD, 1, "1.3", "1.3"),
    "inserted tick": lambda conn, _: insert_tick(conn, EUR_USD),
    "instrument": lambda conn, _: instrument(conn, EUR_USD, margin_rate="0.1"),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_who_could_not_see_what_others_commit_does_not_write(
    conn: Connection, book: Book, level: str, writer: str
) -> None:
    conn.execute(f"set default_transaction_isolation = '{level}'")
    with pytest.raises(psycopg.Error) as refusal:
        WRITERS[writer](conn, book)
    assert refusal.value.sqlstate == "TM141"
    assert_booked(conn, book, [], "1.1")


# All at once


@pytest.mark.parametrize("seed", [1, 2])
def test_every_snapshot_is_sound_while_all_write_at_once(
    database: Database, conn: Connection, seed: int
) -> None:
    tally = Sessions(database, WIDE, seed).run(steps=450)
    print(f"seed {seed}: {tally}")
    assert tally.errors == []  # no deadlock, and no refusal but those that business brings about
    assert tally.broken == []
    assert tally.checks > 10
    assert_replayed(conn)


# What the test of all at once would see


FAULTS = {
    "states set to an aggregate": """
        create or replace function equity.tg_value_fills() returns trigger language plpgsql as $$
        begin
            perform equity.set_legs(array(select f::ledger.fills from new_fills f));
            update equity.account_states s
            set unrealized_pnl = n.unrealized_pnl, version = s.version + 1
            from (
                select a.account_id, coalesce(sum(equity.to_account_currency(
                    l.units * case when l.is_long then q.bid else q.ask end - l.cost,
                    c.rate, a.money_scale
                )), 0) as unrealized_pnl
                from new_fills
                join ledger.accounts a using (account_id)
                left join equity.legs l using (account_id)
                left join market.instruments i on i.instrument_id = l.instrument_id
                left join market.quotes q on q.instrument_id = l.instrument_id
                left join market.conversion_rates c
                    on c.from_currency = i.quote_currency and c.to_currency = a.currency
                group by a.account_id
            ) n
            where s.account_id = n.account_id;
            return null;
        end $$;
        create or replace function market.lock_prices_to_book() returns void
        language plpgsql as $$ begin end $$;
        create or replace function market.lock_prices_to_move() returns void
        language plpgsql as $$ begin end $$;
    """,
    "bookings do not hold the prices": """
        create or replace function market.lock_prices_to_book() returns void
        language plpgsql as $$ begin end $$;
    """,
    "ticks do not wait for bookings": """
        create or replace function market.lock_prices_to_move() returns void
        language plpgsql as $$ begin end $$;
    """,
    "ticks do not ask who has booked while they computed": """
        do $do$ begin
            execute replace(
                pg_get_functiondef('equity.value_all_accounts'::regproc),
                'last_event_seq is distinct from v_event_seqs[account_id]', 'false'
            );
        end $do$;
    """,
    "ticks do not wait for ticks": """
        create or replace function market.lock_tick_statements() returns void
        language plpgsql as $$ begin end $$;
    """,
    "bookings do not lock the account": """
        create or replace function ledger.lock_account(p_account_id bigint)
        returns ledger.accounts language plpgsql as $$
        begin
            perform market.lock_prices_to_book();
            return (select a from ledger.accounts a where account_id = p_account_id);
        end $$;
    """,
}
each_fault = pytest.mark.parametrize("fault", FAULTS)


def test_without_a_fault_nothing_is_seen(database: Database, conn: Connection) -> None:
    tally = Sessions(database, NARROW, seed=1).run(steps=200, until_broken=True)
    print(tally)
    assert tally.errors == tally.broken == []
    assert_replayed(conn)


@each_fault
def test_a_planted_fault_is_seen(database: Database, conn: Connection, fault: str) -> None:
    conn.execute(FAULTS[fault])
    tally = Sessions(database, NARROW, seed=1).run(steps=500, until_broken=True)
    print(f"{fault}: {tally}")
    assert tally.broken != []


@each_fault
def test_a_planted_fault_is_right_while_nobody_else_writes(
    database: Database, conn: Connection, fault: str
) -> None:
    conn.execute(FAULTS[fault])
    tally = Sessions(database, NARROW, seed=1).run_one_after_another(steps=20)
    assert tally.errors == tally.broken == []
    assert_replayed(conn)
