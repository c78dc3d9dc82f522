"""The demo's broker: it begins with the ledger's books, and its faults are found and pass."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from glue.brokers.simulated import SimulatedBroker
from glue.demo import accounts
from glue.demo.accounts import ACCOUNTS
from glue.demo.broker import FAULTS, Fault, fill_in, listen_address
from glue.demo.market import INSTRUMENTS, Market
from glue.demo.traders import Broker, Mind, Traders
from glue.settings import Address
from tests.conftest import Connection, Database
from tests.factories import assert_sound, every
from tests.glue.desks import Desk, once

CAUSES = {
    "another balance": {"balance"},
    "a trade that nobody was told of": {"missing_fill"},
    "financing that nobody was told of": {"financing"},
    "values at mid": {"price_side"},
    "prices that stand still": {"stale_price", "unknown", "conversion"},
    "other conversion rates": {"conversion", "margin"},
    "an old answer": {"extra_fill", "stale_price"},
    "no answer": set(),
}


@pytest.fixture
def ids(database: Database) -> dict[str, int]:
    return accounts.set_up(database.dsn)


@pytest.fixture
def market() -> Market:
    return Market(9)


@pytest.fixture
def desk(
    database: Database, conn: Connection, ids: dict[str, int], market: Market
) -> Iterator[Desk]:
    """The demo after some trades."""
    with SimulatedBroker() as broker:
        desk = Desk(database.dsn, conn, broker)
        conn.execute(
            "select from api.set_reconciliation_settings('0.3 seconds',"
            " p_price_window => '0.1 seconds')"
        )
        fill_in(broker.books, conn)
        move(desk, market)
        trade(desk, ids, 40)
        yield desk


def move(desk: Desk, market: Market) -> None:
    """Other prices on both sides, and the time that they count beside the new ones has passed."""
    market.advance(3600)
    quotes = [market.quote(instrument.symbol) for instrument in INSTRUMENTS]
    desk.books.set_prices(quotes)
    desk.connection.execute(
        "select from api.ingest_ticks(%s, %s, %s, %s)",
        [
            [quote.symbol for quote in quotes],
            [datetime.now(UTC)] * len(quotes),
            [quote.bid for quote in quotes],
            [quote.ask for quote in quotes],
        ],
    )
    desk.connection.execute("select pg_sleep(0.2)")


def trade(desk: Desk, ids: dict[str, int], steps: int) -> None:
    traders = Traders(desk.connection, Broker(desk.broker.url), ids, Mind(4))
    for _ in range(steps):
        traders.step()


def test_begins_with_what_the_ledger_has_and_numbers_on(
    desk: Desk, ids: dict[str, int], market: Market
) -> None:
    assert once(desk)[0] == 0
    desk.broker.stop()
    last = desk.books.account("D-1001").last_id
    with SimulatedBroker() as successor:
        later = Desk(desk.dsn, desk.connection, successor)
        fill_in(successor.books, desk.connection)
        assert successor.books.account("D-1001").last_id > last
        code, output = once(later)
        assert code == 0, output
        trade(later, ids, 20)
        code, output = once(later)
        assert code == 0, output
    assert_sound(desk.connection)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_is_found_and_passes(
    desk: Desk, ids: dict[str, int], market: Market, fault: Fault
) -> None:
    (account,) = [each for each in ACCOUNTS if each.number == "D-1001"]
    variables = {"TIDEMARK_RECONCILE_BEAT": "30"}
    assert once(desk, "--once", **variables)[0] == 0
    fault.begin(desk.broker, account)
    trade(desk, ids, 30)
    move(desk, market)
    code, output = once(desk, "--once", **variables)
    is_away = fault.name == "no answer"
    is_repaired = "nobody was told of" in fault.name
    assert code == (4 if is_away else 0 if is_repaired else 3), output
    fault.end(desk.broker, account)
    if is_away:
        desk.broker.start()
    code, output = once(desk, "--once", **variables)
    assert code == 0, output

    found = every(desk.connection, "select distinct account_id, cause from api.discrepancies")
    assert {row["account_id"] for row in found} <= {ids["D-1001"]}
    assert {row["cause"] for row in found} <= CAUSES[fault.name]
    assert bool(found) == bool(CAUSES[fault.name])
    assert_sound(desk.connection)


def test_listens_where_clients_look_for_it() -> None:
    assert listen_address("http://127.0.0.1:8019") == Address("127.0.0.1", 8019)
    assert listen_address("http://0.0.0.0:9000/") == Address("0.0.0.0", 9000)
