"""Traders: the demo's accounts buy and sell now and then, at the quotes of the moment.

Run as `python -m glue.demo trade`. Every decision begins by reading what is open, so somebody may
book fills in psql beside it. Trades keep the margin used well below half of the equity. The broker
is told of each, and while it is away nobody trades.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import httpx2
import psycopg

from glue import db, logs, service
from glue.brokers.simulated import Control, SimulationError
from glue.demo import accounts
from glue.demo.accounts import ACCOUNTS, Account, Connection
from glue.errors import ServerError
from glue.stop import Stop

MEAN_PAUSE = 3.0
"""Seconds from one decision to the next, on average."""
SHORTEST_PAUSE = 0.2
"""Seconds."""
START_PAUSE = 0.1
"""Seconds between two looks for the first quotes."""
RETRY_INTERVAL = 1.0
"""Seconds between two attempts to reach the database, or the broker."""
REPORT_INTERVAL = 60.0
"""Seconds between two lines of progress in the log."""
COMFORT = Decimal("0.30")
"""Of margin equity: nothing is opened that would use more margin than this."""
LIMIT = Decimal("0.40")
"""Of margin equity: above this, the largest position is reduced."""
LARGEST = 25
"""Lots that a position is at most brought to."""

log = logs.get("traders")


class Price(NamedTuple):
    """A quote, and the margin in account currency that a base unit needs for each 1.0 of price."""

    bid: Decimal
    ask: Decimal
    margin_rate: Decimal


class Position(NamedTuple):
    """An open position: long or short, quantity in base units and positive."""

    symbol: str
    side: str
    quantity: Decimal
    margin_used: Decimal


class Book(NamedTuple):
    """What a decision about an account rests on; amounts in its currency."""

    margin_equity: Decimal
    margin_used: Decimal
    positions: Sequence[Position]
    prices: Mapping[str, Price]
    """Of the symbols that have a quote and a conversion rate."""


class Order(NamedTuple):
    """A trade at a price; `opened` is the part of the quantity that does not reduce a position."""

    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    effect: str
    opened: Decimal


class Fill(NamedTuple):
    """What the ledger booked, in account currency."""

    realized_pnl: Decimal
    commission: Decimal
    conversion_rate: Decimal | None


class Mind:
    """Decides. The same seed and the same books give the same trades."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def pause(self) -> float:
        """Seconds until the next decision: a Poisson process, but never in a burst."""
        return max(SHORTEST_PAUSE, self._random.expovariate(1 / MEAN_PAUSE))

    def pick(self) -> Account:
        """The account that trades next."""
        return self._random.choice(ACCOUNTS)

    def first_orders(self, account: Account, book: Book) -> list[Order]:
        """The positions that an account starts with; none before all of them have a price."""
        symbols = account.symbols[:3]
        if not all(symbol in book.prices for symbol in symbols):
            return []
        return [
            _open(account, symbol, self._side(), self._random.randint(8, 15), book)
            for symbol in symbols
        ]

    def next_orders(self, account: Account, book: Book) -> list[Order]:
        """One trade; two where a hedging account turns around, none where margin is short."""
        if book.positions and book.margin_used > LIMIT * book.margin_equity:
            largest = max(book.positions, key=lambda position: position.margin_used)
            return [_close(account, largest, largest.quantity / 2, book)]
        tradable = [symbol for symbol in account.symbols if symbol in book.prices]
        if not tradable:
            return []
        symbol = self._random.choice(tradable)
        held = [position for position in book.positions if position.symbol == symbol]
        if held:
            orders = self._change(account, self._random.choice(held), book)
        else:
            orders = [_open(account, symbol, self._side(), self._random.randint(2, 8), book)]
        added = sum(o.opened * o.price * book.prices[o.symbol].margin_rate for o in orders)
        is_affordable = added == 0 or book.margin_used + added <= COMFORT * book.margin_equity
        return orders if is_affordable else []

    def _change(self, account: Account, position: Position, book: Book) -> list[Order]:
        """Add to a position, reduce it, close it or turn it around."""
        wish = self._random.random()
        lots = int(position.quantity / lot(position.symbol))
        some = self._random.randint(1, 5)
        if wish < 0.45 and lots < LARGEST:
            side = "buy" if position.side == "long" else "sell"
            return [_open(account, position.symbol, side, min(some, LARGEST - lots), book)]
        if wish < 0.80:
            return [_close(account, position, some * lot(position.symbol), book)]
        closing = _close(account, position, position.quantity, book)
        if wish < 0.90:
            return [closing]
        lots = self._random.randint(2, 8)
        opening = _open(account, position.symbol, closing.side, lots, book)
        if account.position_mode == "hedging":
            return [closing, opening]
        return [opening._replace(quantity=closing.quantity + opening.quantity)]

    def _side(self) -> str:
        return self._random.choice(("buy", "sell"))


def lot(symbol: str) -> Decimal:
    """The unit that the demo trades in, in base units."""
    return Decimal(5) if symbol.startswith("XAU") else Decimal(10_000)


def _open(account: Account, symbol: str, side: str, lots: int, book: Book) -> Order:
    price = book.prices[symbol]
    quantity = lots * lot(symbol)
    effect = "open" if account.position_mode == "hedging" else "auto"
    return Order(
        symbol, side, quantity, price.ask if side == "buy" else price.bid, effect, quantity
    )


def _close(account: Account, position: Position, quantity: Decimal, book: Book) -> Order:
    """Sell a long, buy back a short: in whole lots, but all where less than one would stay."""
    unit = lot(position.symbol)
    rounded = (quantity / unit).to_integral_value(ROUND_HALF_UP) * unit
    if position.quantity - rounded < unit:
        rounded = position.quantity
    effect = "close" if account.position_mode == "hedging" else "auto"
    price = book.prices[position.symbol]
    side, at = ("sell", price.bid) if position.side == "long" else ("buy", price.ask)
    return Order(position.symbol, side, rounded, at, effect, Decimal(0))


class Broker:
    """The broker's side of the trades: under which id it books them, and what it has booked.

    A trade is booked under the same id in both places. One that the ledger has and the broker could
    not be told of is told later, before anything else.
    """

    def __init__(self, url: str) -> None:
        self._control = Control(url)
        self._untold: list[dict[str, Any]] = []
        self._is_away = False

    def next_id(self, account: Account) -> int | None:
        """The id of the account's next trade; None while the broker is away."""
        last = self._call("create_account", account=account.number, currency=account.currency)
        return None if last is None else int(last) + 1

    def tell(self, account: Account, order: Order, number: int, fill: Fill) -> None:
        """Have it book a trade that the ledger has booked."""
        told = {
            "account": account.number,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": f"{order.quantity:f}",
            "price": f"{order.price:f}",
            "effect": order.effect,
            "commission": f"{fill.commission:f}",
            "realized_pnl": f"{fill.realized_pnl:f}",
            "conversion_rate": fill.conversion_rate and f"{fill.conversion_rate:f}",
        }
        self._untold.append({**told, "transaction_id": number})
        self.tell_on()

    def tell_on(self) -> bool:
        """Tell what could not be told; whether nothing is left."""
        while self._untold:
            try:
                if self._call("record_fill", **self._untold[0]) is None:
                    return False
            except SimulationError:
                # somebody else took the id meanwhile: its content tells which one it is
                if self._untold[0].pop("transaction_id", None) is not None:
                    continue
                log.exception("the broker will not book a trade")
            del self._untold[0]
        return True

    def _call(self, command: str, **arguments: Any) -> str | None:
        try:
            answer: str = self._control.call(command, **arguments)
        except httpx2.TransportError as error:
            if not self._is_away:
                log.warning("no broker, so no trades", reason=str(error))
            self._is_away = True
            return None
        if self._is_away:
            log.info("the broker is back")
        self._is_away = False
        return answer


class Traders:
    """Reads an account's book, has the mind decide, and books what it wants on both sides."""

    def __init__(
        self, connection: Connection, broker: Broker, ids: Mapping[str, int], mind: Mind
    ) -> None:
        """`ids` are the accounts' ids by number."""
        self._connection = connection
        self._broker = broker
        self._ids = ids
        self._mind = mind
        self._unstarted = [account for account in ACCOUNTS if not self._has_traded(account)]
        self.booked = 0

    def pause(self) -> float:
        """Seconds until the next step."""
        if self._unstarted:
            return START_PAUSE
        return self._mind.pause() if self._broker.tell_on() else RETRY_INTERVAL

    def step(self) -> None:
        """One account trades; while some have no trade yet, those open their first positions."""
        if not self._broker.tell_on():
            return
        if not self._unstarted:
            account = self._mind.pick()
            self._trade(account, self._mind.next_orders)
        for account in tuple(self._unstarted):
            if self._trade(account, self._mind.first_orders):
                self._unstarted.remove(account)

    def _has_traded(self, account: Account) -> bool:
        row = self._connection.execute(
            "select exists (select from api.fills where account_id = %s)",
            [self._ids[account.number]],
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def _trade(
        self, account: Account, decide: Callable[[Account, Book], Sequence[Order]]
    ) -> Sequence[Order]:
        book = read_book(self._connection, self._ids[account.number])
        orders = decide(account, book) if book else ()
        return [order for order in orders if self._book(account, order)]

    def _book(self, account: Account, order: Order) -> bool:
        """Whether it was a trade: the broker was there, and the ledger took it."""
        number = self._broker.next_id(account)
        if number is None:
            return False
        account_id = self._ids[account.number]
        commission = account.commission * order.quantity / 100_000
        try:
            row = self._connection.execute(
                "select realized_pnl, commission, conversion_rate"
                " from api.record_fill(%s, %s, %s, %s, %s,"
                " p_external_id => %s, p_commission => %s, p_effect => %s)",
                [
                    *(account_id, order.symbol, order.side, order.quantity, order.price),
                    str(number),
                    commission.quantize(Decimal(1).scaleb(-account.money_scale), ROUND_HALF_UP),
                    order.effect,
                ],
            ).fetchone()
        except psycopg.Error as error:
            # somebody else was faster, say with closing the position, or the account
            if not (error.sqlstate or "").startswith("TM"):
                raise
            log.warning("trade refused", account_id=account_id, reason=str(error).strip())
            return False
        assert row is not None  # a function's one row
        self._broker.tell(account, order, number, Fill(*row))
        self.booked += 1
        return True


def read_book(connection: Connection, account_id: int) -> Book | None:
    """The account as it stands; None for one that is closed or has positions without a price."""
    row = connection.execute(
        "select s.margin_equity, s.margin_used, a.currency"
        " from api.account_states s join api.accounts a using (account_id)"
        " where account_id = %s and a.closed_at is null and s.is_priced",
        [account_id],
    ).fetchone()
    if row is None:
        return None
    margin_equity, margin_used, currency = row
    positions = connection.execute(
        "select symbol, side, quantity, margin_used from api.positions"
        " where account_id = %s order by symbol, side",
        [account_id],
    )
    prices = connection.execute(
        "select i.symbol, q.bid, q.ask, i.margin_rate * i.contract_size * c.rate"
        " from api.instruments i join api.quotes q using (symbol)"
        " join api.conversion_rates c on c.from_currency = i.quote_currency"
        " where c.to_currency = %s and c.rate is not null",
        [currency],
    )
    return Book(
        margin_equity,
        margin_used,
        [Position(*position) for position in positions],
        {symbol: Price(*price) for symbol, *price in prices},
    )


def main(dsn: str, broker_url: str) -> None:
    """Trade until told to stop; a lost connection is made anew.

    Raises SettingsError for a database with accounts that are not the demo's, and ServerError where
    the database cannot be reached at the start.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    accounts.refuse_others(dsn)
    ids = accounts.set_up(dsn)
    mind = Mind()
    broker = Broker(broker_url)
    is_lost = False
    while not stop.is_set():
        try:
            with db.connect(dsn, role=accounts.ROLE, process="tidemark traders") as connection:
                if is_lost:
                    log.info("database is back")
                    is_lost = False
                _trade(Traders(connection, broker, ids, mind), stop)
        except (psycopg.OperationalError, ServerError) as error:
            # what was being booked is booked or not: the next decision reads what is open
            if stop.is_set():
                break
            if not is_lost:
                log.warning("database lost, trying again", reason=str(error).strip())
            is_lost = True
            stop.wait(RETRY_INTERVAL)
    log.info("stopped")


def _trade(traders: Traders, stop: Stop) -> None:
    reported_at = time.monotonic()
    pause = 0.0
    while not stop.wait(pause):
        traders.step()
        pause = traders.pause()
        if time.monotonic() - reported_at > REPORT_INTERVAL:
            log.info("trading", booked=traders.booked)
            reported_at = time.monotonic()
