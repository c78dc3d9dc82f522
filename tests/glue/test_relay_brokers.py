"""The broker's figures on the wire: in the snapshot, and again when the broker was asked."""

from types import SimpleNamespace

import pytest

from glue import wire
from glue.relay.database import Mark
from glue.relay.frames import Frame, broker_frame
from glue.relay.metrics import Metrics
from glue.relay.outbox import Outbox
from tests.conftest import Connection
from tests.glue.relays import Relay, fill
from tests.sql.brokers import HandBroker


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that has not been asked yet, with 10000 on both sides."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    return broker


def test_a_run_is_told_to_who_watches(
    relay: Relay, book: SimpleNamespace, broker: HandBroker
) -> None:
    with relay.client(book.token) as client, relay.client(book.token, [book.alpha]) as other:
        brokers = {p.account_id: p.broker for p in client.snapshot().accounts}
        assert brokers[book.alpha] is None
        before = brokers[broker.account_id]
        assert before is not None
        assert before.answered_at is None
        other.snapshot()

        broker.look()
        told = client.wait_for(lambda m: isinstance(m, wire.BrokerChanged))
        assert told.account_id == broker.account_id
        assert (told.broker.balance, told.broker.open_discrepancies) == ("10000.00", 0)
        assert told.broker.consistent_since is not None

        for _ in range(2):
            broker.look(balance="9999", equity="9999", margin_equity="9999")
        client.wait_for(
            lambda m: (
                isinstance(m, wire.BrokerChanged)
                and m.broker is not None
                and (m.broker.balance, m.broker.open_discrepancies) == ("9999.00", 1)
                and m.broker.consistent_since is None
            )
        )

        fill(book.conn, book.alpha)
        while not isinstance(message := other.receive(), wire.Trade):
            assert not isinstance(message, wire.BrokerChanged), "it does not watch the account"

    with relay.client(book.token, [broker.account_id]) as client:
        (portfolio,) = client.snapshot().accounts
        assert portfolio.broker is not None
        assert portfolio.broker.balance == "9999.00"


def test_a_run_that_changes_nothing_else_is_told_once(
    relay: Relay, book: SimpleNamespace, broker: HandBroker
) -> None:
    broker.look()
    with relay.client(book.token) as client:
        client.snapshot()
        for _ in range(2):  # each heartbeat comes after two looks at least
            message = client.wait_for(lambda m: isinstance(m, wire.Heartbeat | wire.BrokerChanged))
            assert isinstance(message, wire.Heartbeat), "the snapshot told it"


def frame(kind: str, account_id: int, event_seq: int) -> Frame:
    return Frame(kind, account_id, Mark(event_seq, event_seq), b"{}")


def test_it_stands_behind_all_else_and_is_merged() -> None:
    outbox = Outbox(Metrics())
    outbox.begin_snapshot()
    for account_id in (1, 2, 1):
        outbox.offer_broker(broker_frame(account_id, "null"))
    outbox.offer(frame("update", 1, 1))
    outbox.offer(frame("trade", 2, 2))
    assert len(outbox) == 4
    kinds = []
    while taken := outbox.take():
        kinds.append((taken.kind, taken.account_id))
    assert kinds == [("trade", 2), ("update", 1), ("broker", 1), ("broker", 2)]


def test_it_keeps_the_pace_and_gives_way_to_a_snapshot() -> None:
    outbox = Outbox(Metrics())
    outbox.offer_broker(broker_frame(1, "null"))
    assert not outbox, "the snapshot that is wanted will tell it"
    outbox.begin_snapshot()
    outbox.offer_broker(broker_frame(1, "null"))
    assert outbox.take(with_updates=False) is None
    assert outbox.has_prices
    assert not outbox.has_updates, "prices are read on"
    outbox.want_snapshot("asked")
    assert not outbox
