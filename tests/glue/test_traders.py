"""The demo's traders: believable, bounded, and harmless to anybody else's books."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from glue.brokers.simulated import SimulatedBroker
from glue.brokers.simulated.account import Fill as SimulatedFill
from glue.demo import accounts
from glue.demo.accounts import ACCOUNTS, Account
from glue.demo.broker import fill_in
from glue.demo.market import INSTRUMENTS, Market
from glue.demo.traders import (
    COMFORT,
    LARGEST,
    LIMIT,
    Book,
    Broker,
    Mind,
    Position,
    Price,
    Traders,
    lot,
)
from glue.errors import SettingsError
from tests.conftest import Connection, Database
from tests.factories import account
from tests.glue.broker import count
from tests.supervisors import until

STEPS = 250
MINUTES_A_STEP = 10


def tick(conn: Connection, market: Market) -> None:
    """All instruments at once."""
    quotes = [market.quote(instrument.symbol) for instrument in INSTRUMENTS]
    columns = [list(column) for column in zip(*quotes, strict=True)]
    now = [datetime.now(UTC)] * len(quotes)
    conn.execute("select api.ingest_ticks(%s, %s, %s, %s)", [columns[0], now, *columns[1:]])


@pytest.fixture
def ids(database: Database) -> dict[str, int]:
    return accounts.set_up(database.dsn)


@pytest.fixture
def trading(database: Database) -> Iterator[Connection]:
    with database.connect(role=accounts.ROLE) as connection:
        yield connection


@pytest.fixture
def simulated(trading: Connection, ids: dict[str, int]) -> Iterator[SimulatedBroker]:
    """The broker, with the accounts of the demo."""
    with SimulatedBroker() as broker:
        fill_in(broker.books, trading)
        yield broker


@pytest.fixture
def broker(simulated: SimulatedBroker) -> Broker:
    """As traders see it."""
    return Broker(simulated.url)


class TestSetUp:
    def test_twice_is_once(self, database, conn, ids):
        assert accounts.set_up(database.dsn) == ids

        assert count(conn, "api.instruments") == len(INSTRUMENTS)
        assert count(conn, "api.accounts") == len(ACCOUNTS)
        assert count(conn, "api.entries") == len(ACCOUNTS)
        found = conn.execute(
            "select broker_account_id, currency, balance from api.accounts"
            " join api.account_states using (account_id, currency)"
        ).fetchall()
        assert set(found) == {(a.number, a.currency, a.deposit) for a in ACCOUNTS}

    def test_changes_a_margin_rate_that_differs(self, database, conn, ids):
        conn.execute("select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.5)")
        accounts.set_up(database.dsn)

        row = conn.execute("select margin_rate from api.instruments where symbol = 'EUR/USD'")
        assert row.fetchone() == (Decimal("0.0333"),)

    def test_the_accounts_differ_in_what_matters(self):
        assert len({a.currency for a in ACCOUNTS}) >= 5
        assert {a.position_mode for a in ACCOUNTS} == {"netting", "hedging"}
        assert any(a.conversion_markup for a in ACCOUNTS)
        assert any(a.commission for a in ACCOUNTS)
        assert {a.money_scale for a in ACCOUNTS} == {0, 2}

    def test_refuses_others(self, database, conn, ids):
        accounts.refuse_others(database.dsn)
        account(conn, name="Pension fund")

        with pytest.raises(SettingsError, match="Pension fund"):
            accounts.refuse_others(database.dsn)

    def test_has_nothing_against_an_empty_database(self, empty_database):
        accounts.refuse_others(empty_database.dsn)


class TestTrading:
    def test_begins_once_there_are_prices(self, conn, trading, broker, ids):
        traders = Traders(trading, broker, ids, Mind(1))
        traders.step()
        assert traders.booked == 0
        tick(conn, Market(1))
        traders.step()

        assert traders.booked == 3 * len(ACCOUNTS)
        states = conn.execute("select is_priced, unrealized_pnl from api.account_states").fetchall()
        assert all(is_priced and pnl < 0 for is_priced, pnl in states)  # each has paid the spread

    def test_a_later_start_does_not_begin_again(self, conn, trading, broker, ids):
        tick(conn, Market(1))
        Traders(trading, broker, ids, Mind(1)).step()
        later = Traders(trading, broker, ids, Mind(2))
        later.step()

        assert later.booked <= 2

    def test_stays_within_bounds_and_leaves_the_books_right(self, conn, trading, broker, ids):
        market = Market(7)
        traders = Traders(trading, broker, ids, Mind(7))
        for _ in range(STEPS):
            market.advance(60 * MINUTES_A_STEP)
            tick(conn, market)
            traders.step()
            (worst,) = conn.execute(
                "select max(margin_used / margin_equity) from api.account_states"
            ).fetchone()
            assert worst is None or worst < 0.5
        positions = conn.execute("select symbol, quantity from api.positions").fetchall()
        effects = {effect for (effect,) in conn.execute("select effect from api.fills")}
        traded = {account_id for (account_id,) in conn.execute("select account_id from api.fills")}

        assert conn.execute("select * from api.verify_equity()").fetchall() == []
        assert conn.execute("select * from api.verify_ledger()").fetchall() == []
        assert all(quantity <= LARGEST * lot(symbol) for symbol, quantity in positions)
        assert effects == {"open", "close", "flip"}
        assert traded == set(ids.values())
        assert traders.booked == count(conn, "api.fills")
        commissions = conn.execute(
            "select distinct account_id from api.entries where kind = 'commission'"
        ).fetchall()
        assert commissions == [(ids[a.number],) for a in ACCOUNTS if a.commission]

    def test_leaves_a_closed_account_alone(self, conn, trading, broker, ids):
        for account_id in ids.values():
            conn.execute(
                "select api.record_entry(%s, 'withdrawal', -balance) "
                "from api.account_states where account_id = %s",
                [account_id, account_id],
            )
            conn.execute("select api.close_account(%s)", [account_id])
        tick(conn, Market(1))
        traders = Traders(trading, broker, ids, Mind(1))
        traders.step()

        assert traders.booked == 0

    def test_tells_the_broker_of_each_under_the_id_that_the_ledger_has(
        self, conn, trading, broker, ids, simulated
    ):
        market = Market(3)
        tick(conn, market)
        traders = Traders(trading, broker, ids, Mind(3))
        for _ in range(60):
            traders.step()
        for account_ in ACCOUNTS:
            told = simulated.books.account(account_.number)
            fills = conn.execute(
                "select external_id, symbol, side, quantity, price from api.fills"
                " where account_id = %s order by event_seq",
                [ids[account_.number]],
            ).fetchall()
            assert fills == [
                (str(number), fill.symbol, fill.side, fill.quantity, fill.price)
                for number, booked in told.booked.items()
                if isinstance(fill := booked.event, SimulatedFill)
            ]
            assert conn.execute(
                "select balance from api.account_states where account_id = %s",
                [ids[account_.number]],
            ).fetchone() == (told.balance,)

    def test_nobody_trades_while_the_broker_is_away(self, conn, trading, broker, ids, simulated):
        tick(conn, Market(3))
        traders = Traders(trading, broker, ids, Mind(3))
        simulated.stop()
        traders.step()
        assert traders.booked == 0
        simulated.start()
        traders.step()
        assert traders.booked == 3 * len(ACCOUNTS)

    def test_a_trade_that_the_broker_was_not_told_of_is_told_before_the_next(
        self, conn, trading, broker, ids, simulated
    ):
        tick(conn, Market(3))
        traders = Traders(trading, broker, ids, Mind(3))
        asked = broker.next_id

        def asked_last(account_: Account) -> int | None:
            number = asked(account_)
            simulated.stop()
            return number

        broker.next_id = asked_last
        traders.step()
        broker.next_id = asked
        assert traders.booked == 1
        assert traders.pause() < 2
        simulated.start()
        traders.step()

        told = sum(
            isinstance(booked.event, SimulatedFill)
            for account_ in simulated.books.accounts.values()
            for booked in account_.booked.values()
        )
        assert told == traders.booked == count(conn, "api.fills")

    def test_lost_connection_is_made_anew(self, database, conn, simulated):
        tick(conn, Market(1))
        process = subprocess.Popen(
            [sys.executable, "-m", "glue.demo", "trade"],
            env=os.environ | {"TIDEMARK_DSN": database.dsn, "TIDEMARK_DEMO_BROKER": simulated.url},
            stderr=subprocess.PIPE,
            text=True,
        )
        sessions = "select pid from pg_stat_activity where application_name = 'tidemark traders'"
        try:
            until(lambda: count(conn, "api.fills") == 3 * len(ACCOUNTS), "first positions")
            (before,) = conn.execute(sessions).fetchone()
            conn.execute("select pg_terminate_backend(%s, 5000)", [before])
            until(lambda: conn.execute(sessions).fetchone() not in (None, (before,)), "a new one")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            _, log = process.communicate()

        assert "database lost" in log
        assert "database is back" in log


class TestMind:
    def book(self, equity: str, used: str) -> Book:
        price = Price(Decimal("1.1"), Decimal("1.1001"), Decimal("0.03"))
        held = Position("EUR/USD", "long", Decimal(100_000), Decimal(used))
        prices = dict.fromkeys(ACCOUNTS[0].symbols, price)
        return Book(Decimal(equity), Decimal(used), [held], prices)

    def test_same_seed_same_trades(self):
        def trades(seed: int) -> list[object]:
            mind = Mind(seed)
            book = self.book("250000", "3600")
            return [(mind.pause(), mind.next_orders(mind.pick(), book)) for _ in range(50)]

        assert trades(3) == trades(3)
        assert trades(3) != trades(4)

    def test_trades_every_three_seconds_on_average(self):
        mind = Mind(5)
        pauses = [mind.pause() for _ in range(5_000)]

        assert 2.8 < sum(pauses) / len(pauses) < 3.2
        assert min(pauses) > 0.1

    def test_buys_at_the_ask_and_sells_at_the_bid(self):
        mind = Mind(5)
        orders = [
            order
            for _ in range(200)
            for order in mind.next_orders(ACCOUNTS[0], self.book("250000", "3600"))
        ]

        assert {(order.side, order.price) for order in orders} == {
            ("buy", Decimal("1.1001")),
            ("sell", Decimal("1.1")),
        }

    def test_reduces_the_largest_position_when_margin_is_short(self):
        book = self.book("8000", "3600")
        assert book.margin_used > LIMIT * book.margin_equity
        (order,) = Mind(1).next_orders(ACCOUNTS[0], book)

        assert (order.side, order.quantity, order.opened) == ("sell", 50_000, 0)

    def test_opens_nothing_that_would_make_it_short(self):
        mind = Mind(1)
        book = self.book("12500", "3600")
        for _ in range(300):
            for order in mind.next_orders(ACCOUNTS[0], book):
                added = order.opened * order.price * Decimal("0.03")
                assert added == 0 or book.margin_used + added <= COMFORT * book.margin_equity
