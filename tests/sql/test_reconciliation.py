"""Reconciliation: each way in which a broker and the ledger differ, found once and by its cause."""

import pytest

from tests.factories import (
    Connection,
    D,
    entry,
    every,
    fill,
    instrument,
    one,
)
from tests.sql.brokers import (
    HandBroker,
    account_at_broker,
    look,
    now,
)

EUR_USD = "EUR/USD"


def quote(conn: Connection, symbol: str, bid: str, ask: str) -> None:
    """A tick of this very moment."""
    conn.execute(
        "select api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
        [[symbol], [now()], [bid], [ask]],
    )


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that has the ledger's deposit of 10000 and 1000 EUR/USD bought at 1.1."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    instrument(conn, EUR_USD)
    quote(conn, EUR_USD, "1.1000", "1.1004")
    account_id = account_at_broker(conn)
    broker = HandBroker(conn, account_id)
    entry(conn, account_id, "deposit", "10000", broker.entry("deposit", "10000"))
    fill(
        conn,
        account_id,
        EUR_USD,
        "buy",
        "1000",
        "1.1004",
        external_id=broker.fill(EUR_USD, "buy", "1000", "1.1004"),
    )
    return broker


def test_a_faithful_broker_passes(conn: Connection, broker: HandBroker) -> None:
    run = look(broker)
    assert (run["outcome"], run["positions"], run["transactions"]) == ("passed", 1, 2)
    assert (run["differences"], run["reason"], run["error_code"]) == (0, None, None)
    assert run["tolerances"]["balance"] == {"absolute": "0.05", "relative": "0"}
    run = look(broker)
    assert (run["outcome"], run["transactions"]) == ("passed", 0)
    status = one(conn, "select * from api.reconciliation_status")
    assert status["consistent_since"] is not None
    assert status["broker_balance"] == status["balance"] == D("10000.00")
    assert status["last_transaction_id"] == "2"
    assert every(conn, "select * from api.alerts") == []
    assert every(conn, "select * from ledger.events") == []
