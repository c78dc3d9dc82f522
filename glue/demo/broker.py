"""The demo's broker: a simulated one with the demo's accounts, which now and then misbehaves.

Run as `python -m glue.demo broker`. Its prices are the topic's, by a way of its own. It begins with
what the ledger has, so that a demo that was stopped goes on; after that the traders tell it what
they trade, and it is what the ledger is compared with.
"""

import random
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import msgspec
from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from glue import db, kafka, logs, service, ticks
from glue.brokers.simulated import Books, SimulatedBroker, SimulationError
from glue.demo import accounts
from glue.demo.accounts import ACCOUNTS, Account, Connection
from glue.errors import FeedError, ServerError
from glue.settings import Address, Settings
from glue.stop import Stop

KAFKA_TIMEOUT = 5.0
"""Seconds."""
FIRST_PAUSE = 60.0
"""Seconds until it misbehaves for the first time."""
MEAN_PAUSE = 180.0
"""Seconds from the end of one misbehaviour to the next, on average."""
HOLD = 100.0
"""Seconds that one lasts: three comparisons see it."""
FEE = Decimal(37)
"""What a balance is off by, in account currency."""

log = logs.get("broker")


def main(settings: Settings, dsn: str, servers: str) -> None:
    """Be the broker until told to stop.

    Prints one line of JSON with its address, {"broker": "http://host:port"}, once it has accounts
    and prices. Raises ServerError for an address that is taken, FeedError without a topic.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    broker = SimulatedBroker(listen_address(settings.demo_broker))
    with prices_of(servers, settings.topic, broker.books, stop):
        with db.connect(dsn, role=accounts.ROLE, process="tidemark demo broker") as connection:
            fill_in(broker.books, connection)
        try:
            broker.start()
        except OSError as error:
            raise ServerError(
                f"cannot listen at {settings.demo_broker}: {error}",
                "Name another address with TIDEMARK_DEMO_BROKER.",
            ) from error
        click.echo(msgspec.json.encode({"broker": broker.url}))
        log.info("listening", url=broker.url)
        misbehave(broker, stop)
        broker.stop()
    log.info("stopped")


def listen_address(url: str) -> Address:
    """Where the address that clients use is listened at."""
    parts = urlsplit(url)
    return Address(parts.hostname or "127.0.0.1", parts.port or 8019)


# Its books --------------------------------------------------------------------------------------


def fill_in(books: Books, connection: Connection) -> None:
    """Open the accounts as the ledger has them, with prices and instruments."""
    quotes = connection.execute("select symbol, bid, ask from api.quotes").fetchall()
    books.set_prices([(symbol, bid, ask) for symbol, bid, ask in quotes])
    for symbol, margin_rate in connection.execute(
        "select symbol, margin_rate from api.instruments"
    ).fetchall():
        books.set_instrument(symbol, margin_rate)
    for account in ACCOUNTS:
        _open(books, connection, account)


def _open(books: Books, connection: Connection, account: Account) -> None:
    row = connection.execute(
        "select a.account_id, s.balance, greatest("
        " (select max(external_id::bigint) from api.fills f"
        "  where f.account_id = a.account_id and external_id ~ '^[0-9]{1,18}$'),"
        " (select max(external_id::bigint) from api.entries e"
        "  where e.account_id = a.account_id and external_id ~ '^[0-9]{1,18}$'),"
        " (select last_transaction_id::bigint from api.reconciliation_status r"
        "  where r.account_id = a.account_id), 0)"
        " from api.accounts a join api.account_states s using (account_id)"
        " where a.broker = %s and a.broker_account_id = %s",
        [accounts.BROKER, account.number],
    ).fetchone()
    assert row is not None  # accounts.set_up has opened it
    account_id, balance, last_transaction_id = row
    books.create_account(
        account.number,
        account.currency,
        money_scale=account.money_scale,
        is_hedging=account.position_mode == "hedging",
        conversion_markup=account.conversion_markup,
        last_transaction_id=last_transaction_id,
    )
    books.set_balance(account.number, balance)
    for symbol, side, quantity, average_price in connection.execute(
        "select symbol, side, quantity, average_price from api.positions where account_id = %s",
        [account_id],
    ).fetchall():
        books.set_position(account.number, symbol, side, quantity, average_price)


# Its prices -------------------------------------------------------------------------------------


@contextmanager
def prices_of(servers: str, topic: str, books: Books, stop: Stop) -> Iterator[None]:
    """Have the books follow the topic's prices, from now on and while the context lasts."""
    consumer = Consumer(
        {
            **kafka.QUIET,
            "bootstrap.servers": servers,
            "group.id": f"tidemark-demo-broker-{uuid.uuid4()}",
            "enable.auto.commit": False,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=KAFKA_TIMEOUT).topics[topic].partitions
    except KafkaException as error:
        raise FeedError(
            f"no Kafka cluster at {servers}: {error.args[0].str()}", "Check TIDEMARK_KAFKA."
        ) from error
    consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in partitions])
    thread = threading.Thread(target=_follow, args=(consumer, books, stop), name="prices")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        consumer.close()


def _follow(consumer: Consumer, books: Books, stop: Stop) -> None:
    while not stop.is_set():
        newest: dict[str, tuple[str, Decimal, Decimal]] = {}
        for message in consumer.consume(100, 0.1):
            if message.error() is None:
                for symbol, _, bid, ask, problem in ticks.read_message(message.value()):
                    if problem is None and symbol and bid and ask and 0 < bid <= ask:
                        newest[symbol] = (symbol, bid, ask)
        if newest:
            books.set_prices(list(newest.values()))


# Its faults -------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """Something that a broker does wrong for a while."""

    name: str
    begin: Callable[[SimulatedBroker, Account], None]
    end: Callable[[SimulatedBroker, Account], None]


def _nothing(_broker: SimulatedBroker, _account: Account) -> None:
    """It ends by itself, or by what the reconciler books."""


def _distort(**how: object) -> Callable[[SimulatedBroker, Account], None]:
    return lambda broker, account: broker.books.distort(account.number, **how)  # type: ignore[arg-type]


def _change_balance(by: Decimal) -> Callable[[SimulatedBroker, Account], None]:
    def change(broker: SimulatedBroker, account: Account) -> None:
        with broker.books.lock:
            balance = broker.books.account(account.number).balance
            broker.books.set_balance(account.number, balance + by)

    return change


def _trade_untold(broker: SimulatedBroker, account: Account) -> None:
    """A trade that the ledger is not told of: a lot more of what the account has most of."""
    books = broker.books
    with books.lock:
        positions = books.account(account.number).positions.values()
        largest = max(positions, key=lambda position: abs(position.quantity), default=None)
        if largest is None:
            return
        price = books.prices[largest.symbol]
        books.record_fill(
            account.number,
            largest.symbol,
            "buy" if largest.quantity > 0 else "sell",
            Decimal(1000),
            price.ask if largest.quantity > 0 else price.bid,
            effect="open" if account.position_mode == "hedging" else "auto",
        )


def _charge_untold(broker: SimulatedBroker, account: Account) -> None:
    broker.books.record_entry(account.number, "financing", -FEE)


FAULTS: Sequence[Fault] = (
    Fault("another balance", _change_balance(-FEE), _change_balance(FEE)),
    Fault("a trade that nobody was told of", _trade_untold, _nothing),
    Fault(
        "financing that nobody was told of",
        _charge_untold,
        _nothing,
    ),
    Fault("values at mid", _distort(price_side="mid"), _distort()),
    Fault("prices that stand still", _distort(freeze_prices=True), _distort()),
    Fault("other conversion rates", _distort(conversion_factor=Decimal("1.01")), _distort()),
    Fault(
        "an old answer",
        lambda broker, account: broker.misbehave(account.number, is_stale=True),
        lambda broker, account: broker.behave(account.number),
    ),
    Fault("no answer", lambda broker, _: broker.go_away(HOLD), _nothing),
)
"""Each is found by its cause, and resolved when it ends. A trade and financing are booked: the
demo's accounts allow it."""


def misbehave(broker: SimulatedBroker, stop: Stop) -> None:
    """Misbehave now and then until told to stop."""
    pause = FIRST_PAUSE
    while not stop.wait(pause):
        fault, account = random.choice(FAULTS), random.choice(ACCOUNTS)
        log.info("misbehaving", account=account.number, fault=fault.name)
        try:
            fault.begin(broker, account)
            stop.wait(HOLD)
            fault.end(broker, account)
        except SimulationError as error:
            log.warning("could not misbehave", fault=fault.name, reason=str(error))
        log.info("behaving again", account=account.number, fault=fault.name)
        pause = random.expovariate(1 / MEAN_PAUSE)
