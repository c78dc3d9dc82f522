"""The simulated broker: books that agree with the ledger's, what can go wrong in them, and a public
client of OANDA's that makes its calls unchanged."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import oandapyV20
import pytest
from oandapyV20.endpoints import accounts, orders, positions, pricing, trades, transactions

from glue.brokers.simulated import (
    TOKEN,
    Books,
    Control,
    SimulatedBroker,
    SimulationError,
    server,
    shapes,
)
from tests.conftest import Connection
from tests.supervisors import until

D = Decimal


@pytest.fixture
def books() -> Books:
    books = Books()
    books.set_prices(
        [
            ("EUR/USD", D("1.1000"), D("1.1002")),
            ("USD/JPY", D("150.00"), D("150.02")),
            ("GBP/USD", D("1.2500"), D("1.2502")),
        ]
    )
    return books


@pytest.fixture
def broker() -> Iterator[SimulatedBroker]:
    with SimulatedBroker() as broker:
        broker.books.set_prices([("EUR/USD", D("1.1000"), D("1.1002"))])
        broker.books.create_account("A-1", "USD", D(10_000))
        yield broker


@pytest.fixture
def control(broker: SimulatedBroker) -> Iterator[Control]:
    control = Control(broker.url)
    yield control
    control.close()


def details(books: Books, account: str) -> dict[str, Any]:
    return shapes.details(books, books.account(account))["account"]


def history(books: Books, account: str) -> list[dict[str, Any]]:
    known = books.account(account)
    return [shapes.transaction(known, booked) for booked in known.booked.values()]


# The books


def test_average_cost_add_reduce_turn_around(books: Books) -> None:
    books.create_account("A", "EUR", money_scale=2, conversion_markup=D("0.01"))
    books.set_price("EUR/USD", D("1.25"), D("1.25"))
    for side, quantity, price in (
        ("buy", 1000, "1.10"),
        ("buy", 2000, "1.13"),
        ("sell", 1000, "1.24"),
        ("sell", 5000, "1.11"),
    ):
        books.record_fill("A", "EUR/USD", side, D(quantity), D(price))
    assert [t["pl"] for t in history(books, "A")[1:]] == ["0.0000", "0.0000", "95.0400", "-16.1600"]
    account = details(books, "A")
    assert account["balance"] == "78.8800"
    assert account["positions"][0]["short"]["units"] == "-3000"
    assert account["positions"][0]["short"]["averagePrice"] == "1.11000"
    last = history(books, "A")[-1]
    assert [part["units"] for part in last["tradesClosed"]] == ["-2000"]
    assert last["tradeOpened"]["units"] == "-3000"


def test_first_in_first_out_gives_another_balance_and_the_same_equity(books: Books) -> None:
    for name, matching in (("average", "average"), ("fifo", "fifo")):
        books.create_account(name, "USD", D(1000), matching=matching)
        books.record_fill(name, "EUR/USD", "buy", D(1000), D("1.10"))
        books.record_fill(name, "EUR/USD", "buy", D(1000), D("1.20"))
        books.record_fill(name, "EUR/USD", "sell", D(1000), D("1.15"))
    average, fifo = details(books, "average"), details(books, "fifo")
    assert (average["balance"], fifo["balance"]) == ("1000.0000", "1050.0000")
    assert average["positions"][0]["long"]["averagePrice"] == "1.15000"
    assert fifo["positions"][0]["long"]["averagePrice"] == "1.20000"
    assert average["NAV"] == fifo["NAV"] == "950.0000"


def test_a_long_is_worth_its_bid_and_margin_is_judged_at_mid(books: Books) -> None:
    books.set_instrument("USD/JPY", D("0.04"), 3)
    books.create_account("A", "EUR", D(1000))
    books.record_fill("A", "USD/JPY", "sell", D(1000), D("151"))
    account = details(books, "A")
    rate = 1 / D("150.01") / D("1.1001")  # yen to euros, through the dollar
    cents = D("0.0001")
    assert D(account["unrealizedPL"]) == (D(1000) * (D("151") - D("150.02")) * rate).quantize(cents)
    assert D(account["marginCloseoutUnrealizedPL"]) == (D(990) * rate).quantize(cents)
    assert D(account["marginUsed"]) == (D(40) / D("1.1001")).quantize(cents)
    assert D(account["NAV"]) - D(account["balance"]) == D(account["unrealizedPL"])


def test_a_hedging_account_holds_both_sides(books: Books) -> None:
    books.create_account("A", "USD", is_hedging=True)
    books.record_fill("A", "EUR/USD", "buy", D(1000), D("1.10"), effect="open")
    books.record_fill("A", "EUR/USD", "sell", D(400), D("1.12"), effect="open")
    books.record_fill("A", "EUR/USD", "buy", D(100), D("1.11"), effect="close")
    (position,) = details(books, "A")["positions"]
    assert (position["long"]["units"], position["short"]["units"]) == ("1000", "-300")
    assert details(books, "A")["balance"] == "1.0000"
    assert details(books, "A")["marginUsed"] == "55.0050"
    with pytest.raises(SimulationError, match="effect"):
        books.record_fill("A", "EUR/USD", "buy", D(1), D("1.11"))
    with pytest.raises(SimulationError, match="only 300"):
        books.record_fill("A", "EUR/USD", "buy", D(301), D("1.11"), effect="close")


def test_a_follower_tells_ids_and_amounts_and_may_tell_them_twice(books: Books) -> None:
    books.create_account("A", "USD", last_transaction_id=500)
    told = {
        "commission": D("2.50"),
        "financing": D("-0.75"),
        "client_id": "demo-1",
        "transaction_id": 777,
    }
    for _ in range(2):
        number = books.record_fill("A", "USD/JPY", "buy", D(1000), D("150.02"), **told)
        assert number == "777"
    books.record_fill(
        "A", "USD/JPY", "sell", D(1000), D("151.02"), realized_pnl=D("6.62"), client_id="demo-2"
    )
    opened, closed = history(books, "A")[1:]
    assert (opened["id"], opened["clientOrderID"]) == ("777", "demo-1")
    assert opened["accountBalance"] == "-3.2500"
    assert (closed["id"], closed["pl"], closed["accountBalance"]) == ("778", "6.6200", "3.3700")
    assert closed["tradesClosed"][0]["tradeID"] == "777"
    with pytest.raises(SimulationError, match="778"):
        books.record_entry("A", "deposit", D(1), transaction_id=778)


def test_books_agree_with_the_ledger(books: Books, conn: Connection) -> None:
    rng = random.Random(5)
    symbols = {"EUR/USD": D("1.1"), "USD/JPY": D(150), "GBP/USD": D("1.25")}
    for symbol in symbols:
        conn.execute("select api.upsert_instrument(%s, %s, %s, 0.05)", [symbol, *symbol.split("/")])
    ids = {}
    for currency, scale, markup in (("USD", 2, D(0)), ("EUR", 2, D("0.005")), ("JPY", 0, D(0))):
        books.create_account(currency, currency, money_scale=scale, conversion_markup=markup)
        row = conn.execute(
            "select account_id from api.open_account(%s, %s, p_conversion_markup => %s,"
            " p_money_scale => %s)",
            [currency, currency, markup, scale],
        ).fetchone()
        ids[currency] = row[0]

    for step in range(150):
        prices = [
            (symbol, bid, bid + D("0.0002"))
            for symbol, start in symbols.items()
            for bid in [(start * (1 + D(rng.randint(-500, 500)) / 10_000)).quantize(D("0.00001"))]
        ]
        books.set_prices(prices)
        conn.execute(
            "select api.ingest_ticks(%s, array_fill(clock_timestamp(), array[3]), %s, %s)",
            [list(column) for column in zip(*prices, strict=True)],
        )
        for currency, account_id in ids.items():
            symbol, bid, ask = rng.choice(prices)
            side = rng.choice(("buy", "sell"))
            quantity = D(rng.randint(1, 9000))
            price = ask if side == "buy" else bid
            number = books.record_fill(currency, symbol, side, quantity, price)
            conn.execute(
                "select api.record_fill(%s, %s, %s, %s, %s, p_external_id => %s)",
                [account_id, symbol, side, quantity, price, number],
            )
            if step % 10:
                continue
            state = conn.execute(
                "select balance, unrealized_pnl, equity, margin_equity, margin_used"
                " from api.account_states where account_id = %s",
                [account_id],
            ).fetchone()
            shown = details(books, currency)
            assert state == tuple(
                D(shown[name])
                for name in ("balance", "unrealizedPL", "NAV", "marginCloseoutNAV", "marginUsed")
            )
    for currency, account_id in ids.items():
        ours = conn.execute(
            "select symbol, side, quantity, round(average_price, 5) from api.positions"
            " where account_id = %s order by symbol",
            [account_id],
        ).fetchall()
        theirs = [
            (
                shapes.symbol_of(position["instrument"]),
                side,
                abs(D(position[side]["units"])),
                D(position[side]["averagePrice"]),
            )
            for position in details(books, currency)["positions"]
            for side in ("long", "short")
            if position[side]["units"] != "0"
        ]
        assert [row[:3] for row in ours] == [row[:3] for row in theirs]
        for mine, their in zip(ours, theirs, strict=True):
            assert abs(mine[3] - their[3]) <= D("0.0005")


# What goes wrong


def test_a_lost_fill_takes_its_effect_along(books: Books) -> None:
    books.create_account("A", "USD", D(1000))
    books.record_fill("A", "EUR/USD", "buy", D(1000), D("1.10"), commission=D(1))
    books.record_fill("A", "EUR/USD", "sell", D(400), D("1.12"))
    books.lose_fill("A", 3)
    account = details(books, "A")
    assert [(t["id"], t["type"]) for t in history(books, "A")] == [
        ("1", "CREATE"),
        ("2", "TRANSFER_FUNDS"),
        ("3", "ORDER_CANCEL"),
        ("4", "ORDER_FILL"),
    ]
    assert account["lastTransactionID"] == "4"
    assert account["positions"][0]["short"]["units"] == "-400"
    assert account["balance"] == history(books, "A")[-1]["accountBalance"] == "1000.0000"


def test_the_next_fill_can_be_lost_beforehand(books: Books) -> None:
    books.create_account("A", "USD")
    books.lose_next_fills("A")
    assert books.record_fill("A", "EUR/USD", "buy", D(1000), D("1.10")) == "2"
    assert details(books, "A")["positions"] == []
    assert history(books, "A")[-1]["type"] == "ORDER_CANCEL"
    assert books.record_fill("A", "EUR/USD", "buy", D(1000), D("1.10")) == "3"
    assert details(books, "A")["openTradeCount"] == 1


def test_quantity_average_price_and_balance_change_without_a_transaction(books: Books) -> None:
    books.create_account("A", "USD", D(1000))
    books.record_fill("A", "EUR/USD", "buy", D(1000), D("1.10"))
    books.set_position("A", "EUR/USD", "long", D(900))
    books.set_balance("A", D("999.99"))
    account = details(books, "A")
    assert account["balance"] == "999.9900"
    assert account["positions"][0]["long"]["units"] == "900"
    assert account["positions"][0]["long"]["averagePrice"] == "1.10000"
    books.set_position("A", "EUR/USD", "long", D(900), D("1.09"))
    assert details(books, "A")["positions"][0]["long"]["averagePrice"] == "1.09000"
    books.set_position("A", "EUR/USD", "long", D(0))
    assert details(books, "A")["positions"] == []
    assert details(books, "A")["lastTransactionID"] == "3"


def test_prices_stand_still_are_mid_or_converted_wrongly(books: Books) -> None:
    books.create_account("A", "USD")
    books.record_fill("A", "EUR/USD", "buy", D(1000), D("1.1002"))
    books.distort("A", freeze_prices=True)
    books.set_price("EUR/USD", D("1.2000"), D("1.2002"))
    assert details(books, "A")["unrealizedPL"] == "-0.2000"
    books.distort("A", price_side="mid")
    assert details(books, "A")["unrealizedPL"] == "99.9000"
    books.distort("A", conversion_factor=D("1.01"))
    assert details(books, "A")["unrealizedPL"] == "100.7980"
    books.distort("A")
    assert details(books, "A")["unrealizedPL"] == "99.8000"


def test_a_position_that_cannot_be_valued_is_no_answer(broker: SimulatedBroker) -> None:
    broker.books.create_account("yen", "JPY")
    broker.books.record_fill("yen", "EUR/USD", "buy", D(1), D("1.1"))
    answer = httpx2.get(
        f"{broker.url}/v3/accounts/yen", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert answer.status_code == 503
    assert "no price to value EUR/USD in JPY" in answer.json()["errorMessage"]


# Over HTTP


def test_all_of_it_is_done_by_control(control: Control, broker: SimulatedBroker) -> None:
    assert control.call("create_account", account="B", currency="EUR", balance="12.50") == "2"
    control.call("set_instrument", symbol="EUR/USD", margin_rate=D("0.02"))
    control.call("set_prices", prices=[("EUR/USD", D("1.2"), D("1.2002"))])
    number = control.call(
        "record_fill",
        account="B",
        symbol="EUR/USD",
        side="buy",
        quantity=D(100),
        price=D("1.2002"),
        at="2026-01-05T12:00:00Z",
        client_id="x",
    )
    assert number == "3"
    assert history(broker.books, "B")[-1]["time"] == "2026-01-05T12:00:00.000000000Z"
    assert control.call("record_entry", account="B", kind="financing", amount="-0.10") == "4"
    control.call("set_balance", account="B", balance="1")
    control.call("lose_fill", account="B", transaction_id=3)
    assert details(broker.books, "B")["positions"] == []
    control.call("misbehave", account="B", status=500)
    control.call("behave")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("sell_everything", {}, "there is no command"),
        ("set_balance", {"account": "nobody", "balance": "1"}, "no account nobody"),
        ("set_balance", {"account": "A-1"}, "balance"),
        ("set_price", {"symbol": "EURUSD", "bid": "1", "ask": "1"}, "called like EUR/USD"),
        ("set_price", {"symbol": "EUR/USD", "bid": "2", "ask": "1"}, "not a price"),
        ("set_price", {"symbol": "EUR/USD", "bid": "1", "ask": "1", "mid": "1"}, "mid"),
        ("record_entry", {"account": "A-1", "kind": "gift", "amount": "1"}, "gift"),
        ("record_entry", {"account": "A-1", "kind": "deposit", "amount": "-1"}, "sign"),
        ("create_account", {"account": "A-1", "currency": "JPY"}, "there already, in USD"),
        (
            "set_position",
            {"account": "A-1", "symbol": "EUR/USD", "side": "long", "quantity": "1"},
            "needs an average price",
        ),
    ],
)
def test_control_says_what_it_will_not_do(
    control: Control, command: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SimulationError, match=message):
        control.call(command, **arguments)


def test_control_needs_the_token(broker: SimulatedBroker) -> None:
    stranger = Control(broker.url, token="guess")
    with pytest.raises(SimulationError, match="token"):
        stranger.call("behave")
    stranger.close()


def test_goes_away_and_comes_back_on_the_same_port(
    control: Control, broker: SimulatedBroker
) -> None:
    url = broker.url
    control.call("go_away", seconds=0.3)
    deadline = time.monotonic() + 10
    reached = [_is_there(control)]
    while reached[-2:] != [False, True]:
        assert time.monotonic() < deadline, reached
        reached.append(_is_there(control))
    assert broker.url == url
    assert details(broker.books, "A-1")["balance"] == "10000.0000"


def test_comes_back_when_its_port_is_free(
    control: Control, broker: SimulatedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter([True, True])
    whole = server._Server

    def listening(*arguments: Any) -> object:
        if next(taken, False):
            raise OSError("address in use")
        return whole(*arguments)

    monkeypatch.setattr(server, "_Server", listening)
    broker.go_away(0)
    until(lambda: _is_there(control), "it is back")
    assert next(taken, None) is None


def _is_there(control: Control) -> bool:
    try:
        control.call("behave")
    except httpx2.TransportError:
        return False
    return True


def test_runs_as_a_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "glue.brokers.simulated", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        line = process.stderr.readline()
        control = Control(line.partition("url=")[2].split()[0])
        assert control.call("create_account", account="A", currency="USD") == "1"
        control.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0


# A public client of OANDA's


@pytest.fixture
def client(broker: SimulatedBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[oandapyV20.API]:
    monkeypatch.setitem(oandapyV20.oandapyV20.TRADING_ENVIRONMENTS["practice"], "api", broker.url)
    with oandapyV20.API(access_token=TOKEN) as client:
        yield client


def test_a_public_client_makes_its_calls_unchanged(client: oandapyV20.API) -> None:
    assert client.request(accounts.AccountList()) == {"accounts": [{"id": "A-1", "tags": []}]}

    order = orders.OrderCreate(
        "A-1",
        data={
            "order": {
                "type": "MARKET",
                "instrument": "EUR_USD",
                "units": "-1500",
                "timeInForce": "FOK",
                "positionFill": "DEFAULT",
                "clientExtensions": {"id": "mine"},
            }
        },
    )
    answer = client.request(order)  # checks for 201
    fill = answer["orderFillTransaction"]
    assert (fill["price"], fill["units"], fill["clientOrderID"]) == ("1.1", "-1500", "mine")
    assert answer["relatedTransactionIDs"] == ["3", "4"]

    account = client.request(accounts.AccountDetails("A-1"))["account"]
    summary = client.request(accounts.AccountSummary("A-1"))["account"]
    assert summary.items() <= account.items()
    assert account["unrealizedPL"] == "-0.3000"

    (position,) = client.request(positions.OpenPositions("A-1"))["positions"]
    assert position["short"]["units"] == "-1500"
    (trade,) = client.request(trades.OpenTrades("A-1"))["trades"]
    assert (trade["id"], trade["currentUnits"]) == ("4", "-1500")
    assert client.request(orders.OrdersPending("A-1"))["orders"] == []

    (instrument,) = client.request(accounts.AccountInstruments("A-1"))["instruments"]
    assert (instrument["name"], instrument["displayPrecision"]) == ("EUR_USD", 5)
    (price,) = client.request(pricing.PricingInfo("A-1", {"instruments": "EUR_USD"}))["prices"]
    assert (price["bids"][0]["price"], price["closeoutAsk"]) == ("1.10000", "1.10020")

    pages = client.request(transactions.TransactionList("A-1", {"pageSize": 3}))
    assert (pages["count"], len(pages["pages"])) == (4, 2)
    since = client.request(transactions.TransactionsSinceID("A-1", {"id": 2}))["transactions"]
    between = client.request(transactions.TransactionIDRange("A-1", {"from": 3, "to": 4}))
    assert since == between["transactions"]
    assert client.request(transactions.TransactionDetails("A-1", 4))["transaction"] == since[-1]


def test_a_public_client_sees_errors_as_oandas(
    client: oandapyV20.API, broker: SimulatedBroker
) -> None:
    limit = {"order": {"type": "LIMIT", "instrument": "EUR_USD", "units": "1"}}
    for request, code in (
        (accounts.AccountDetails("nobody"), 404),
        (transactions.TransactionsSinceID("A-1", {"id": "x"}), 400),
        (transactions.TransactionsSinceID("A-1", {"id": 99}), 416),
        (orders.OrderCreate("A-1", data=limit), 400),
    ):
        with pytest.raises(oandapyV20.exceptions.V20Error) as caught:
            client.request(request)
        assert caught.value.code == code
        assert msgspec.json.decode(caught.value.msg)["errorMessage"]
    broker.misbehave("A-1", status=429)
    with pytest.raises(oandapyV20.exceptions.V20Error) as caught:
        client.request(accounts.AccountSummary("A-1"))
    assert caught.value.code == 429
