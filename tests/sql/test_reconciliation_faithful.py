"""A broker that is a faithful copy of the ledger, or a little ahead or behind: nothing, ever."""

import random
from collections import deque
from collections.abc import Callable

import pytest

from tests.factories import Connection, assert_sound, entry, every, fill, instrument, positions
from tests.sql.brokers import HandBroker, plain, quote

PRICES = {"EUR/USD": "1.1", "GBP/USD": "1.3", "USD/JPY": "150", "EUR/GBP": "0.85"}
ACCOUNTS = [("USD", "netting", 2), ("USD", "hedging", 2), ("JPY", "netting", 0), ("EUR", "net", 4)]


class Trading:
    """Traders at one broker, whose bookings reach the ledger in order, at once or after a look."""

    def __init__(self, conn: Connection, seed: int) -> None:
        self.conn = conn
        self.random = random.Random(seed)
        self.brokers = [
            HandBroker(conn, currency, "hedging" if mode == "hedging" else "netting", scale,
                       f"A-{number}")
            for number, (currency, mode, scale) in enumerate(ACCOUNTS)
        ]  # fmt: skip
        self.in_flight: deque[Callable[[], object]] = deque()

    def land(self) -> None:
        """What is in flight reaches the ledger."""
        while self.in_flight:
            self.in_flight.popleft()()

    def tick(self) -> None:
        self.land()  # else the ledger would convert at other rates than the broker
        symbol = self.random.choice(list(PRICES))
        bid = round(float(PRICES[symbol]) * self.random.uniform(0.99, 1.01), 5)
        quote(self.conn, (symbol, str(bid), str(round(bid * 1.0002, 5))))

    def trade(self) -> None:
        broker = self.random.choice(self.brokers)
        symbol = self.random.choice(list(PRICES))
        side, effect = self.random.choice(["buy", "sell"]), "auto"
        quantity = str(self.random.randint(1, 5) * 100)
        if broker.mode == "hedging":
            effect = "open"
            held = positions(self.conn, broker.own_id)
            if held and self.random.random() < 0.5:
                position = self.random.choice(held)
                symbol, effect = position["symbol"], "close"
                side = "sell" if position["side"] == "long" else "buy"
                quantity = plain(min(position["quantity"], position["quantity"] // 100 * 50 or 1))
        price = str(round(float(PRICES[symbol]) * self.random.uniform(0.99, 1.01), 5))
        commission = self.random.choice(["0", "1", "2"])
        external_id = broker.fill_only(
            symbol, side, quantity, price, commission=commission, effect=effect
        )
        known = self.random.random() < 0.8
        self.send(
            lambda: fill(
                self.conn, broker.account_id, symbol, side, quantity, price, effect, commission,
                external_id if known else None,
            )
        )  # fmt: skip

    def pay(self) -> None:
        broker = self.random.choice(self.brokers)
        kind, amount = self.random.choice(
            [("deposit", "1000"), ("financing", "-3"), ("dividend", "7"), ("credit", "50")]
        )
        external_id = broker.entry_only(kind, amount)
        self.send(lambda: entry(self.conn, broker.account_id, kind, amount, external_id))

    def take_back(self) -> None:
        """A mistake on our side, made good before anybody looks."""
        self.land()
        broker = self.random.choice(self.brokers[:1])
        wrong = fill(self.conn, broker.account_id, "EUR/USD", "buy", "77", "1.1")
        every(self.conn, "select * from api.reverse_fill(%s)", [wrong["fill_id"]])

    def send(self, booking: Callable[[], object]) -> None:
        self.in_flight.append(booking)
        if self.random.random() < 0.7:
            self.land()

    def look(self) -> None:
        """Ask all brokers; some answers arrive after more has happened."""
        for broker in self.brokers:
            snapshot = broker.snapshot()
            if self.random.random() < 0.3:
                self.tick()
            if self.random.random() < 0.3:
                self.trade()
            run = broker.compare(snapshot)
            assert run["outcome"] == "passed", every(
                self.conn, "select cause, message, evidence from api.discrepancies"
            )
        self.land()


@pytest.mark.parametrize("seed", range(6))
def test_a_faithful_copy_never_differs(conn: Connection, seed: int) -> None:
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    for symbol, price in PRICES.items():
        instrument(conn, symbol)
        quote(conn, (symbol, price, price))
    trading = Trading(conn, seed)
    for broker in trading.brokers:
        broker.entry("deposit", "100000")
    for _ in range(120):
        trading.random.choices(
            [trading.tick, trading.trade, trading.pay, trading.take_back, trading.look],
            [4, 5, 1, 0.5, 3],
        )[0]()
    trading.land()
    for _ in range(2):
        for broker in trading.brokers:
            run = broker.look()
            assert (run["outcome"], run["differences"]) == ("passed", 0)
    assert every(conn, "select * from api.discrepancies") == []
    assert every(conn, "select * from api.alerts") == []
    unsettled = every(
        conn, "select * from recon.broker_transactions where not is_settled order by event_at"
    )
    assert unsettled == []
    assert_sound(conn)
