"""Reconciliation: each way in which a broker and the ledger differ, found once and by its cause."""

from decimal import Decimal
from typing import Any

import pytest

from tests.factories import (
    Connection,
    D,
    Row,
    assert_sound,
    entry,
    every,
    fill,
    instrument,
    one,
)
from tests.sql.brokers import HandBroker, lasting, plain, quote

EUR_USD = "EUR/USD"


@pytest.fixture(autouse=True)
def market(conn: Connection) -> None:
    """EUR/USD at 1.1000 / 1.1004, USD/JPY at 150.00 / 150.04; what is seen twice is a fact."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    for symbol, bid, ask in (
        (EUR_USD, "1.1000", "1.1004"),
        ("USD/JPY", "150.00", "150.04"),
    ):
        instrument(conn, symbol)
        quote(conn, (symbol, bid, ask))


@pytest.fixture
def broker(conn: Connection) -> HandBroker:
    """A broker that agrees with the ledger: 10000 deposited, and 1000 EUR/USD bought."""
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    broker.fill(EUR_USD, "buy", "1000", "1.1004")
    assert broker.look()["outcome"] == "passed"
    return broker


def only_discrepancy(broker: HandBroker, **spoiled: Any) -> Row:
    """What two looks open: one discrepancy, one alert and an event for each, and no more later."""
    conn = broker.conn
    first = broker.look(**spoiled)
    assert (first["outcome"], lasting(conn)) == ("passed", [])
    assert first["differences"] >= 1
    for _ in range(2):
        assert broker.look(**spoiled)["outcome"] == "discrepancies"
    (found,) = lasting(conn)
    assert found["status"] == "open"
    assert found["difference"] == found["theirs"] - found["ours"]
    (alert,) = every(conn, "select * from api.alerts where status = 'raised'")
    assert (alert["kind"], alert["discrepancy_id"]) == ("discrepancy", found["discrepancy_id"])
    assert (alert["severity"], alert["account_ids"]) == (found["severity"], [broker.account_id])
    events = every(conn, "select * from ledger.events order by event_seq")
    assert [(event["kind"], event["is_open"]) for event in events] == [
        ("discrepancy", True),
        ("alert", True),
    ]
    body = events[0]["body"]
    assert body["cause"] == found["cause"]
    assert Decimal(body["difference"]) == found["difference"]
    status = one(conn, "select * from api.reconciliation_status")
    assert (status["open_discrepancies"], status["consistent_since"]) == (1, None)
    assert_sound(conn)
    return found


def assert_resolved(broker: HandBroker) -> Row:
    """The next look ends the discrepancy and its alert, and the one after finds nothing."""
    conn = broker.conn
    for _ in range(2):
        run = broker.look()
        assert (run["outcome"], run["differences"]) == ("passed", 0)
    assert lasting(conn) == []
    (alert,) = every(conn, "select * from api.alerts")
    assert alert["status"] == "resolved"
    events = every(conn, "select * from ledger.events order by event_seq desc limit 2")
    assert {(event["kind"], event["is_open"]) for event in events} == {
        ("discrepancy", False),
        ("alert", False),
    }
    assert all(event["body"]["status"] == "resolved" for event in events)
    assert one(conn, "select * from api.reconciliation_status")["consistent_since"]
    assert_sound(conn)
    return one(conn, "select * from api.discrepancies")


def shifted(amount: str, by: str) -> str:
    return plain(D(amount) + D(by))


def test_a_faithful_broker_passes(conn: Connection) -> None:
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    broker.fill(EUR_USD, "buy", "1000", "1.1004")
    run = broker.look()
    assert (run["outcome"], run["positions"], run["transactions"]) == ("passed", 1, 2)
    assert (run["differences"], run["reason"], run["error_code"]) == (0, None, None)
    assert run["tolerances"]["balance"] == {"absolute": "0.05", "relative": "0"}
    run = broker.look()
    assert (run["outcome"], run["transactions"]) == ("passed", 0)
    status = one(conn, "select * from api.reconciliation_status")
    assert status["consistent_since"] is not None
    assert status["broker_balance"] == status["balance"] == D("10000.00")
    assert (status["last_transaction_id"], status["outcome"]) == ("2", "passed")
    assert every(conn, "select * from api.alerts") == []
    assert every(conn, "select * from ledger.events") == []
    assert len(every(conn, "select * from api.reconciliation_runs")) == 2


# Fills


def test_a_missing_fill_explains_all_that_follows_from_it(
    conn: Connection, broker: HandBroker
) -> None:
    external_id = broker.fill_only(EUR_USD, "buy", "3000", "1.1002", commission="1.50")
    broker.fill(EUR_USD, "sell", "500", "1.1100")  # realizes other amounts on the two sides
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"], found["symbol"]) == ("missing_fill", "fill", EUR_USD)
    assert (found["ours"], found["theirs"], found["unit"]) == (D("0"), D("3000"), "EUR")
    assert (found["severity"], found["evidence"]) == ("critical", {"transaction": external_id})
    assert "buy 3000 EUR/USD at 1.1002" in found["message"]


def test_a_missing_fill_is_resolved_by_recording_it(conn: Connection, broker: HandBroker) -> None:
    external_id = broker.fill_only(EUR_USD, "buy", "3000", "1.1002", commission="1.50")
    only_discrepancy(broker)
    fill(
        conn, broker.account_id, EUR_USD, "buy", "3000", "1.1002",
        commission="1.50", external_id=external_id,
    )  # fmt: skip
    resolved = assert_resolved(broker)
    assert resolved["resolution"] == "the two sides agree"


def test_a_missing_fill_recorded_without_the_broker_id_is_found_by_its_content(
    conn: Connection, broker: HandBroker
) -> None:
    broker.fill_only(EUR_USD, "buy", "3000", "1.1002")
    only_discrepancy(broker)
    fill(conn, broker.account_id, EUR_USD, "buy", "3000", "1.1002")
    assert_resolved(broker)


def test_an_extra_fill_explains_all_that_follows_from_it(
    conn: Connection, broker: HandBroker
) -> None:
    extra = fill(conn, broker.account_id, EUR_USD, "sell", "400", "1.1", external_id="x")
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == ("extra_fill", "fill")
    assert (found["ours"], found["theirs"]) == (D("-400"), D("0"))
    assert found["evidence"] == {"fill_id": extra["fill_id"]}
    one(conn, "select * from api.reverse_fill(%s)", [extra["fill_id"]])
    assert_resolved(broker)


def test_an_extra_fill_without_an_id(conn: Connection, broker: HandBroker) -> None:
    fill(conn, broker.account_id, EUR_USD, "sell", "400", "1.1")
    found = only_discrepancy(broker)
    assert (found["cause"], found["ours"]) == ("extra_fill", D("-400"))
    broker.fill_only(EUR_USD, "sell", "400", "1.1")
    assert_resolved(broker)


def test_a_fill_that_was_taken_back_is_missing(conn: Connection, broker: HandBroker) -> None:
    bought = broker.fill(EUR_USD, "buy", "200", "1.1004")
    broker.look()
    one(conn, "select * from api.reverse_fill(%s)", [bought["fill_id"]])
    found = only_discrepancy(broker)
    assert (found["cause"], found["theirs"]) == ("missing_fill", D("200"))
    assert found["evidence"] == {"transaction": "3", "fill_id": bought["fill_id"]}
    fill(conn, broker.account_id, EUR_USD, "buy", "200", "1.1004")
    assert_resolved(broker)


def test_a_fill_of_another_quantity_is_one_discrepancy(
    conn: Connection, broker: HandBroker
) -> None:
    external_id = broker.fill_only(EUR_USD, "buy", "300", "1.1004")
    wrong = fill(conn, broker.account_id, EUR_USD, "buy", "30", "1.1004", external_id=external_id)
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == ("quantity", "fill")
    assert (found["ours"], found["theirs"]) == (D("30"), D("300"))
    one(conn, "select * from api.reverse_fill(%s)", [wrong["fill_id"]])
    fill(conn, broker.account_id, EUR_USD, "buy", "300", "1.1004")
    assert_resolved(broker)


def test_a_fill_of_another_price_is_one_discrepancy(conn: Connection, broker: HandBroker) -> None:
    external_id = broker.fill_only(EUR_USD, "buy", "3000", "1.1004")
    wrong = fill(conn, broker.account_id, EUR_USD, "buy", "3000", "1.1009", external_id=external_id)
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"], found["unit"]) == ("average_price", "fill", "USD")
    assert (found["ours"], found["theirs"]) == (D("1.1009"), D("1.1004"))
    one(conn, "select * from api.reverse_fill(%s)", [wrong["fill_id"]])
    fill(conn, broker.account_id, EUR_USD, "buy", "3000", "1.1004")
    assert_resolved(broker)


def test_fills_of_a_hedging_account_are_compared_by_side(conn: Connection) -> None:
    broker = HandBroker(conn, mode="hedging")
    broker.entry("deposit", "10000")
    broker.fill(EUR_USD, "buy", "1000", "1.1004", effect="open")
    broker.fill(EUR_USD, "sell", "400", "1.1", effect="open")
    broker.fill(EUR_USD, "sell", "100", "1.1", effect="close")
    assert broker.look()["differences"] == 0
    broker.fill_only(EUR_USD, "buy", "150", "1.1004", effect="close")
    found = only_discrepancy(broker)
    assert (found["cause"], found["theirs"]) == ("missing_fill", D("150"))


# Totals


def test_a_quantity_that_no_transaction_explains(conn: Connection, broker: HandBroker) -> None:
    (position,) = broker.snapshot()["positions"]
    fill(conn, broker.own_id, EUR_USD, "buy", "500", "1.1004")  # and no word of it
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"], found["unit"]) == ("quantity", "quantity", "EUR")
    assert (found["ours"], found["theirs"]) == (D("1000"), D("1500"))
    assert position["quantity"] == "1000"
    fill(conn, broker.own_id, EUR_USD, "sell", "500", "1.1004")
    assert_resolved(broker)


def test_a_position_in_an_instrument_that_we_do_not_have(
    conn: Connection, broker: HandBroker
) -> None:
    snapshot = broker.snapshot()
    snapshot["positions"].append(
        {"symbol": "XAU/USD", "side": "short", "quantity": "2", "average_price": "2400"}
    )
    found = only_discrepancy(broker, positions=snapshot["positions"])
    assert (found["cause"], found["symbol"]) == ("quantity", "XAU/USD")
    assert (found["ours"], found["theirs"]) == (D("0"), D("-2"))


def test_an_average_price_that_no_transaction_explains(
    conn: Connection, broker: HandBroker
) -> None:
    (position,) = broker.snapshot()["positions"]
    position |= {"average_price": "1.0994", "unrealized_pnl": "0.60"}
    found = only_discrepancy(
        broker, positions=[position], unrealized_pnl="0.60", equity="10000.60",
        margin_equity="10000.80",
    )  # fmt: skip
    assert (found["cause"], found["field"]) == ("average_price", "average_price")
    assert (found["ours"], found["theirs"]) == (D("1.1004"), D("1.0994"))
    assert_resolved(broker)


def test_a_balance_that_no_transaction_explains(conn: Connection, broker: HandBroker) -> None:
    entry(conn, broker.own_id, "adjustment", "-7.25")
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"], found["unit"]) == ("balance", "balance", "USD")
    assert (found["ours"], found["theirs"]) == (D("10000.00"), D("9992.75"))
    assert found["severity"] == "warning"
    entry(conn, broker.account_id, "adjustment", "-7.25")  # made to agree by hand
    assert_resolved(broker)


@pytest.mark.parametrize(
    ("kind", "amount", "cause"),
    [("financing", "-1.23", "financing"), ("deposit", "500", "balance")],
)
def test_a_missing_entry(
    conn: Connection, broker: HandBroker, kind: str, amount: str, cause: str
) -> None:
    external_id = broker.entry_only(kind, amount)
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == (cause, "entry")
    assert (found["ours"], found["theirs"]) == (D("0"), D(amount))
    assert found["evidence"] == {"transaction": external_id}
    entry(conn, broker.account_id, kind, amount)  # without the broker's id
    assert_resolved(broker)


def test_an_extra_entry(conn: Connection, broker: HandBroker) -> None:
    extra = entry(conn, broker.account_id, "dividend", "12", "x")
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == ("balance", "entry")
    assert (found["ours"], found["theirs"]) == (D("12"), D("0"))
    assert found["evidence"] == {"entry_id": extra["entry_id"]}
    one(conn, "select * from api.reverse_entry(%s)", [extra["entry_id"]])
    assert_resolved(broker)


def test_an_entry_of_another_amount(conn: Connection, broker: HandBroker) -> None:
    external_id = broker.entry_only("financing", "-3")
    entry(conn, broker.account_id, "financing", "-2", external_id)
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == ("financing", "entry")
    assert (found["ours"], found["theirs"]) == (D("-2"), D("-3"))


def test_financing_told_with_a_fill_is_an_entry_of_its_own(
    conn: Connection, broker: HandBroker
) -> None:
    entry(conn, broker.own_id, "financing", "-0.40")
    external_id = broker.fill_only(EUR_USD, "sell", "500", "1.1100", financing="-0.40")
    fill(conn, broker.account_id, EUR_USD, "sell", "500", "1.1100", external_id=external_id)
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == ("financing", "entry")
    assert found["evidence"] == {"transaction": f"{external_id}/financing"}
    entry(conn, broker.account_id, "financing", "-0.40", f"{external_id}/financing")
    assert_resolved(broker)


def test_a_commission_that_differs_is_a_balance(conn: Connection, broker: HandBroker) -> None:
    external_id = broker.fill_only(EUR_USD, "buy", "100", "1.1004", commission="2")
    fill(
        conn, broker.account_id, EUR_USD, "buy", "100", "1.1004",
        commission="0.50", external_id=external_id,
    )  # fmt: skip
    found = only_discrepancy(broker)
    assert (found["cause"], found["difference"]) == ("balance", D("-1.50"))


def test_realized_pnl_converted_at_another_rate(conn: Connection, broker: HandBroker) -> None:
    broker.fill("USD/JPY", "buy", "10000", "150.04")
    broker.look()
    quote(conn, ("USD/JPY", "151.00", "151.04"))
    external_id = broker.fill_only("USD/JPY", "sell", "10000", "151.00", realized_pnl="64.00")
    sold = fill(
        conn, broker.account_id, "USD/JPY", "sell", "10000", "151.00", external_id=external_id
    )
    entry(conn, broker.own_id, "adjustment", plain(D("64.00") - sold["realized_pnl"]))
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"]) == ("conversion", "balance")
    assert found["difference"] == D("64.00") - sold["realized_pnl"]
    assert found["evidence"]["fills"] == [sold["fill_id"]]
    entry(conn, broker.account_id, "adjustment", plain(found["difference"]))
    assert_resolved(broker)


def test_trades_booked_in_another_order_are_one_discrepancy(
    conn: Connection, broker: HandBroker
) -> None:
    late = broker.fill_only(EUR_USD, "buy", "1000", "1.0504")
    broker.fill(EUR_USD, "sell", "1000", "1.1100")
    fill(conn, broker.account_id, EUR_USD, "buy", "1000", "1.0504", external_id=late)
    found = only_discrepancy(broker)
    assert (found["cause"], found["field"], found["difference"]) == (
        "balance",
        "balance",
        D("25.00"),
    )
    assert found["evidence"]["average_prices"] == [
        {"symbol": EUR_USD, "ours": "1.0504000000", "theirs": "1.0754"}
    ]


# Valuation


def test_figures_at_mid_where_ours_are_at_side_prices(conn: Connection, broker: HandBroker) -> None:
    (position,) = broker.snapshot()["positions"]
    position["unrealized_pnl"] = "-0.20"
    found = only_discrepancy(broker, positions=[position], unrealized_pnl="-0.20", equity="9999.80")
    assert (found["cause"], found["field"]) == ("price_side", "unrealized_pnl")
    assert (found["ours"], found["theirs"]) == (D("-0.40"), D("-0.20"))
    assert found["severity"] == "info"
    assert_resolved(broker)


def test_equity_alone_at_mid(conn: Connection, broker: HandBroker) -> None:
    found = only_discrepancy(broker, equity="9999.80")
    assert (found["cause"], found["field"]) == ("price_side", "equity")
    assert (found["ours"], found["theirs"]) == (D("9999.60"), D("9999.80"))


def test_a_price_that_the_broker_had_before(conn: Connection, broker: HandBroker) -> None:
    conn.execute("select api.set_reconciliation_settings(p_price_window => '0')")
    old = broker.snapshot()
    quote(conn, (EUR_USD, "1.1100", "1.1104"))
    names = ("positions", "unrealized_pnl", "equity", "margin_equity", "margin_used")
    found = only_discrepancy(broker, **{name: old[name] for name in names})
    assert (found["cause"], found["field"]) == ("stale_price", "unrealized_pnl")
    assert (found["symbol"], found["theirs"]) == (EUR_USD, D("-0.40"))
    assert_resolved(broker)


def test_a_quote_of_ours_that_is_stale(conn: Connection, broker: HandBroker) -> None:
    conn.execute(
        "select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.05,"
        " p_stale_after => '1 microsecond')"
    )
    (position,) = broker.snapshot()["positions"]
    position["unrealized_pnl"] = "8.60"
    found = only_discrepancy(broker, positions=[position], unrealized_pnl="8.60", equity="10008.60")
    assert (found["cause"], found["field"]) == ("stale_price", "unrealized_pnl")
    assert "our quote is stale" in found["message"]


def test_a_position_valued_in_another_currency_at_another_rate(
    conn: Connection, broker: HandBroker
) -> None:
    broker.fill("USD/JPY", "buy", "10000", "140")
    broker.look()
    snapshot = broker.snapshot()
    (position,) = [each for each in snapshot["positions"] if each["symbol"] == "USD/JPY"]
    spoiled = shifted(position["unrealized_pnl"], "-20")
    position["unrealized_pnl"] = spoiled
    found = only_discrepancy(
        broker,
        positions=snapshot["positions"],
        unrealized_pnl=shifted(snapshot["unrealized_pnl"], "-20"),
        equity=shifted(snapshot["equity"], "-20"),
    )
    assert (found["cause"], found["field"]) == ("conversion", "unrealized_pnl")
    assert (found["symbol"], found["theirs"]) == ("USD/JPY", D(spoiled))


def test_figures_that_nothing_explains(conn: Connection, broker: HandBroker) -> None:
    (position,) = broker.snapshot()["positions"]
    position["unrealized_pnl"] = "123.45"
    found = only_discrepancy(
        broker, positions=[position], unrealized_pnl="123.45", equity="10123.45"
    )
    assert (found["cause"], found["field"]) == ("unknown", "unrealized_pnl")
    assert_resolved(broker)


@pytest.mark.parametrize(
    ("spoiled", "cause", "field"),
    [
        ({"equity": "9950.00"}, "unknown", "equity"),
        ({"margin_equity": "9950.00"}, "unknown", "equity"),
        ({"unrealized_pnl": "5.00", "equity": "10005.00"}, "unknown", "unrealized_pnl"),
        ({"margin_used": "70.00"}, "margin", "margin_used"),
    ],
)
def test_totals_that_do_not_follow(
    conn: Connection, broker: HandBroker, spoiled: dict[str, str], cause: str, field: str
) -> None:
    found = only_discrepancy(broker, **spoiled)
    assert (found["cause"], found["field"]) == (cause, field)
    assert_resolved(broker)


def test_a_total_is_compared_where_positions_are_not_valued(
    conn: Connection, broker: HandBroker
) -> None:
    (position,) = broker.snapshot()["positions"]
    position["unrealized_pnl"] = None
    assert broker.look(positions=[position])["differences"] == 0
    found = only_discrepancy(
        broker, positions=[position], unrealized_pnl="40.00", equity="10040.00"
    )
    assert (found["cause"], found["field"]) == ("unknown", "unrealized_pnl")


def test_prices_that_differ_by_half_a_spread_are_no_difference(
    conn: Connection, broker: HandBroker
) -> None:
    (position,) = broker.snapshot()["positions"]
    position["unrealized_pnl"] = "-0.60"
    run = broker.look(positions=[position], unrealized_pnl="-0.60", equity="9999.40")
    assert run["differences"] == 0


def test_a_position_without_a_price_of_ours_is_not_judged(
    conn: Connection, broker: HandBroker
) -> None:
    instrument(conn, "GBP/USD")
    snapshot = broker.snapshot()
    bought = broker.fill("GBP/USD", "buy", "10", "1.3")
    snapshot["positions"].append(
        {
            "symbol": "GBP/USD", "side": "long", "quantity": "10", "average_price": "1.3",
            "unrealized_pnl": "77",
        }
    )  # fmt: skip
    snapshot |= {
        "transaction_id": bought["external_id"],
        "unrealized_pnl": shifted(snapshot["unrealized_pnl"], "77"),
        "equity": shifted(snapshot["equity"], "77"),
    }
    assert broker.compare(snapshot)["differences"] == 0
    quote(conn, ("GBP/USD", "1.3", "1.3"))
    assert broker.compare(snapshot)["differences"] == 1


def test_other_conversion_rates_are_one_discrepancy_wherever_they_show(
    conn: Connection, broker: HandBroker
) -> None:
    broker.fill("USD/JPY", "buy", "20000", "140")
    broker.look()
    external_id = broker.fill_only("USD/JPY", "sell", "10000", "150.00", realized_pnl="640.00")
    sold = fill(
        conn, broker.account_id, "USD/JPY", "sell", "10000", "150.00", external_id=external_id
    )
    entry(conn, broker.own_id, "adjustment", plain(D("640.00") - sold["realized_pnl"]))
    snapshot = broker.snapshot()
    (position,) = [each for each in snapshot["positions"] if each["symbol"] == "USD/JPY"]
    position["unrealized_pnl"] = shifted(position["unrealized_pnl"], "-20")
    found = only_discrepancy(
        broker,
        positions=snapshot["positions"],
        unrealized_pnl=shifted(snapshot["unrealized_pnl"], "-20"),
        equity=shifted(snapshot["equity"], "-20"),
    )
    assert (found["cause"], found["field"]) == ("conversion", "balance")


def test_a_discrepancy_that_changes_is_told_again_and_stays_one(
    conn: Connection, broker: HandBroker
) -> None:
    entry(conn, broker.own_id, "adjustment", "-7.25")
    first = only_discrepancy(broker)
    entry(conn, broker.own_id, "adjustment", "-1")
    broker.look()
    broker.look()
    (found,) = lasting(conn)
    assert found["discrepancy_id"] == first["discrepancy_id"]
    assert found["difference"] == D("-8.25")
    events = every(conn, "select body from ledger.events where kind = 'discrepancy'")
    assert [event["body"]["difference"] for event in events] == ["-7.25", "-8.25"]
    assert len(every(conn, "select * from api.alerts")) == 1


def test_causes_that_come_together_are_told_apart(conn: Connection, broker: HandBroker) -> None:
    broker.fill_only(EUR_USD, "buy", "300", "1.1002", commission="2")
    broker.entry_only("financing", "-0.80")
    fill(conn, broker.account_id, "USD/JPY", "sell", "100", "150", external_id="x")
    entry(conn, broker.own_id, "adjustment", "4")
    for _ in range(3):
        broker.look(margin_used="500")
    assert {
        row["cause"]: row["difference"] for row in lasting(conn) if row["cause"] != "margin"
    } == {
        "missing_fill": D("300"),
        "financing": D("-0.80"),
        "extra_fill": D("100"),
        "balance": D("4"),
    }
    assert len(lasting(conn)) == 5
    assert_sound(conn)
