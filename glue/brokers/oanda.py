"""OANDA's v20 API as a broker: GETs that are paced, retried where that helps, read without floats.

The details of an account are one answer with balance, figures at bid or ask (NAV), figures at mid
(margin close-out) and positions, under one transaction id.
Source: OANDA's documentation, <https://developer.oanda.com/rest-live-v20/introduction/>.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2
import msgspec
import stamina
import stamina.instrumentation

from glue.brokers import (
    BrokerAnswerError,
    BrokerBusyError,
    BrokerError,
    BrokerPosition,
    BrokerRefusedError,
    BrokerUnreachableError,
    EntryKind,
    PositionSide,
    Snapshot,
    Transaction,
    Transactions,
    UnknownBrokerAccountError,
)

PRACTICE = "https://api-fxpractice.oanda.com"
LIVE = "https://api-fxtrade.oanda.com"

RATE = 100.0
"""Requests a second, of all accounts together: what OANDA allows on a connection."""
CONCURRENCY = 16
"""Requests under way at once, and connections."""
TIMEOUT = 10.0
"""Seconds for one answer, all of it; and for trying again."""
ATTEMPTS = 3
PAGE_SIZE = 1000
"""Transactions of an answer, the most that OANDA gives."""
MESSAGE_LENGTH = 200
"""Characters kept of what an error says."""
BUSY_PAUSE = 1.0
"""Seconds without a request after a 429 that does not say how long."""

T = TypeVar("T")


class Oanda:
    """The accounts that a token opens. Any number may be asked for at once: it paces itself.

    `url` is PRACTICE, LIVE or another address that serves the same paths; `rate` is requests a
    second, None as many as go. Only GETs are sent, so that each may be tried again: a connection
    that breaks, a 5xx and a 429 are, at most `attempts` times and `timeout` seconds long.
    """

    def __init__(
        self,
        token: str,
        url: str = PRACTICE,
        *,
        rate: float | None = RATE,
        concurrency: int = CONCURRENCY,
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        stamina.instrumentation.set_on_retry_hooks([])  # the error that is left says what it was
        self._host = urlsplit(url).netloc
        self._timeout = timeout
        self._attempts = attempts
        self._pace = Pace(rate)
        self._places = asyncio.Semaphore(concurrency)
        self._client = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Accept-Datetime-Format": "RFC3339"},
            timeout=timeout,
            limits=httpx2.Limits(
                max_connections=concurrency,
                max_keepalive_connections=concurrency,
                keepalive_expiry=60.0,
            ),
            transport=transport,
        )

    async def snapshot(self, account: str) -> Snapshot:
        """The account's details."""
        asked_at = datetime.now(UTC)
        raw = await self._get(_path(account))
        return read_snapshot(raw, account, asked_at, datetime.now(UTC))

    async def transactions_since(self, account: str, transaction_id: str | None) -> Transactions:
        """All transactions after one, or all that there are, in as many answers as that takes."""
        path = _path(account, "transactions")
        found: list[Transaction] = []
        reached = int(transaction_id or 0)
        if transaction_id is None:
            raw = await self._get(path, {"pageSize": str(PAGE_SIZE)})
            for page in _decode(raw, _Pages).pages:
                # only the query of its address: the token goes to the host that we were given
                asked = dict(parse_qsl(urlsplit(page).query))
                answer = _decode(await self._get(f"{path}/idrange", asked), _Transactions)
                reached = _read_all(answer, reached, found)
        while True:
            raw = await self._get(f"{path}/sinceid", {"id": str(reached)})
            answer = _decode(raw, _Transactions)
            reached = _read_all(answer, reached, found)
            last = int(answer.last_transaction_id)
            if not answer.transactions or reached >= last:
                break
        return Transactions(
            broker_account_id=account,
            transaction_id=str(max(reached, last)),
            transactions=found,
        )

    async def accounts(self) -> list[str]:
        """The ids of the accounts that the token opens."""
        answer = _decode(await self._get("/v3/accounts"), _Accounts)
        return [account.id for account in answer.accounts]

    async def aclose(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def _get(self, path: str, query: dict[str, str] | None = None) -> bytes:
        async with self._places:
            async for attempt in stamina.retry_context(
                on=self._is_worth_another_try,
                attempts=self._attempts,
                timeout=self._timeout,
                wait_initial=0.1,
                wait_max=2.0,
                wait_jitter=0.2,
            ):
                with attempt:
                    return await self._get_once(path, query)
        raise AssertionError  # the last attempt's error is let through

    async def _get_once(self, path: str, query: dict[str, str] | None) -> bytes:
        await self._pace.turn()
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.get(path, params=query)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise BrokerUnreachableError(
                f"{self._host} gave no whole answer in {self._timeout:g} s",
                "Look at the broker's status page; the next run asks again.",
            ) from error
        except httpx2.RequestError as error:
            raise BrokerUnreachableError(
                f"{self._host} cannot be reached, or broke off: {error or type(error).__name__}",
                "Check address and network; the next run asks again.",
            ) from error
        if response.status_code != HTTPStatus.OK:
            raise self._failure(response, path)
        return response.content

    def _failure(self, response: httpx2.Response, path: str) -> BrokerError:
        status = response.status_code
        said = f"{self._host} answers {path} with {status}: {_message(response.content)}"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return BrokerRefusedError(
                said,
                "Check the token: it opens its owner's accounts only, and either practice or live.",
            )
        if status == HTTPStatus.NOT_FOUND:
            return UnknownBrokerAccountError(
                said, "Correct broker_account_id: the broker's pages show it, like 101-004-1-001."
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            retry_after = _seconds(response.headers.get("Retry-After"))
            self._pace.pause(BUSY_PAUSE if retry_after is None else retry_after)
            return BrokerBusyError(
                said, "Have fewer programs use the token, or ask less often.", retry_after
            )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return BrokerUnreachableError(
                said, "Look at the broker's status page; the next run asks again."
            )
        return BrokerAnswerError(
            said, "Check that the address is OANDA's v20 API, and that the account is the same."
        )

    def _is_worth_another_try(self, error: Exception) -> bool:
        if isinstance(error, BrokerBusyError):
            # the pace holds back the next try for as long as was said
            return (error.retry_after or BUSY_PAUSE) <= self._timeout
        return isinstance(error, BrokerUnreachableError)


class Pace:
    """Lets requests go one after the other, so many a second, and none while paused."""

    def __init__(self, rate: float | None) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._next_at = 0.0

    async def turn(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()
        at = max(now, self._next_at)
        self._next_at = at + self._interval
        await asyncio.sleep(at - now)

    def pause(self, seconds: float) -> None:
        """Nothing more gets its turn for so long."""
        self._next_at = max(self._next_at, time.monotonic() + seconds)


def read_snapshot(raw: bytes, account: str, asked_at: datetime, taken_at: datetime) -> Snapshot:
    """A snapshot of an answer to `/v3/accounts/{id}`; raises BrokerAnswerError."""
    details = _decode(raw, _Details).account
    if details.id != account:
        raise _unusable(f"it is about {details.id} and not {account}")
    return Snapshot(
        broker_account_id=account,
        currency=details.currency,
        transaction_id=details.last_transaction_id,
        requested_at=asked_at,
        taken_at=taken_at,
        balance=details.balance,
        equity=details.nav,
        unrealized_pnl=details.unrealized_pl,
        margin_equity=details.margin_closeout_nav,
        margin_used=details.margin_used,
        margin_closeout_unrealized_pnl=details.margin_closeout_unrealized_pl,
        is_hedging=details.hedging_enabled,
        positions=sorted(
            (side for position in details.positions for side in _sides(position)),
            key=lambda side: (side.symbol, side.side),
        ),
        raw=raw,
    )


def read_transaction(raw: bytes) -> list[Transaction]:
    """The bookings of one transaction, in order; raises BrokerAnswerError."""
    read = _decode(raw, _Transaction)
    bookings = _fill(read, raw) if read.type == "ORDER_FILL" else [_entry(read, raw)]
    balance = read.account_balance
    for at in reversed(range(len(bookings))):
        bookings[at] = msgspec.structs.replace(bookings[at], balance_after=balance)
        balance = None if balance is None else balance - bookings[at].amount
    return bookings


def _read_all(answer: "_Transactions", reached: int, found: list[Transaction]) -> int:
    """Add an answer's bookings to what was found; how far that reaches."""
    for raw in answer.transactions:
        bookings = read_transaction(bytes(raw))
        number = int(bookings[0].transaction_id)
        if number <= reached:
            raise _unusable(f"transaction {number} comes after {reached}")
        found += bookings
        reached = number
    return reached


def _fill(read: "_Transaction", raw: bytes) -> list[Transaction]:
    """A fill for each price that units were closed or opened at, then its financing.

    A fill that closes trades and opens another at one price is one booking, as in the ledger.
    """
    closed = [*read.trades_closed, *([read.trade_reduced] if read.trade_reduced else [])]
    opened = [read.trade_opened] if read.trade_opened else []
    if not read.units or _units([*closed, *opened]) != abs(read.units):
        raise _unusable(f"the trades of fill {read.id} do not add up to its {read.units} units")
    prices = list(dict.fromkeys(trade.price or read.price for trade in (*closed, *opened)))
    realized_pnl = [_realized_pnl(_at(price, closed, read)) for price in prices]
    realized_pnl[0] += read.pl - sum(realized_pnl)
    bookings = []
    for number, price in enumerate(prices, start=1):
        fees = read.commission + read.guaranteed_execution_fee if number == 1 else Decimal(0)
        opening = _units(_at(price, opened, read))
        bookings.append(
            Transaction(
                transaction_id=read.id,
                external_id=read.id if number == 1 else f"{read.id}/{number}",
                client_id=read.client_order_id,
                kind="fill",
                at=read.time,
                symbol=_symbol(read.instrument),
                side="buy" if read.units > 0 else "sell",
                quantity=opening + _units(_at(price, closed, read)),
                opened_quantity=opening,
                price=price,
                commission=fees,
                realized_pnl=realized_pnl[number - 1],
                amount=realized_pnl[number - 1] - fees,
                raw=raw,
            )
        )
    if read.financing:
        bookings.append(
            Transaction(
                transaction_id=read.id,
                external_id=f"{read.id}/financing",
                client_id=read.client_order_id,
                kind="entry",
                at=read.time,
                entry_kind="financing",
                amount=read.financing,
                raw=raw,
            )
        )
    return bookings


def _at(price: Decimal, trades: Sequence["_Trade"], fill: "_Transaction") -> list["_Trade"]:
    return [trade for trade in trades if (trade.price or fill.price) == price]


def _units(trades: Sequence["_Trade"]) -> Decimal:
    return sum((abs(trade.units) for trade in trades), Decimal(0))


def _realized_pnl(trades: Sequence["_Trade"]) -> Decimal:
    return sum((trade.realized_pl for trade in trades), Decimal(0))


def _entry(read: "_Transaction", raw: bytes) -> Transaction:
    """What moves the balance, and whatever else happened."""
    kind: EntryKind | None = None
    amount = Decimal(0)
    if read.type == "TRANSFER_FUNDS":
        amount = read.amount
        kind = "deposit" if amount > 0 else "withdrawal"
        if read.funding_reason == "ADJUSTMENT":
            kind = "adjustment"
    elif read.type == "DAILY_FINANCING":
        kind, amount = "financing", read.financing
    elif read.type == "DIVIDEND_ADJUSTMENT":
        kind, amount = "dividend", read.dividend_adjustment
    return Transaction(
        transaction_id=read.id,
        external_id=read.id,
        client_id=None,
        kind="entry" if amount else "other",
        at=read.time,
        entry_kind=kind if amount else None,
        amount=amount,
        raw=raw,
    )


def _sides(position: "_Position") -> list[BrokerPosition]:
    """The sides of a position that are open."""
    are_both = bool(position.long.units and position.short.units)
    sides: list[BrokerPosition] = []
    names: tuple[tuple[PositionSide, _Side], ...] = (
        ("long", position.long),
        ("short", position.short),
    )
    for name, side in names:
        if not side.units:
            continue
        if side.average_price is None:
            raise _unusable(f"{position.instrument} is open without an average price")
        sides.append(
            BrokerPosition(
                symbol=_symbol(position.instrument),
                side=name,
                quantity=abs(side.units),
                average_price=side.average_price,
                unrealized_pnl=side.unrealized_pl,
                margin_used=None if are_both else position.margin_used,
            )
        )
    return sides


def _symbol(instrument: str) -> str:
    """EUR_USD as EUR/USD."""
    return instrument.replace("_", "/")


def _path(account: str, *rest: str) -> str:
    return "/".join(("/v3/accounts", quote(account, safe=""), *rest))


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; None where there is none, or a date."""
    return float(text) if text and text.isdigit() else None


def _message(body: bytes) -> str:
    """What an error's body says, in a line."""
    try:
        said = msgspec.json.decode(body, type=_Failure).error_message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = body[:MESSAGE_LENGTH].decode(errors="replace")
    return " ".join(said.split())[:MESSAGE_LENGTH] or "(nothing)"


def _decode(raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(str(error)) from error


def _unusable(what: str) -> BrokerAnswerError:
    return BrokerAnswerError(
        f"the broker's answer cannot be used: {what}",
        "Check that the address is OANDA's v20 API; the next run asks again.",
    )


# The parts of OANDA's shapes that are read. Amounts and prices are strings there, and never floats.

Id = Annotated[str, msgspec.Meta(pattern=r"^\d{1,18}$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Shape(msgspec.Struct, rename="camel"):
    def __post_init__(self) -> None:
        """Refuse NaN and infinities, which Decimal would take."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal) and not value.is_finite():
                raise ValueError(f"{name} is {value}")


class _Failure(_Shape):
    error_message: str


class _AccountId(_Shape):
    id: str


class _Accounts(_Shape):
    accounts: list[_AccountId]


class _Side(_Shape):
    units: Decimal
    unrealized_pl: Decimal = msgspec.field(name="unrealizedPL", default=Decimal(0))
    average_price: Decimal | None = None


class _Position(_Shape):
    instrument: str
    long: _Side
    short: _Side
    margin_used: Decimal | None = None


class _Account(_Shape, kw_only=True):
    id: str
    currency: str
    balance: Decimal
    nav: Decimal = msgspec.field(name="NAV")
    unrealized_pl: Decimal = msgspec.field(name="unrealizedPL")
    margin_used: Decimal
    margin_closeout_nav: Decimal = msgspec.field(name="marginCloseoutNAV")
    margin_closeout_unrealized_pl: Decimal = msgspec.field(name="marginCloseoutUnrealizedPL")
    last_transaction_id: Id = msgspec.field(name="lastTransactionID")
    hedging_enabled: bool = False
    positions: list[_Position]


class _Details(_Shape):
    account: _Account


class _Pages(_Shape):
    pages: list[str]


class _Transactions(_Shape):
    transactions: list[msgspec.Raw]
    last_transaction_id: Id = msgspec.field(name="lastTransactionID")


class _Trade(_Shape):
    """A part of a fill: what it opened, or took off a trade."""

    units: Decimal
    price: Decimal | None = None
    realized_pl: Decimal = msgspec.field(name="realizedPL", default=Decimal(0))


class _Transaction(_Shape, kw_only=True):
    id: Id
    type: str
    time: Instant
    account_balance: Decimal | None = None
    # of fills
    client_order_id: str | None = msgspec.field(name="clientOrderID", default=None)
    instrument: str = ""
    units: Decimal = Decimal(0)
    price: Decimal = Decimal(0)
    pl: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    guaranteed_execution_fee: Decimal = Decimal(0)
    trade_opened: _Trade | None = None
    trades_closed: list[_Trade] = []
    trade_reduced: _Trade | None = None
    # of fills and daily financing
    financing: Decimal = Decimal(0)
    # of transfers
    amount: Decimal = Decimal(0)
    funding_reason: str | None = None
    # of dividends
    dividend_adjustment: Decimal = Decimal(0)
