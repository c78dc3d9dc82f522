"""Reading ticks from topic messages and CSV lines, and handing them to the database.

Nothing is judged here. What can be read goes to `api.ingest_ticks`, which decides what counts;
what cannot goes along in the same call, with its raw text, and is filed among the rejected ticks.
"""

import csv
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec
import psycopg

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with an offset; a time without one is not an instant, and is unreadable."""

MAX_DIGITS = 1000
"""The longest number, in digits before or after the point, that counts as readable.

Far beyond any price and far within PostgreSQL's numeric (131,072 and 16,383 digits).
"""
MAX_MESSAGE = 2000
"""Characters kept of an unreadable message."""
MIN_INTERVAL, MAX_INTERVAL = 0.030, 0.050
"""Seconds from one transaction of ticks to the next: each ends in a notification, and prices that
are not stored are not seen."""
SHARE = 0.2
"""Of the time that transactions of ticks take, between these bounds."""


class _Tick(msgspec.Struct):
    """A topic message; other fields are ignored."""

    symbol: str
    ts: Instant
    bid: Decimal
    ask: Decimal


class _Line(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A CSV line."""

    ts: Instant
    symbol: str
    bid: Decimal
    ask: Decimal


_message = msgspec.json.Decoder(_Tick | list[_Tick])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Row(NamedTuple):
    """A tick as far as it can be read; `message` is its raw text where a part cannot."""

    symbol: str | None
    event_at: datetime | None
    bid: Decimal | None
    """In quote currency, as `ask`."""
    ask: Decimal | None
    message: str | None = None


def read_message(raw: bytes | None) -> list[Row]:
    """The ticks of a topic message: a JSON object {symbol, ts, bid, ask}, or an array of such.

    Prices are strings or numbers and are read as decimals, digit for digit. Never raises: each
    element that cannot be read is a row with a message.
    """
    try:
        ticks = _message.decode(raw or b"")
    except _UNREADABLE:
        return _parts_of_message(raw)
    ticks = ticks if isinstance(ticks, list) else [ticks]
    if not all(_is_storable(tick) for tick in ticks):
        return _parts_of_message(raw)
    return [Row(tick.symbol, tick.ts, tick.bid, tick.ask) for tick in ticks]


def read_line(raw: bytes) -> Row:
    """The tick of a CSV line, ts,symbol,bid,ask. Never raises."""
    try:
        line = msgspec.convert(split(raw), _Line)
    except (*_UNREADABLE, csv.Error):
        return _parts_of_line(raw)
    if not _is_storable(line):
        return _parts_of_line(raw)
    return Row(line.symbol, line.ts, line.bid, line.ask)


class Batch:
    """Columns for one call of `api.ingest_ticks`; element i of each belongs to the same tick."""

    def __init__(self) -> None:
        self.symbols: list[str | None] = []
        self.event_at: list[datetime | None] = []
        self.bids: list[Decimal | None] = []
        self.asks: list[Decimal | None] = []
        self.messages: list[str | None] = []
        self.sources: list[str] = []
        self.unreadable = 0

    def __len__(self) -> int:
        return len(self.symbols)

    def add(self, row: Row, source: str) -> None:
        """Add a tick and where it came from: topic/partition@offset, or file:line."""
        symbol, event_at, bid, ask, message = row
        self.symbols.append(symbol)
        self.event_at.append(event_at)
        self.bids.append(bid)
        self.asks.append(ask)
        self.messages.append(message)
        self.sources.append(source)
        self.unreadable += message is not None


class Span(NamedTuple):
    """The offsets of a partition that a batch covers: from `first` up to, not including, `next`."""

    cluster: str
    topic: str
    partition: int
    first: int
    next: int
    topic_id: str | None = None
    """Differs when the topic was made anew; None where the broker gives none."""


class Stored(NamedTuple):
    """How many ticks of a call counted, and how many were filed as rejected."""

    accepted: int
    rejected: int


_INGEST = """
select accepted, rejected
from api.ingest_ticks(
    p_symbols => %b::text[],
    p_event_at => %b::timestamptz[],
    p_bids => %b::numeric[],
    p_asks => %b::numeric[],
    p_cluster => %b::text,
    p_topic => %b::text,
    p_partition => %b::integer,
    p_first_offset => %b::bigint,
    p_next_offset => %b::bigint,
    p_topic_id => %b::text,
    p_sources => %b::text[],
    p_messages => %b::text[]
)
"""


def store(connection: psycopg.Connection[Any], batch: Batch, span: Span | None = None) -> Stored:
    """Hand a batch to the database in one statement, with the offsets it covers.

    Raises psycopg.Error; SQLSTATE TM201 when the offsets do not follow the stored ones.
    """
    row = connection.execute(
        _INGEST,
        (
            batch.symbols,
            batch.event_at,
            batch.bids,
            batch.asks,
            *(span or (None,) * len(Span._fields)),
            batch.sources,
            batch.messages if batch.unreadable else None,
        ),
    ).fetchone()
    assert row is not None  # a function's one row
    return Stored(*row)


def interval(took: float) -> float:
    """Seconds from the beginning of a transaction of ticks that `took` seconds to the next.

    All ticks of a transaction move the accounts once, so a busy database is given fewer and larger
    ones, and what is booked and read finds room beside them.
    """
    return min(max(MIN_INTERVAL, took / SHARE), MAX_INTERVAL)


def split(raw: bytes) -> list[str]:
    """The fields of a CSV line, without the space around them.

    Raises csv.Error or UnicodeDecodeError.
    """
    line = raw.decode().strip()
    fields = next(csv.reader([line], skipinitialspace=True)) if '"' in line else line.split(",")
    return [field.strip() for field in fields]


def visible(raw: bytes) -> str:
    """Any bytes as text that PostgreSQL stores: cut if long, NUL and broken UTF-8 as `\\x..`."""
    text = raw[: 4 * MAX_MESSAGE].decode(errors="backslashreplace").replace("\0", "\\x00")
    if len(raw) > 4 * MAX_MESSAGE or len(text) > MAX_MESSAGE:
        return f"{text[:MAX_MESSAGE]}… ({len(raw)} bytes)"
    return text


def _parts_of_message(raw: bytes | None) -> list[Row]:
    """What can be read of a message: each element of an array for itself."""
    try:
        elements = [bytes(element) for element in _elements.decode(raw or b"")]
    except _UNREADABLE:
        elements = [b"(no value)" if raw is None else raw]
    return [_parts_of_object(element) for element in elements]


def _parts_of_object(raw: bytes) -> Row:
    try:
        fields = {name: bytes(field) for name, field in _fields.decode(raw).items()}
    except _UNREADABLE:
        fields = {}
    return _row_of_parts(
        _read(fields.get("symbol"), str),
        _read(fields.get("ts"), Instant),
        (_read(fields.get("bid"), Decimal), _read(fields.get("ask"), Decimal)),
        raw,
    )


def _parts_of_line(raw: bytes) -> Row:
    """What can be read of a CSV line; nothing of one without exactly four fields."""
    raw = raw.rstrip(b"\r\n")
    try:
        ts, symbol, bid, ask = split(raw)
    except (*_UNREADABLE, csv.Error, ValueError):
        return _row_of_parts(None, None, (None, None), raw)
    return _row_of_parts(
        symbol, _convert(ts, Instant), (_convert(bid, Decimal), _convert(ask, Decimal)), raw
    )


def _row_of_parts(
    symbol: str | None,
    event_at: datetime | None,
    prices: tuple[Decimal | None, Decimal | None],
    raw: bytes,
) -> Row:
    if symbol is not None and "\0" in symbol:
        symbol = None
    bid, ask = (price if price is not None and _is_number(price) else None for price in prices)
    is_read = None not in (symbol, event_at, bid, ask)
    return Row(symbol, event_at, bid, ask, None if is_read else visible(raw))


def _is_storable(tick: _Tick | _Line) -> bool:
    return "\0" not in tick.symbol and _is_number(tick.bid) and _is_number(tick.ask)


def _is_number(price: Decimal) -> bool:
    """Whether PostgreSQL's numeric can hold it; NaN and the infinities it can."""
    return -MAX_DIGITS <= price.adjusted() <= MAX_DIGITS and len(str(price)) <= 2 * MAX_DIGITS


def _read(raw: bytes | None, kind: Any) -> Any:
    """The value of a JSON field, None where it cannot be read as `kind`."""
    try:
        return None if raw is None else msgspec.json.decode(raw, type=kind)
    except _UNREADABLE:
        return None


def _convert(text: str, kind: Any) -> Any:
    """The value of a CSV field, None where it cannot be read as `kind`."""
    try:
        return msgspec.convert(text, kind)
    except _UNREADABLE:
        return None
