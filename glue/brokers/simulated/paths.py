"""OANDA's paths: what each is answered with."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from itertools import islice
from typing import NamedTuple

import msgspec

from glue.brokers.simulated import shapes
from glue.brokers.simulated.account import Account, NoPriceError, SimulationError, UnknownError
from glue.brokers.simulated.books import Books

PAGE_LIMIT = 1000
"""The most transactions of an answer."""
PAGE_SIZE = 100
"""Transactions of a page, where the request does not say."""


class RangeError(SimulationError):
    """A range of transactions that is not there yet."""


_STATUSES: Mapping[type[SimulationError], int] = {
    UnknownError: HTTPStatus.NOT_FOUND,
    NoPriceError: HTTPStatus.SERVICE_UNAVAILABLE,
    RangeError: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
}
"""400 for the others."""


class Request(NamedTuple):
    """A request whose token is valid."""

    method: str
    parts: list[str]
    """Of the path."""
    query: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


def reply(
    books: Books, request: Request, url: str, page_limit: int, stale: Account | None
) -> Answer:
    """The answer; `stale` is the account as it shall be shown, None for as it stands."""
    try:
        with books.lock:
            return _route(books, request, url, page_limit, stale)
    except SimulationError as failure:
        return refusal(failure)
    except msgspec.MsgspecError as failure:
        return error(HTTPStatus.BAD_REQUEST, str(failure))


def as_json(status: int, answer: object) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(answer))


def error(status: int, message: str, headers: Mapping[str, str] = {}) -> Answer:
    """An answer that says what is wrong."""
    return Answer(status, msgspec.json.encode({"errorMessage": message}), headers)


def refusal(failure: SimulationError) -> Answer:
    """The answer to what cannot be done."""
    return error(_STATUSES.get(type(failure), HTTPStatus.BAD_REQUEST), str(failure))


def _route(
    books: Books, request: Request, url: str, page_limit: int, stale: Account | None
) -> Answer:
    if request.parts[:2] != ["v3", "accounts"]:
        return _nothing(request)
    if len(request.parts) == 2:
        return _ok({"accounts": [{"id": name, "tags": []} for name in books.accounts]})
    account = stale or books.account(request.parts[2])
    inquiry = _Inquiry(books, account, request, url, page_limit)
    rest = "/".join(request.parts[3:])
    if request.method == "POST":
        return inquiry.order() if rest == "orders" else _nothing(request)
    answer = _PATHS.get(rest)
    if answer is not None:
        return _ok(answer(inquiry))
    head, _, number = rest.partition("/")
    if head == "transactions" and number.isdigit():
        return _ok(inquiry.transaction(int(number)))
    return _nothing(request)


def _nothing(request: Request) -> Answer:
    return error(HTTPStatus.NOT_FOUND, f"nothing is at {request.method} {'/'.join(request.parts)}")


def _ok(answer: shapes.Json) -> Answer:
    return as_json(HTTPStatus.OK, answer)


class _Inquiry(NamedTuple):
    """A request about an account."""

    books: Books
    account: Account
    request: Request
    url: str
    page_limit: int

    def order(self) -> Answer:
        order = msgspec.json.decode(self.request.body, type=_OrderBody).order
        if order.type != "MARKET":
            raise SimulationError(f"orders are MARKET orders here, not {order.type}")
        client_id = order.client_extensions.id if order.client_extensions else None
        created, fill = self.books.order(
            self.account.account_id, shapes.symbol_of(order.instrument), order.units, client_id
        )
        return as_json(HTTPStatus.CREATED, shapes.order_created(self.account, created, fill))

    def instruments(self) -> shapes.Json:
        return shapes.instruments(self.books, self.account, self._symbols())

    def pricing(self) -> shapes.Json:
        wanted = self._symbols()
        prices = [self.books.prices[symbol] for symbol in wanted if symbol in self.books.prices]
        return shapes.pricing(self.books, self.account, prices, datetime.now(UTC))

    def _symbols(self) -> list[str]:
        """What was asked for, or all that there is."""
        names = self.request.query.get("instruments")
        if names is None:
            return list(self.books.instruments)
        return [shapes.symbol_of(name) for name in names.split(",")]

    def pages(self) -> shapes.Json:
        """A page for each so many ids; absolute addresses, as OANDA's are."""
        size = self._number("pageSize", PAGE_SIZE)
        if not 1 <= size <= self.page_limit:
            raise SimulationError(f"pageSize is from 1 to {self.page_limit}")
        begin, end = self._instant("from"), self._instant("to")
        found = [
            number
            for number, booked in self.account.booked.items()
            if (begin is None or booked.event.at >= begin)
            and (end is None or booked.event.at <= end)
        ]
        path = f"{self.url}/v3/accounts/{self.account.account_id}/transactions/idrange"
        pages = [
            f"{path}?from={page[0]}&to={page[-1]}"
            for page in (found[at : at + size] for at in range(0, len(found), size))
        ]
        return {
            "from": self.request.query.get("from"),
            "to": self.request.query.get("to"),
            "pageSize": size,
            "count": len(found),
            "pages": pages,
            "lastTransactionID": self.account.last_transaction_id,
        }

    def since(self) -> shapes.Json:
        since = self._number("id")
        if since > self.account.last_id:
            raise RangeError(f"there is no transaction {since} yet")
        return self._those(lambda number: number > since)

    def between(self) -> shapes.Json:
        first, last = self._number("from"), self._number("to")
        return self._those(lambda number: first <= number <= last)

    def transaction(self, number: int) -> shapes.Json:
        booked = self.account.booked.get(number)
        if booked is None:
            raise UnknownError(f"{self.account.account_id} has no transaction {number}")
        return {
            "transaction": shapes.transaction(self.account, booked),
            "lastTransactionID": self.account.last_transaction_id,
        }

    def _those(self, is_wanted: Callable[[int], bool]) -> shapes.Json:
        wanted = (booked for number, booked in self.account.booked.items() if is_wanted(number))
        return shapes.transactions(self.account, islice(wanted, self.page_limit))

    def _number(self, name: str, default: int | None = None) -> int:
        text = self.request.query.get(name)
        if text is None and default is not None:
            return default
        if text is None or not text.isdigit():
            raise SimulationError(f"{name} is a number, not {text!r}")
        return int(text)

    def _instant(self, name: str) -> datetime | None:
        text = self.request.query.get(name)
        if text is None:
            return None
        return msgspec.convert(text, datetime)


_PATHS: Mapping[str, Callable[[_Inquiry], shapes.Json]] = {
    "": lambda asked: shapes.details(asked.books, asked.account),
    "summary": lambda asked: shapes.summary(asked.books, asked.account),
    "openPositions": lambda asked: shapes.positions(asked.books, asked.account),
    "positions": lambda asked: shapes.positions(asked.books, asked.account),
    "openTrades": lambda asked: shapes.trades(asked.books, asked.account),
    "trades": lambda asked: shapes.trades(asked.books, asked.account),
    "orders": lambda asked: shapes.orders(asked.account),
    "pendingOrders": lambda asked: shapes.orders(asked.account),
    "instruments": _Inquiry.instruments,
    "pricing": _Inquiry.pricing,
    "transactions": _Inquiry.pages,
    "transactions/sinceid": _Inquiry.since,
    "transactions/idrange": _Inquiry.between,
}
"""What a GET below an account is answered with."""


class _Extensions(msgspec.Struct):
    id: str | None = None


class _Order(msgspec.Struct, rename="camel"):
    instrument: str
    units: Decimal
    type: str = "MARKET"
    client_extensions: _Extensions | None = None


class _OrderBody(msgspec.Struct):
    order: _Order
