"""OANDA's adapter: against replies written by hand, and against the simulated broker's good and
bad behaviour."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import httpx2
import msgspec
import pytest

from glue import brokers, settings
from glue.brokers import (
    BrokerAnswerError,
    BrokerBusyError,
    BrokerError,
    BrokerPosition,
    BrokerRefusedError,
    BrokerUnreachableError,
    Transaction,
    UnknownBrokerAccountError,
    registry,
)
from glue.brokers.oanda import Oanda, read_snapshot, read_transaction
from glue.brokers.simulated import TOKEN, SimulatedBroker
from glue.errors import SettingsError

T = TypeVar("T")
D = Decimal
ACCOUNT = "101-004-7000001-001"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def broker() -> Iterator[SimulatedBroker]:
    with SimulatedBroker(page_limit=5) as broker:
        broker.books.set_prices([("EUR/USD", D("1.1000"), D("1.1002"))])
        broker.books.create_account(ACCOUNT, "USD", D("10000.50"))
        broker.books.record_fill(ACCOUNT, "EUR/USD", "buy", D(1000), D("1.1002"))
        yield broker


def ask(
    broker: SimulatedBroker,
    question: Callable[[Oanda], Awaitable[T]],
    token: str = TOKEN,
    **more: Any,
) -> T:
    """Put a question to the broker with a connection of its own."""

    async def asked() -> T:
        oanda = Oanda(token, broker.url, **{"rate": None, "timeout": 5.0, **more})
        try:
            return await question(oanda)
        finally:
            await oanda.aclose()

    return asyncio.run(asked())


def snapshot(oanda: Oanda) -> Awaitable[brokers.Snapshot]:
    return oanda.snapshot(ACCOUNT)


def everything(oanda: Oanda) -> Awaitable[brokers.Transactions]:
    return oanda.transactions_since(ACCOUNT, None)


# Replies written by hand

DETAILS = {
    "account": {
        "id": ACCOUNT,
        "currency": "EUR",
        "hedgingEnabled": True,
        "balance": "40123.4567",
        "NAV": "40111.1111",
        "unrealizedPL": "-12.3456",
        "marginUsed": "310.2500",
        "marginCloseoutNAV": "40117.0000",
        "marginCloseoutUnrealizedPL": "-6.4567",
        "openTradeCount": 3,
        "lastTransactionID": "7012",
        "trades": [],
        "orders": [],
        "positions": [
            {
                "instrument": "GBP_JPY",
                "pl": "0.0000",
                "unrealizedPL": "-3.0000",
                "marginUsed": "110.2500",
                "long": {"units": "0", "pl": "0.0000", "unrealizedPL": "0.0000"},
                "short": {
                    "units": "-2500",
                    "averagePrice": "189.123",
                    "unrealizedPL": "-3.0000",
                    "tradeIDs": ["7001"],
                },
            },
            {
                "instrument": "EUR_USD",
                "unrealizedPL": "-9.3456",
                "marginUsed": "200.0000",
                "long": {"units": "6000.5", "averagePrice": "1.09871", "unrealizedPL": "-9.9999"},
                "short": {"units": "-10", "averagePrice": "1.10002", "unrealizedPL": "0.6543"},
            },
            {
                "instrument": "EUR_CHF",
                "unrealizedPL": "0.0000",
                "long": {"units": "0"},
                "short": {"units": "0"},
            },
        ],
    },
    "lastTransactionID": "7012",
}


def changed(**account: object) -> bytes:
    return msgspec.json.encode({**DETAILS, "account": {**DETAILS["account"], **account}})


def test_reads_an_account_to_the_last_digit() -> None:
    raw = msgspec.json.encode(DETAILS)
    read = read_snapshot(raw, ACCOUNT, NOON, NOON)
    assert read == brokers.Snapshot(
        broker_account_id=ACCOUNT,
        currency="EUR",
        transaction_id="7012",
        requested_at=NOON,
        taken_at=NOON,
        balance=D("40123.4567"),
        equity=D("40111.1111"),
        unrealized_pnl=D("-12.3456"),
        margin_equity=D("40117.0000"),
        margin_used=D("310.2500"),
        margin_closeout_unrealized_pnl=D("-6.4567"),
        is_hedging=True,
        positions=[
            BrokerPosition(
                symbol="EUR/USD",
                side="long",
                quantity=D("6000.5"),
                average_price=D("1.09871"),
                unrealized_pnl=D("-9.9999"),
                margin_used=None,
            ),
            BrokerPosition(
                symbol="EUR/USD",
                side="short",
                quantity=D(10),
                average_price=D("1.10002"),
                unrealized_pnl=D("0.6543"),
                margin_used=None,
            ),
            BrokerPosition(
                symbol="GBP/JPY",
                side="short",
                quantity=D(2500),
                average_price=D("189.123"),
                unrealized_pnl=D("-3.0000"),
                margin_used=D("110.2500"),
            ),
        ],
        raw=raw,
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>maintenance</html>",
        b"[]",
        b'{"account": {}}',
        b'{"account": {"id": "\xff"}}',
        b"[" * 100_000,
        changed(id="101-004-7000001-002"),
        changed(balance=None),
        changed(balance="NaN"),
        changed(NAV="Infinity"),
        changed(marginUsed="1,000.00"),
        changed(lastTransactionID="-1"),
        changed(positions=[{"instrument": "EUR_USD", "long": {"units": "1"}}]),
        changed(
            positions=[{"instrument": "EUR_USD", "long": {"units": "1"}, "short": {"units": "0"}}]
        ),
    ],
)
def test_refuses_what_is_no_account(raw: bytes) -> None:
    with pytest.raises(BrokerAnswerError) as caught:
        read_snapshot(raw, ACCOUNT, NOON, NOON)
    assert caught.value.remedy


def booked(**fields: object) -> list[Transaction]:
    """The bookings of a transaction."""
    shape = {"id": "7015", "accountID": ACCOUNT, "batchID": "7014", "userID": 9, **fields}
    return read_transaction(
        msgspec.json.encode({"time": "2026-01-05T12:00:00.123456789Z", **shape})
    )


def figures(booking: Transaction) -> tuple[object, ...]:
    return (
        *(booking.external_id, booking.kind, booking.side, booking.quantity),
        *(booking.opened_quantity, booking.price, booking.realized_pnl, booking.commission),
        *(booking.entry_kind, booking.amount, booking.balance_after),
    )


def test_a_fill_that_turns_a_position_around_is_one_booking() -> None:
    (fill,) = booked(
        type="ORDER_FILL",
        orderID="7014",
        clientOrderID="mine-1",
        instrument="EUR_USD",
        units="-3000",
        price="1.10210",
        pl="14.5500",
        financing="0.0000",
        commission="0.6000",
        guaranteedExecutionFee="0.0000",
        accountBalance="10013.9500",
        tradesClosed=[
            {"tradeID": "6990", "units": "-1000", "price": "1.10210", "realizedPL": "10.0500"},
            {"tradeID": "6994", "units": "-500", "price": "1.10210", "realizedPL": "4.5000"},
        ],
        tradeOpened={"tradeID": "7015", "units": "-1500", "price": "1.10210"},
    )
    assert figures(fill) == (
        *("7015", "fill", "sell", D(3000), D(1500), D("1.10210"), D("14.5500"), D("0.6000")),
        *(None, D("13.9500"), D("10013.9500")),
    )
    assert (fill.symbol, fill.client_id, fill.transaction_id) == ("EUR/USD", "mine-1", "7015")
    assert fill.at == datetime(2026, 1, 5, 12, 0, 0, 123457, tzinfo=UTC)


def test_a_fill_at_two_prices_with_financing_is_three_bookings_that_follow_one_another() -> None:
    bookings = booked(
        type="ORDER_FILL",
        orderID="7014",
        instrument="USD_JPY",
        units="300",
        price="150.100",
        pl="-1.0000",
        financing="-0.2500",
        commission="0.1000",
        guaranteedExecutionFee="0.0300",
        accountBalance="998.6200",
        tradesClosed=[
            {"tradeID": "1", "units": "100", "price": "150.000", "realizedPL": "-0.4000"}
        ],
        tradeReduced={"tradeID": "2", "units": "200", "price": "150.100", "realizedPL": "-0.6000"},
    )
    first, second, financing = bookings
    assert figures(first) == (
        *("7015", "fill", "buy", D(100), D(0), D(150), D("-0.4"), D("0.13")),
        *(None, D("-0.53"), D("999.47")),
    )
    assert figures(second) == (
        *("7015/2", "fill", "buy", D(200), D(0), D("150.1"), D("-0.6"), D(0)),
        *(None, D("-0.6"), D("998.87")),
    )
    assert figures(financing) == (
        *("7015/financing", "entry", None, None, None, None, None, D(0)),
        *("financing", D("-0.25"), D("998.62")),
    )
    assert {booking.transaction_id for booking in bookings} == {"7015"}


def test_a_fill_of_2016_has_its_price_only_once() -> None:
    (fill,) = booked(
        type="ORDER_FILL",
        instrument="DE30_EUR",
        units="5",
        price="10131.6",
        pl="14.0000",
        financing="0.0000",
        accountBalance="44876.2548",
        tradeReduced={"tradeID": "1030", "units": "5", "realizedPL": "14.0000"},
    )
    assert (fill.symbol, fill.price, fill.amount) == ("DE30/EUR", D("10131.6"), D(14))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"type": "TRANSFER_FUNDS", "amount": "250.0000", "fundingReason": "CLIENT_FUNDING"},
            ("entry", "deposit", D(250)),
        ),
        (
            {"type": "TRANSFER_FUNDS", "amount": "-50.0000", "fundingReason": "ACCOUNT_TRANSFER"},
            ("entry", "withdrawal", D(-50)),
        ),
        (
            {"type": "TRANSFER_FUNDS", "amount": "-0.0100", "fundingReason": "ADJUSTMENT"},
            ("entry", "adjustment", D("-0.01")),
        ),
        ({"type": "DAILY_FINANCING", "financing": "-1.2345"}, ("entry", "financing", D("-1.2345"))),
        ({"type": "DAILY_FINANCING", "financing": "0.0000"}, ("other", None, D(0))),
        (
            {"type": "DIVIDEND_ADJUSTMENT", "dividendAdjustment": "3.2100"},
            ("entry", "dividend", D("3.21")),
        ),
        ({"type": "TRANSFER_FUNDS_REJECT", "amount": "250.0000"}, ("other", None, D(0))),
        ({"type": "LIMIT_ORDER", "units": "-100", "price": "1.2"}, ("other", None, D(0))),
        ({"type": "SOMETHING_NEW"}, ("other", None, D(0))),
    ],
)
def test_cash_movements_are_entries_and_the_rest_is_kept(
    fields: dict[str, str], expected: tuple[object, ...]
) -> None:
    (booking,) = booked(accountBalance="1000.0000", **fields)
    assert (booking.kind, booking.entry_kind, booking.amount) == expected
    assert booking.balance_after == D(1000)


def test_refuses_a_fill_whose_trades_do_not_add_up() -> None:
    with pytest.raises(BrokerAnswerError, match="do not add up"):
        booked(
            type="ORDER_FILL",
            instrument="EUR_USD",
            units="100",
            price="1.1",
            tradeOpened={"tradeID": "7015", "units": "99", "price": "1.1"},
        )


def test_decimals_go_to_the_database_without_exponents() -> None:
    (fill,) = booked(
        type="ORDER_FILL",
        instrument="BTC_USD",
        units="0.00000001",
        price="0.00000030",
        tradeOpened={"tradeID": "7015", "units": "0.00000001"},
    )
    sent = msgspec.json.decode(brokers.as_json([fill]))
    assert sent[0]["quantity"] == "0.00000001"
    assert sent[0]["price"] == "0.00000030"
    assert sent[0]["at"] == "2026-01-05T12:00:00.123457Z"
    assert "raw" not in sent[0]


# Against the simulated broker


def test_a_snapshot_has_side_prices_and_mid_apart(broker: SimulatedBroker) -> None:
    before = datetime.now(UTC)
    taken = ask(broker, snapshot)
    assert before <= taken.requested_at <= taken.taken_at <= datetime.now(UTC)
    assert (taken.currency, taken.transaction_id, taken.is_hedging) == ("USD", "3", False)
    assert (taken.balance, taken.unrealized_pnl, taken.equity) == (
        D("10000.5000"),
        D("-0.2000"),
        D("10000.3000"),
    )
    assert (taken.margin_equity, taken.margin_closeout_unrealized_pnl) == (
        D("10000.4000"),
        D("-0.1000"),
    )
    assert taken.margin_used == D("55.0050")
    (position,) = taken.positions
    assert (position.symbol, position.side, position.quantity) == ("EUR/USD", "long", D(1000))
    assert msgspec.json.decode(taken.raw)["account"]["NAV"] == "10000.3000"


def test_all_transactions_come_in_order_over_many_pages(broker: SimulatedBroker) -> None:
    for _ in range(20):
        broker.books.record_entry(ACCOUNT, "financing", D("-0.01"))
    since = ask(broker, lambda oanda: oanda.transactions_since(ACCOUNT, "3"))
    assert [t.transaction_id for t in since.transactions] == [str(n) for n in range(4, 24)]
    assert since.transaction_id == "23"
    assert len(broker.requests) == 4  # five at a time, the last one reaches the end
    for one, following in zip(since.transactions, since.transactions[1:], strict=False):
        assert following.balance_after == one.balance_after + following.amount

    nothing = ask(broker, lambda oanda: oanda.transactions_since(ACCOUNT, "23"))
    assert (nothing.transaction_id, nothing.transactions) == ("23", [])


def test_the_whole_history_comes_by_pages(
    broker: SimulatedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glue.brokers.oanda.PAGE_SIZE", 5)
    for _ in range(20):
        broker.books.record_entry(ACCOUNT, "dividend", D("0.01"))
    found = ask(broker, everything)
    assert [t.transaction_id for t in found.transactions] == [str(n) for n in range(1, 24)]
    assert sum(t.amount for t in found.transactions) == D("10000.70")
    assert sum("idrange" in path for path in broker.requests) == 5


def test_the_token_goes_to_no_other_host() -> None:
    asked = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url)
        if request.url.path.endswith("/transactions"):
            page = "https://elsewhere.example/v3/accounts/X/transactions/idrange?from=1&to=1"
            return httpx2.Response(200, json={"pages": [page], "lastTransactionID": "1"})
        one = {"id": "1", "type": "CREATE", "time": "2026-01-05T12:00:00Z"}
        rows = [one] if request.url.path.endswith("/idrange") else []
        return httpx2.Response(200, json={"transactions": rows, "lastTransactionID": "1"})

    async def asking() -> brokers.Transactions:
        oanda = Oanda("t", "https://oanda.example", transport=httpx2.MockTransport(answer))
        return await everything(oanda)

    assert len(asyncio.run(asking()).transactions) == 1
    assert {url.host for url in asked} == {"oanda.example"}
    assert ACCOUNT in asked[1].path


def test_transactions_that_go_back_are_refused(broker: SimulatedBroker) -> None:
    body = msgspec.json.encode(
        {
            "transactions": [
                {"id": number, "type": "CREATE", "time": "2026-01-05T12:00:00Z"}
                for number in ("5", "4")
            ],
            "lastTransactionID": "5",
        }
    ).decode()
    broker.misbehave(body=body)
    with pytest.raises(BrokerAnswerError, match="transaction 4 comes after 5"):
        ask(broker, lambda oanda: oanda.transactions_since(ACCOUNT, "3"))


def test_a_transaction_that_the_broker_does_not_have_yet_is_an_error(
    broker: SimulatedBroker,
) -> None:
    with pytest.raises(BrokerAnswerError, match="416"):
        ask(broker, lambda oanda: oanda.transactions_since(ACCOUNT, "999"))


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ({"status": 401}, BrokerRefusedError),
        ({"status": 403}, BrokerRefusedError),
        ({"status": 404}, UnknownBrokerAccountError),
        ({"status": 429}, BrokerBusyError),
        ({"status": 429, "retry_after": 60}, BrokerBusyError),
        ({"status": 500}, BrokerUnreachableError),
        ({"status": 503}, BrokerUnreachableError),
        ({"status": 302}, BrokerAnswerError),
        ({"status": 400}, BrokerAnswerError),
        ({"is_hung": True}, BrokerUnreachableError),
        ({"delay": 1.0}, BrokerUnreachableError),
        ({"is_cut": True}, BrokerUnreachableError),
        ({"body": "<html>"}, BrokerAnswerError),
        ({"body": '{"account": {"id": "1"}}'}, BrokerAnswerError),
    ],
)
def test_each_misbehaviour_is_an_error_of_its_kind(
    broker: SimulatedBroker, behaviour: dict[str, Any], error: type[BrokerError]
) -> None:
    broker.misbehave(ACCOUNT, **behaviour)
    for question in (snapshot, everything):
        with pytest.raises(error) as caught:
            ask(broker, question, timeout=0.3, attempts=1)
        assert type(caught.value) is error
        assert caught.value.message
        assert caught.value.remedy
    broker.behave(ACCOUNT)
    assert ask(broker, snapshot).balance == D("10000.5")


def test_other_accounts_are_not_touched_by_ones_misbehaviour(broker: SimulatedBroker) -> None:
    broker.books.create_account("other", "EUR", D(5))
    broker.misbehave(ACCOUNT, is_hung=True)
    assert ask(broker, lambda oanda: oanda.snapshot("other")).balance == D(5)


def test_nobody_listens(broker: SimulatedBroker) -> None:
    broker.stop()
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1"):
        ask(broker, snapshot)


def test_a_wrong_token_and_an_unknown_account_are_told_apart(broker: SimulatedBroker) -> None:
    with pytest.raises(BrokerRefusedError, match="token"):
        ask(broker, snapshot, token="another")
    with pytest.raises(UnknownBrokerAccountError, match="there is no account 1/2"):
        ask(broker, lambda oanda: oanda.snapshot("1/2"))


@pytest.mark.parametrize(
    "behaviour",
    [{"status": 502}, {"is_cut": True}, {"status": 429, "retry_after": 0.0}],
)
def test_what_passes_is_tried_again(broker: SimulatedBroker, behaviour: dict[str, Any]) -> None:
    broker.misbehave(ACCOUNT, times=2, **behaviour)
    assert ask(broker, snapshot).transaction_id == "3"
    assert len(broker.requests) == 3


@pytest.mark.parametrize("behaviour", [{"status": 401}, {"status": 404}, {"body": "{}"}])
def test_what_does_not_pass_is_not_tried_again(
    broker: SimulatedBroker, behaviour: dict[str, Any]
) -> None:
    broker.misbehave(ACCOUNT, **behaviour)
    with pytest.raises(BrokerError):
        ask(broker, snapshot)
    assert len(broker.requests) == 1


def test_a_broker_that_comes_back_soon_is_not_missed(broker: SimulatedBroker) -> None:
    broker.go_away(0.15)
    assert ask(broker, snapshot, attempts=8).transaction_id == "3"


def test_retry_after_holds_back_every_account(broker: SimulatedBroker) -> None:
    broker.books.create_account("other", "EUR", D(5))
    broker.misbehave(ACCOUNT, status=429, retry_after=1, times=1)

    async def both(oanda: Oanda) -> float:
        with pytest.raises(BrokerBusyError):
            await oanda.snapshot(ACCOUNT)
        begun = time.monotonic()
        await oanda.snapshot("other")
        return time.monotonic() - begun

    assert ask(broker, both, attempts=1) > 0.9


def test_a_long_retry_after_is_not_waited_for(broker: SimulatedBroker) -> None:
    broker.misbehave(ACCOUNT, status=429, retry_after=30)
    begun = time.monotonic()
    with pytest.raises(BrokerBusyError) as caught:
        ask(broker, snapshot)
    assert caught.value.retry_after == 30
    assert time.monotonic() - begun < 3


def test_requests_are_paced(broker: SimulatedBroker) -> None:
    async def many(oanda: Oanda) -> float:
        begun = time.monotonic()
        await asyncio.gather(*(oanda.snapshot(ACCOUNT) for _ in range(21)))
        return time.monotonic() - begun

    assert ask(broker, many, rate=50.0) >= 0.4
    assert ask(broker, many, rate=None) < 0.4


def test_hundreds_of_accounts_are_asked_beside_each_other(broker: SimulatedBroker) -> None:
    names = [f"A-{number}" for number in range(200)]
    for name in names:
        broker.books.create_account(name, "USD", D(100))
    broker.misbehave(delay=0.02)

    async def all_of_them(oanda: Oanda) -> float:
        begun = time.monotonic()
        taken = await asyncio.gather(*(oanda.snapshot(name) for name in names))
        assert [snapshot.broker_account_id for snapshot in taken] == names
        return time.monotonic() - begun

    assert ask(broker, all_of_them) < 2  # one after the other would take 4


def test_no_more_than_so_many_requests_are_under_way() -> None:
    under_way = most = 0

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return httpx2.Response(200, json=DETAILS)

    async def many() -> None:
        transport = httpx2.MockTransport(answer)
        oanda = Oanda("t", rate=None, concurrency=4, transport=transport)
        await asyncio.gather(*(oanda.snapshot(ACCOUNT) for _ in range(30)))

    asyncio.run(many())
    assert most == 4


def test_a_stale_answer_is_whole_and_says_its_transaction(broker: SimulatedBroker) -> None:
    broker.misbehave(ACCOUNT, is_stale=True)
    broker.books.record_entry(ACCOUNT, "deposit", D(500))
    broker.books.set_price("EUR/USD", D("1.2000"), D("1.2002"))
    stale = ask(broker, snapshot)
    assert (stale.transaction_id, stale.balance, stale.equity) == (
        "3",
        D("10000.5"),
        D("10000.3"),
    )
    broker.behave()
    assert ask(broker, snapshot).transaction_id == "4"


def test_lists_the_accounts_of_a_token(broker: SimulatedBroker) -> None:
    assert ask(broker, lambda oanda: oanda.accounts()) == [ACCOUNT]


# Which broker


def test_connects_to_the_broker_that_an_account_names(broker: SimulatedBroker) -> None:
    async def asked(name: str, **values: str) -> brokers.Snapshot:
        connection = registry.connect(name, settings.load(values))
        try:
            return await connection.snapshot(ACCOUNT)
        finally:
            await connection.aclose()

    by_demo = asyncio.run(asked("demo", TIDEMARK_DEMO_BROKER=broker.url))
    by_oanda = asyncio.run(
        asked("oanda", TIDEMARK_OANDA=broker.url, TIDEMARK_OANDA_TOKEN="simulated")
    )
    assert by_demo.raw == by_oanda.raw


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("nobody", {}, "there are: demo, oanda"),
        ("oanda", {}, "no token"),
        ("oanda", {"TIDEMARK_OANDA_TOKEN": "t", "TIDEMARK_OANDA": "paper"}, "'paper'"),
    ],
)
def test_says_what_is_missing_to_connect(name: str, values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        registry.connect(name, settings.load(values))
    assert caught.value.remedy
