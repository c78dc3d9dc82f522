"""Reading ticks: digit for digit, and never an exception."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glue.ticks import Batch, Row, Span, interval, read_line, read_message, store
from tests.conftest import Connection, Database

AT = datetime(2014, 5, 2, 12, 30, 0, 123000, UTC)
MESSAGE = b'{"symbol":"EUR/USD","ts":"2014-05-02T12:30:00.123Z","bid":"1.38694","ask":1.38705}'
LINE = b"2014-05-02T12:30:00.123Z,EUR/USD,1.38694,1.38705\r\n"
ROW = Row("EUR/USD", AT, Decimal("1.38694"), Decimal("1.38705"))


def with_bid(bid: str) -> bytes:
    return MESSAGE.replace(b'"1.38694"', bid.encode())


def test_prices_are_read_from_strings_and_numbers() -> None:
    assert read_message(MESSAGE) == [ROW]


def test_a_line_is_read() -> None:
    assert read_line(LINE) == ROW
    assert read_line(b'2014-05-02 12:30:00.123+00:00, "EUR/USD",1.38694 ,"1.38705"') == ROW


def test_an_array_is_as_many_ticks() -> None:
    assert read_message(b"[" + MESSAGE + b", " + MESSAGE + b"]") == [ROW, ROW]
    assert read_message(b"[]") == []


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10))
def test_a_number_arrives_digit_for_digit(price: Decimal) -> None:
    for text in (f"{price:f}", f'"{price:f}"', f'"{price}"'):
        (row,) = read_message(with_bid(text))
        assert row.bid is not None
        assert row.bid.as_tuple() == price.as_tuple()


def test_more_digits_than_a_float_has_arrive() -> None:
    (row,) = read_message(with_bid("1.386940000000000000000000000000001"))
    assert row.bid == Decimal("1.386940000000000000000000000000001")


@pytest.mark.parametrize(
    "bid",
    ["true", "null", '"x"', '""', "[]", "1e999999", '"1e-999999"', "1" * 5000, '"1e9' + "9" * 30],
)
def test_a_price_that_is_no_number_leaves_the_rest_readable(bid: str) -> None:
    text = bid if not bid.startswith('"1e9') else bid + '"'
    (row,) = read_message(with_bid(text))
    assert (row.symbol, row.event_at, row.bid, row.ask) == ("EUR/USD", AT, None, ROW.ask)
    assert row.message is not None
    assert row.message.startswith('{"symbol":"EUR/USD"')


@pytest.mark.parametrize(
    "ts",
    [
        "2014-05-02T12:30:00",
        "now",
        "",
        "1399033800",
        "2014-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "infinity",
    ],
)
def test_a_time_without_offset_or_out_of_range_is_unreadable(ts: str) -> None:
    (row,) = read_message(MESSAGE.replace(b"2014-05-02T12:30:00.123Z", ts.encode()))
    assert row.event_at is None
    assert row.message is not None
    assert read_line(LINE.replace(b"2014-05-02T12:30:00.123Z", ts.encode())).event_at is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", ""),
        (None, "(no value)"),
        (b"null", "null"),
        (b"\xff\x00{", "\\xff\\x00{"),
        (b'{"symbol":', '{"symbol":'),
        (MESSAGE + b"x", (MESSAGE + b"x").decode()),
    ],
)
def test_what_is_no_tick_keeps_its_text(raw: bytes | None, message: str) -> None:
    assert read_message(raw) == [Row(None, None, None, None, message)]


def test_each_element_of_an_array_is_judged_for_itself() -> None:
    rows = read_message(b"[" + MESSAGE + b',3,{"symbol":"EUR/USD"}]')
    assert rows == [
        ROW,
        Row(None, None, None, None, "3"),
        Row("EUR/USD", None, None, None, '{"symbol":"EUR/USD"}'),
    ]


def test_a_nul_makes_a_symbol_unreadable() -> None:
    (row,) = read_message(MESSAGE.replace(b"EUR", b"\\u0000"))
    assert (row.symbol, row.bid) == (None, ROW.bid)


def test_a_long_message_is_cut() -> None:
    (row,) = read_message(b"x" * 1_000_000)
    assert row.message is not None
    assert row.message.endswith("… (1000000 bytes)")
    assert len(row.message) < 3000


@pytest.mark.parametrize("raw", [b"a,b", b"1,2,3,4,5", b'"a', b"\xff,1,2,3", b"a,b,c,d"])
def test_a_line_that_is_no_tick_keeps_its_text(raw: bytes) -> None:
    row = read_line(raw)
    assert row.event_at is None
    assert row.message == raw.decode(errors="backslashreplace")


def test_the_database_stores_what_can_be_true_and_files_the_rest(
    database: Database, conn: Connection
) -> None:
    conn.execute("select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.0333)")
    batch = Batch()
    for number, raw in enumerate((MESSAGE, with_bid('"NaN"'), with_bid("2"), b"{", MESSAGE)):
        for row in read_message(raw):
            batch.add(row, f"topic/0@{number}")
    with database.connect("tidemark_ingest") as connection:
        assert store(connection, batch) == (2, 3)
    filed = conn.execute(
        "select source, message from api.rejected_ticks order by source"
    ).fetchall()
    assert filed == [("topic/0@1", None), ("topic/0@2", None), ("topic/0@3", "{")]


def test_an_empty_batch_moves_the_offset(database: Database, conn: Connection) -> None:
    with database.connect("tidemark_ingest") as connection:
        assert store(connection, Batch(), Span("c", "t", 0, 5, 8)) == (0, 0)
    assert conn.execute("select next_offset from api.ingest_offsets").fetchall() == [(8,)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
prices = (
    json_values
    | st.decimals().map(str)
    | st.from_regex(r"-?\d{1,5}(\.\d{1,20})?([eE][+-]?\d{1,7})?", fullmatch=True)
)
instants = json_values | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
objects = st.fixed_dictionaries(
    {}, optional={"symbol": json_values, "ts": instants, "bid": prices, "ask": prices}
)
texts = st.binary() | objects.map(msgspec.json.encode) | st.lists(objects).map(msgspec.json.encode)


@given(st.lists(texts | st.binary().map(lambda raw: MESSAGE[:40] + raw), max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_message_breaks_a_batch(conn: Connection, raws: list[bytes]) -> None:
    conn.execute("select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.0333)")
    batch = Batch()
    for raw in (*raws, MESSAGE):
        for row in (*read_message(raw), read_line(raw)):
            batch.add(row, "test")
    stored = store(conn, batch)
    assert stored.accepted >= 1
    assert stored.accepted + stored.rejected == len(batch)


@given(bid=prices, ask=prices, ts=instants)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_price_or_time_of_a_known_symbol_breaks_a_batch(
    conn: Connection, bid: object, ask: object, ts: object
) -> None:
    conn.execute("select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.0333)")
    batch = Batch()
    message = msgspec.json.encode({"symbol": "EUR/USD", "ts": ts, "bid": bid, "ask": ask})
    for row in read_message(message):
        batch.add(row, "test")
    assert sum(store(conn, batch)) == len(batch)


@pytest.mark.parametrize(
    ("took", "expected"),
    [(0.0, 0.030), (0.006, 0.030), (0.008, 0.040), (0.010, 0.050), (5.0, 0.050)],
)
def test_a_busy_database_is_given_ticks_less_often_up_to_a_bound(
    took: float, expected: float
) -> None:
    assert interval(took) == pytest.approx(expected)
