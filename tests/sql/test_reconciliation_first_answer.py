"""The first answer: what the broker had by then is never told, whenever the ledger books it."""

from datetime import datetime, timedelta

import pytest

from tests.factories import Connection, Row, assert_sound, entry, every, fill, instrument, one
from tests.sql.brokers import HandBroker, lasting, now, quote

EUR_USD = "EUR/USD"


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that has not been asked yet, with 10000 and 1000 EUR/USD on both sides."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    instrument(conn, EUR_USD)
    quote(conn, (EUR_USD, "1.1000", "1.1004"))
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    broker.fill(EUR_USD, "buy", "1000", "1.1004")
    return broker


def first_answer(broker: HandBroker) -> Row:
    """Compare the account from now on; the run."""
    broker.told = len(broker.transactions)
    run = broker.look()
    assert run["outcome"] != "failed"
    return run


def assert_agreed(broker: HandBroker) -> None:
    """The next looks see nothing, and nothing lasts."""
    for _ in range(3):
        run = broker.look()
        assert (run["outcome"], run["differences"]) == ("passed", 0), lasting(broker.conn)
    assert_sound(broker.conn)


def found(broker: HandBroker) -> list[str]:
    """The causes of what lasts after two more looks."""
    for _ in range(2):
        broker.look()
    return [row["cause"] for row in lasting(broker.conn)]


def fill_at(broker: HandBroker, quantity: str, at: datetime) -> Row:
    """Have the ledger book a trade of then, without an id."""
    return one(
        broker.conn,
        "select * from api.record_fill(%s, %s, 'buy', %s::numeric, 1.1, %s)",
        [broker.account_id, EUR_USD, quantity, at],
    )


# The broker first


@pytest.mark.parametrize("looks", [0, 2])
def test_a_fill_that_the_ledger_books_after_it_is_no_extra_one(
    conn: Connection, broker: HandBroker, looks: int
) -> None:
    external_id = broker.fill_only(EUR_USD, "sell", "1500", "1.2")
    assert first_answer(broker)["differences"] > 0
    if looks:
        assert found(broker) == ["balance", "quantity"]
    fill(conn, broker.account_id, EUR_USD, "sell", "1500", "1.2", external_id=external_id)
    assert_agreed(broker)
    broker.fill(EUR_USD, "buy", "500", "1.1")
    assert_agreed(broker)


@pytest.mark.parametrize("part", ["", "/financing"])
def test_an_entry_that_the_ledger_books_after_it_is_no_extra_one(
    conn: Connection, broker: HandBroker, part: str
) -> None:
    external_id = broker.entry_only("financing", "-2.50") + part
    first_answer(broker)
    assert found(broker) == ["balance"]
    entry(conn, broker.account_id, "financing", "-2.50", external_id)
    assert_agreed(broker)


def test_a_fill_that_the_ledger_booked_wrongly_after_it_is_mended(
    conn: Connection, broker: HandBroker
) -> None:
    external_id = broker.fill_only(EUR_USD, "buy", "500", "1.1")
    at = now()
    first_answer(broker)
    wrong = fill(conn, broker.account_id, EUR_USD, "buy", "600", "1.1", external_id=external_id)
    assert found(broker) == ["quantity"]
    conn.execute("select api.reverse_fill(%s)", [wrong["fill_id"]])
    assert found(broker) == ["quantity"]
    fill_at(broker, "500", at)
    assert_agreed(broker)


def test_what_the_broker_books_after_it_is_compared(conn: Connection, broker: HandBroker) -> None:
    first_answer(broker)
    missing = broker.fill_only(EUR_USD, "buy", "500", "1.1")
    assert found(broker) == ["missing_fill"]
    fill(conn, broker.account_id, EUR_USD, "buy", "500", "1.1", external_id=missing)
    assert_agreed(broker)


@pytest.mark.parametrize(
    ("external_id", "cause"),
    [
        ("1", "quantity"),
        ("0" * 199 + "2", "quantity"),
        ("3", "extra_fill"),
        ("9" * 200, "extra_fill"),
        ("1-a", "extra_fill"),
        ("T/1", "extra_fill"),
        ("/", "extra_fill"),
        (None, "extra_fill"),
    ],
)
def test_a_fill_that_the_broker_lacks_goes_by_its_number_and_other_ids_by_time(
    conn: Connection, broker: HandBroker, external_id: str | None, cause: str
) -> None:
    first_answer(broker)
    fill(conn, broker.account_id, EUR_USD, "buy", "7", "1.1", external_id=external_id)
    assert found(broker) == [cause]


def test_where_the_first_answer_asked_for_all_any_number_is_compared(
    conn: Connection, broker: HandBroker
) -> None:
    assert broker.look()["outcome"] == "passed"
    fill(conn, broker.account_id, EUR_USD, "buy", "7", "1.1", external_id="0")
    assert found(broker) == ["extra_fill"]


# The ledger first


def test_a_fill_from_before_it_that_the_broker_tells_late_is_matched(
    conn: Connection, broker: HandBroker
) -> None:
    fill(conn, broker.account_id, EUR_USD, "buy", "500", "1.1", external_id="3")
    entry(conn, broker.account_id, "financing", "-1", "4")
    first_answer(broker)
    for _ in range(2):
        broker.look()
    broker.fill_only(EUR_USD, "buy", "500", "1.1")
    broker.entry_only("financing", "-1")
    assert_agreed(broker)
    assert every(conn, "select * from recon.broker_transactions where not is_settled") == []


def test_a_fill_with_a_low_number_of_the_ledger_s_own_is_matched_by_content(
    conn: Connection, broker: HandBroker
) -> None:
    first_answer(broker)
    fill(conn, broker.account_id, EUR_USD, "buy", "500", "1.1", external_id="1")
    for _ in range(2):
        broker.look()
    broker.fill_only(EUR_USD, "buy", "500", "1.1")
    assert_agreed(broker)


def test_what_counts_in_the_totals_alone_is_settled_after_a_while(
    conn: Connection, broker: HandBroker
) -> None:
    begin = now()
    first_answer(broker)
    booked = fill_at(broker, "500", begin - timedelta(minutes=1))
    by_hand = entry(conn, broker.account_id, "adjustment", "5")
    query = (
        "select settled_event_seq >= %s, settled_entry_id >= %s from recon.accounts"
        " where account_id = %s"
    )
    parameters = [booked["event_seq"], by_hand["entry_id"], broker.account_id]
    broker.look()
    assert conn.execute(query, parameters).fetchone() == (False, False)
    broker.look(taken_at=(begin + timedelta(minutes=2)).isoformat())
    assert conn.execute(query, parameters).fetchone() == (True, True)
