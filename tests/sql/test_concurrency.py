"""Writers at the same time: no snapshot of the database ever shows a wrong state."""

import random
import threading
from collections.abc import Callable

import psycopg
import pytest

from tests.conftest import Database
from tests.factories import (
    Connection,
    D,
    account,
    assert_sound,
    entry,
    fill,
    instrument,
    state,
    tick,
    ticks,
)

SYMBOLS = ["EUR/USD", "GBP/USD", "USD/JPY", "EUR/GBP"]


def waits_for_a_lock(conn: Connection, pid: int) -> bool:
    row = conn.execute("select cardinality(pg_blocking_pids(%s)) > 0", [pid]).fetchone()
    return row == (True,)


def in_the_background(
    database: Database, action: Callable[[Connection], object]
) -> threading.Thread:
    """Start the action in a session of its own and return once it waits for a lock."""
    connection = database.connect()

    def run() -> None:
        with connection:
            action(connection)

    thread = threading.Thread(target=run)
    thread.start()
    with database.connect() as watcher:
        while not waits_for_a_lock(watcher, connection.info.backend_pid):
            assert thread.is_alive(), "it did not wait"
    return thread


def test_a_first_fill_waits_for_the_tick_that_is_being_stored(
    database: Database, conn: Connection
) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    tick(conn, "EUR/USD", 0, "1.1", "1.1")

    conn.autocommit = False
    tick(conn, "EUR/USD", 1, "1.3", "1.3")
    booked = in_the_background(
        database, lambda other: fill(other, account_id, "EUR/USD", "buy", "100", "1.2")
    )
    conn.commit()
    booked.join()
    assert state(conn, account_id)["unrealized_pnl"] == D("10.00")
    assert_sound(conn)


def test_new_terms_wait_for_the_fill_that_is_being_booked(
    database: Database, conn: Connection
) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    tick(conn, "EUR/USD", 0, "1.1", "1.1")
    refused: list[str | None] = []

    def change_terms(other: Connection) -> None:
        try:
            instrument(other, "EUR/USD", contract_size="10")
        except psycopg.Error as error:
            refused.append(error.sqlstate)

    with database.connect() as holder:
        holder.autocommit = False
        holder.execute("select from ledger.accounts for update")
        booked = in_the_background(
            database, lambda other: fill(other, account_id, "EUR/USD", "buy", "100", "1")
        )
        changed = in_the_background(database, change_terms)
        holder.rollback()
    booked.join()
    changed.join()
    assert refused == ["TM122"]
    assert state(conn, account_id)["unrealized_pnl"] == D("10.00")
    assert_sound(conn)


def test_a_tick_waits_for_the_fill_that_is_being_booked(
    database: Database, conn: Connection
) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn)
    tick(conn, "EUR/USD", 0, "1.1", "1.1")

    conn.autocommit = False
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.2")
    stored = in_the_background(database, lambda other: tick(other, "EUR/USD", 1, "1.3", "1.3"))
    conn.commit()
    stored.join()
    assert state(conn, account_id)["unrealized_pnl"] == D("10.00")
    assert_sound(conn)


def test_a_tick_counts_a_fill_in_another_instrument_that_was_under_way(
    database: Database, conn: Connection
) -> None:
    for symbol in ("EUR/USD", "GBP/USD"):
        instrument(conn, symbol)
        tick(conn, symbol, 0, "1.1", "1.1")
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.0")

    conn.autocommit = False
    fill(conn, account_id, "GBP/USD", "buy", "100", "1.0")
    stored = in_the_background(database, lambda other: tick(other, "EUR/USD", 1, "1.3", "1.3"))
    conn.commit()
    stored.join()
    assert state(conn, account_id)["unrealized_pnl"] == D("40.00")
    assert_sound(conn)


def test_entries_of_an_account_follow_one_another(database: Database, conn: Connection) -> None:
    account_id = account(conn, deposit="100")
    conn.autocommit = False
    entry(conn, account_id, "deposit", "10")
    booked = in_the_background(database, lambda other: entry(other, account_id, "deposit", "1"))
    conn.commit()
    booked.join()
    assert state(conn, account_id)["balance"] == D("111.00")
    assert_sound(conn)


@pytest.mark.parametrize("seed", [1])
def test_every_snapshot_is_sound_while_all_write_at_once(
    database: Database, conn: Connection, seed: int
) -> None:
    """Five sessions fill and book, two feed ticks, one checks all the while."""
    for symbol in SYMBOLS:
        instrument(conn, symbol)
    ticks(conn, *[(symbol, 0, "1.2", "1.2") for symbol in SYMBOLS[:3]])
    accounts = [account(conn, currency) for currency in ("USD", "EUR", "JPY", "GBP")]
    failures: list[str] = []
    writing = threading.Semaphore(0)

    def session(number: int, act: Callable[[Connection, random.Random, int], None]) -> None:
        chance = random.Random(f"{seed} {number}")
        try:
            with database.connect() as connection:
                for step in range(1, 61):
                    act(connection, chance, step)
        except psycopg.Error as error:
            failures.append(f"session {number}: {error}")
        finally:
            writing.release()

    def book(connection: Connection, chance: random.Random, _step: int) -> None:
        account_id, symbol = chance.choice(accounts), chance.choice(SYMBOLS)
        if chance.random() < 0.2:
            entry(connection, account_id, "adjustment", str(chance.randint(1, 99)))
        else:
            try:
                quantity, side = str(chance.randint(1, 999)), chance.choice(["buy", "sell"])
                fill(connection, account_id, symbol, side, quantity, "1.2")
            except psycopg.Error as error:
                if error.sqlstate != "TM133":  # the path of the last symbol has no price at first
                    raise

    def feed(connection: Connection, chance: random.Random, step: int) -> None:
        batch = [
            (symbol, float(step), price := str(D(chance.randint(11000, 13000)) / 10000), price)
            for symbol in chance.sample(SYMBOLS, 2)
        ]
        ticks(connection, *batch)

    def verify() -> None:
        with database.connect() as connection:
            while not all_written.is_set():
                for function in ("verify_equity", "verify_ledger"):
                    broken = connection.execute(f"select * from api.{function}()").fetchall()
                    if broken:
                        failures.append(f"{function}: {broken}")

    all_written = threading.Event()
    actions = [book] * 5 + [feed] * 2
    sessions = [
        threading.Thread(target=session, args=(number, action))
        for number, action in enumerate(actions)
    ]
    checker = threading.Thread(target=verify)
    for thread in [checker, *sessions]:
        thread.start()
    for _ in sessions:
        writing.acquire()
    all_written.set()
    for thread in [checker, *sessions]:
        thread.join()

    assert failures == []
    assert_sound(conn)
