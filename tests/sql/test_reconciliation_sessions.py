"""Looks, bookings, ticks and judgements at the same time: nobody waits for ever, nothing breaks."""

import random
import threading
from collections.abc import Callable

from tests.conftest import Database
from tests.factories import Connection, assert_sound, entry, every, fill, instrument
from tests.sql.brokers import HandBroker, answer, lasting, quote

EUR_USD = "EUR/USD"


def test_all_at_once(conn: Connection, database: Database) -> None:
    conn.execute("select api.set_reconciliation_settings('0', '1 s', '1 ms', '1 ms')")
    conn.execute("select api.set_alert_channel('desk', 'x')")
    instrument(conn, EUR_USD)
    quote(conn, (EUR_USD, "1.1", "1.1002"))
    brokers = [HandBroker(conn, number=f"A-{number}") for number in range(3)]
    for broker in brokers:
        broker.entry("deposit", "100000")
    problems: list[str] = []

    def session(turns: int, act: Callable[[Connection, random.Random], object]) -> threading.Thread:
        def run() -> None:
            chance = random.Random(turns)
            with database.connect() as own:
                for _ in range(turns):
                    try:
                        act(own, chance)
                    except Exception as error:  # whatever it is, the test names it
                        problems.append(repr(error))

        return threading.Thread(target=run)

    def book(own: Connection, chance: random.Random) -> None:
        broker = chance.choice(brokers)
        side = chance.choice(["buy", "sell"])
        fill(own, broker.account_id, EUR_USD, side, "100", "1.1")

    def book_on_two(own: Connection, chance: random.Random) -> None:
        ids = [broker.account_id for broker in chance.sample(brokers, 2)]
        with own.transaction():
            own.execute("select api.lock_accounts(%s)", [ids])
            for account_id in ids:
                entry(own, account_id, "financing", "-1")

    def look(own: Connection, chance: random.Random) -> None:
        broker = chance.choice(brokers)
        answer(own, broker.account_id, SNAPSHOT, [], None)

    def judge(own: Connection, chance: random.Random) -> None:
        every(own, "select * from api.judge_reconciliation()")
        for due in every(own, "select * from api.take_alerts()"):
            own.execute("select api.report_alert_delivery(%s, true)", [due["delivery_id"]])
        for found in lasting(own)[:1]:
            own.execute("select api.acknowledge_discrepancy(%s, 'x')", [found["discrepancy_id"]])

    def tick(own: Connection, chance: random.Random) -> None:
        bid = 1.1 + chance.randint(-50, 50) / 10000
        quote(own, (EUR_USD, f"{bid:.4f}", f"{bid + 0.0002:.4f}"))

    def verify(own: Connection, chance: random.Random) -> None:
        assert_sound(own)

    threads = [
        session(turns, act)
        for turns, act in [
            (60, book), (61, book_on_two), (40, look), (41, look), (60, judge), (61, judge),
            (100, tick), (20, verify),
        ]
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert problems == []
    assert not any(thread.is_alive() for thread in threads)
    assert_sound(conn)
    assert every(conn, "select * from api.discrepancies") != []
    assert every(conn, "select * from api.alerts") != []
    twice = every(
        conn,
        "select account_id, subject from recon.discrepancies where resolved_at is null"
        " group by 1, 2 having count(*) > 1",
    )
    assert twice == []


SNAPSHOT = {
    "transaction_id": "1",
    "taken_at": "2026-01-05T09:00:00Z",
    "currency": "USD",
    "balance": "100000",
    "equity": "100000",
    "unrealized_pnl": "0",
    "margin_used": "0",
    "positions": [],
}
