"""The simulated broker's books: accounts, instruments and prices, and what can be done to them."""

import threading
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from glue.brokers.simulated.account import (
    Account,
    BalanceChange,
    Booked,
    Effect,
    Entry,
    EntryKind,
    Fill,
    Lost,
    Matching,
    NoPriceError,
    Opening,
    Order,
    Position,
    PositionChange,
    PositionSide,
    Price,
    Side,
    SimulationError,
    UnknownError,
)

DEFAULT_MARGIN_RATE = Decimal("0.05")
PIVOTS = ("USD", "EUR")
"""The currencies between two others, the first that serves is taken."""


class Instrument(NamedTuple):
    """What margin and shown prices depend on."""

    symbol: str
    margin_rate: Decimal
    digits: int


class PositionValue(NamedTuple):
    """A position in account currency."""

    position: Position
    unrealized_pnl: Decimal
    """At bid or ask."""
    mid_pnl: Decimal
    margin_used: Decimal
    value: Decimal
    """Of its units, at mid."""


class Value(NamedTuple):
    """An account's figures in its currency: the sums over its positions."""

    positions: list[PositionValue]
    unrealized_pnl: Decimal
    mid_pnl: Decimal
    margin_used: Decimal
    value: Decimal


class Books:
    """All accounts. Each method may be called from any thread, and says what it did by its id."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.instruments: dict[str, Instrument] = {}
        self.prices: dict[str, Price] = {}

    # The market

    def set_instrument(
        self, symbol: str, margin_rate: Decimal = DEFAULT_MARGIN_RATE, digits: int = 5
    ) -> None:
        """Define an instrument; one that is first met with a price or a fill gets the defaults."""
        with self.lock:
            self.instruments[symbol] = Instrument(symbol, margin_rate, digits)

    def set_price(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """The price from now on."""
        self.set_prices([(symbol, bid, ask)])

    def set_prices(self, prices: Sequence[tuple[str, Decimal, Decimal]]) -> None:
        """The prices (symbol, bid, ask) from now on, all at once."""
        now = datetime.now(UTC)
        with self.lock:
            for symbol, bid, ask in prices:
                if not 0 < bid <= ask:
                    raise SimulationError(f"{symbol}: not a price: {bid} / {ask}")
                self._know(symbol)
                self.prices[symbol] = Price(symbol, bid, ask, now)

    # What happens on an account

    def create_account(
        self,
        account: str,
        currency: str,
        balance: Decimal = Decimal(0),
        *,
        money_scale: int = 4,
        is_hedging: bool = False,
        matching: Matching = "average",
        conversion_markup: Decimal = Decimal(0),
        last_transaction_id: int = 0,
    ) -> str:
        """Open an account, with a deposit where `balance` says so; one that is there stays.

        `last_transaction_id` is where its numbering goes on from.
        """
        with self.lock:
            opened = self.accounts.get(account)
            if opened is None:
                opened = Account(
                    account,
                    currency,
                    money_scale=money_scale,
                    is_hedging=is_hedging,
                    matching=matching,
                    conversion_markup=conversion_markup,
                    first_id=last_transaction_id,
                )
                opened.book(Opening(datetime.now(UTC)), opened.last_id + 1)
                self.accounts[account] = opened
                if balance:
                    self.record_entry(account, "deposit", balance)
            elif opened.currency != currency:
                raise SimulationError(f"{account} is there already, in {opened.currency}")
            return str(opened.last_id)

    def record_fill(
        self,
        account: str,
        symbol: str,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        *,
        at: datetime | None = None,
        effect: Effect = "auto",
        commission: Decimal = Decimal(0),
        financing: Decimal = Decimal(0),
        realized_pnl: Decimal | None = None,
        conversion_rate: Decimal | None = None,
        client_id: str | None = None,
        transaction_id: int | None = None,
        order_id: int | None = None,
        reason: str = "MARKET_ORDER",
    ) -> str:
        """Book a trade; the same client id again is answered with the first booking.

        Without `realized_pnl` (account currency) the books work it out, and without
        `conversion_rate` (account currency for one of quote currency) they convert at mid.
        """
        with self.lock:
            books = self.account(account)
            known = books.find(client_id) if client_id else None
            if known is not None:
                return str(known.transaction_id)
            if not (quantity > 0 and price > 0):
                raise SimulationError("quantity and price are positive")
            if books.is_hedging and effect == "auto":
                raise SimulationError("a hedging account needs an effect: open or close")
            number = self._next_id(books, transaction_id)
            self._know(symbol)
            self.prices.setdefault(symbol, Price(symbol, price, price, datetime.now(UTC)))
            fill = Fill(
                symbol=symbol,
                side=side,
                quantity=quantity,
                price=price,
                at=at or datetime.now(UTC),
                effect=effect,
                commission=commission,
                financing=financing,
                realized_pnl=realized_pnl,
                conversion_rate=conversion_rate,
                client_id=client_id,
                order_id=order_id,
                reason=reason,
            )
            closing = abs(books.closing_units(fill))
            if effect == "close" and closing != quantity:
                raise SimulationError(f"there is only {closing} {symbol} to close")
            if conversion_rate is None:
                fill = replace(fill, conversion_rate=self._rate_at_booking(books, fill, closing))
            if books.fills_to_lose:
                books.fills_to_lose -= 1
                books.book(Lost(fill.at, was_fill=True), number)
            else:
                books.book(fill, number)
            return str(number)

    def record_entry(
        self,
        account: str,
        kind: EntryKind,
        amount: Decimal,
        *,
        at: datetime | None = None,
        comment: str | None = None,
        transaction_id: int | None = None,
    ) -> str:
        """Book a cash movement."""
        with self.lock:
            books = self.account(account)
            if (kind == "deposit" and amount < 0) or (kind == "withdrawal" and amount > 0):
                raise SimulationError(f"the sign of {amount} does not fit a {kind}")
            number = self._next_id(books, transaction_id)
            books.book(Entry(kind, amount, at or datetime.now(UTC), comment), number)
            return str(number)

    def order(
        self, account: str, symbol: str, units: Decimal, client_id: str | None = None
    ) -> tuple[Booked, Booked | None]:
        """Fill a market order for signed units at the price of now.

        Returns the order and its fill, None for one that was lost.
        """
        with self.lock:
            books = self.account(account)
            price = self.prices.get(symbol)
            if price is None:
                raise NoPriceError(f"there is no price for {symbol}")
            if not units:
                raise SimulationError("an order needs units")
            now = datetime.now(UTC)
            order_id = self._next_id(books, None)
            books.book(Order(symbol, units, now, client_id), order_id)
            number = self.record_fill(
                account,
                symbol,
                "buy" if units > 0 else "sell",
                abs(units),
                price.ask if units > 0 else price.bid,
                at=now,
                effect="open" if books.is_hedging else "auto",
                client_id=client_id,
                order_id=order_id,
            )
            filled = books.booked[int(number)]
            return books.booked[order_id], filled if isinstance(filled.event, Fill) else None

    # What goes wrong on an account

    def lose_fill(self, account: str, transaction_id: int) -> None:
        """Have a fill (or an entry) not have happened: a cancelled order has its id."""
        with self.lock:
            self.account(account).lose(transaction_id)

    def lose_next_fills(self, account: str, count: int = 1) -> None:
        """The next fills do not happen: cancelled orders have the ids that are answered."""
        with self.lock:
            self.account(account).fills_to_lose = count

    def set_position(
        self,
        account: str,
        symbol: str,
        side: PositionSide,
        quantity: Decimal,
        average_price: Decimal | None = None,
    ) -> None:
        """Make a position what it is not, without a transaction; zero takes it away."""
        with self.lock:
            self._know(symbol)
            self.account(account).change(PositionChange(symbol, side, quantity, average_price))

    def set_balance(self, account: str, balance: Decimal) -> None:
        """Make the balance what it is not, without a transaction."""
        with self.lock:
            self.account(account).change(BalanceChange(balance))

    def distort(
        self,
        account: str,
        *,
        freeze_prices: bool = False,
        price_side: Literal["close", "mid"] = "close",
        conversion_factor: Decimal = Decimal(1),
    ) -> None:
        """Value an account at prices that stand still, at mid, or at conversion rates that are off.

        What is not said is as it should be.
        """
        with self.lock:
            books = self.account(account)
            books.frozen_prices = dict(self.prices) if freeze_prices else None
            books.is_valued_at_mid = price_side == "mid"
            books.conversion_factor = conversion_factor

    # Reading

    def account(self, account: str) -> Account:
        """The account; raises UnknownError."""
        try:
            return self.accounts[account]
        except KeyError:
            raise UnknownError(f"there is no account {account}") from None

    def photograph(self, account: str) -> Account:
        """The account as it stands, apart from all that will happen."""
        with self.lock:
            taken = deepcopy(self.account(account))
            taken.frozen_prices = taken.frozen_prices or dict(self.prices)
            return taken

    def instrument(self, symbol: str) -> Instrument:
        """The instrument, with the defaults where nobody defined it."""
        return self._know(symbol)

    def value(self, account: Account) -> Value:
        """What an account is worth; each position rounded, then summed."""
        prices = self.prices if account.frozen_prices is None else account.frozen_prices
        valued = [
            self._value_position(account, position, prices)
            for _, position in sorted(account.positions.items())
        ]
        zero = Decimal(0)
        return Value(
            valued,
            sum((one.unrealized_pnl for one in valued), zero),
            sum((one.mid_pnl for one in valued), zero),
            _margin_used(valued),
            sum((one.value for one in valued), zero),
        )

    def rate(
        self, from_currency: str, to_currency: str, prices: Mapping[str, Price] | None = None
    ) -> Decimal | None:
        """Units of `to_currency` for one of `from_currency` at mid; None without a price."""
        prices = self.prices if prices is None else prices
        direct = _direct_rate(from_currency, to_currency, prices)
        if direct is not None:
            return direct
        others = {currency for symbol in prices for currency in symbol.split("/")}
        for pivot in (*PIVOTS, *sorted(others.difference(PIVOTS))):
            first = _direct_rate(from_currency, pivot, prices)
            second = _direct_rate(pivot, to_currency, prices)
            if first is not None and second is not None:
                return first * second
        return None

    def _value_position(
        self, account: Account, position: Position, prices: Mapping[str, Price]
    ) -> PositionValue:
        symbol = position.symbol
        price = prices.get(symbol) or self.prices.get(symbol)
        quote_currency = symbol.split("/")[1]
        rate = self.rate(quote_currency, account.currency, prices)
        if price is None or rate is None:
            raise NoPriceError(f"there is no price to value {symbol} in {account.currency}")
        rate *= account.conversion_factor
        closing = price.bid if position.quantity > 0 else price.ask
        if account.is_valued_at_mid:
            closing = price.mid
        value = abs(position.quantity) * price.mid * rate
        return PositionValue(
            position,
            account.money((position.quantity * closing - position.cost) * rate),
            account.money((position.quantity * price.mid - position.cost) * rate),
            account.money(value * self._know(symbol).margin_rate),
            account.money(value),
        )

    def _rate_at_booking(self, account: Account, fill: Fill, closing: Decimal) -> Decimal | None:
        rate = self.rate(fill.symbol.split("/")[1], account.currency)
        if rate is None and closing and fill.realized_pnl is None:
            raise SimulationError(
                f"there is no price to convert {fill.symbol} to {account.currency}"
            )
        return rate

    def _know(self, symbol: str) -> Instrument:
        base, separator, quote = symbol.partition("/")
        if not (separator and base and quote):
            raise SimulationError(f"an instrument is called like EUR/USD, not {symbol!r}")
        default = Instrument(symbol, DEFAULT_MARGIN_RATE, 3 if quote == "JPY" else 5)
        return self.instruments.setdefault(symbol, default)

    @staticmethod
    def _next_id(account: Account, wanted: int | None) -> int:
        number = account.last_id + 1 if wanted is None else wanted
        if number <= account.last_id:
            raise SimulationError(f"transaction ids grow: the last one is {account.last_id}")
        return number


def _direct_rate(
    from_currency: str, to_currency: str, prices: Mapping[str, Price]
) -> Decimal | None:
    if from_currency == to_currency:
        return Decimal(1)
    price = prices.get(f"{from_currency}/{to_currency}")
    if price is not None:
        return price.mid
    price = prices.get(f"{to_currency}/{from_currency}")
    return 1 / price.mid if price is not None else None


def _margin_used(valued: Sequence[PositionValue]) -> Decimal:
    """Of two sides of an instrument the larger one needs margin."""
    largest: dict[str, Decimal] = {}
    for one in valued:
        symbol = one.position.symbol
        largest[symbol] = max(largest.get(symbol, Decimal(0)), one.margin_used)
    return sum(largest.values(), Decimal(0))
