"""Replay: ticks from a CSV file to `api.ingest_ticks`, at their recorded pace or at full speed."""

import csv
import gzip
import io
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self

import click
import msgspec
import psycopg

from glue import db, service, ticks
from glue.curve import CurveKeeper, close_bars
from glue.errors import FeedError, ServerError, TidemarkError
from glue.stop import Stop

ROLE = "tidemark_ingest"
HEADER = ["ts", "symbol", "bid", "ask"]
MAX_ROWS = 2_000
"""Rows in one statement at most; from about 1,000 on larger ones are no faster."""
MAX_LINE = 65_536
"""Bytes: a longer line is no CSV of ticks."""
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STDIN = "-"
UNKNOWN_SYMBOL = "unknown symbol"
DEFINE_INSTRUMENT = "select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.0333);"

_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, OSError)


class Summary(msgspec.Struct):
    """What a replay did."""

    accepted: int = 0
    rejected: int = 0
    line: int = 0
    """The last line whose tick was stored or filed as rejected."""
    seconds: float = 0.0


def main(dsn: str, file: str, speed: float | None) -> None:
    """Store the ticks of a file and say on standard output what became of them.

    `file` is a path, or `-` for standard input; `speed` a factor on the recorded pace, None for as
    fast as can be. Raises FeedError for a file that cannot be read (what came before counts) and
    for a replay that was stopped; ServerError when the database cannot be reached.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    with Lines(file) as lines, db.connect(dsn, role=ROLE, process="tidemark replay") as connection:
        connection.execute("set synchronous_commit = off")  # the file keeps the ticks
        began_at = _database_time(connection)
        with (
            CurveKeeper(dsn, role=ROLE, process="tidemark replay curve"),
            lines.progress_bar() as advance,
        ):
            summary, problem = replay(connection, lines, speed, stop, advance)
        if not connection.broken:
            close_bars(connection)
        if not connection.broken and (problem is None or summary.line):
            report(connection, summary, lines.name, began_at)
    if problem is not None:
        raise problem


def replay(
    connection: psycopg.Connection[Any],
    lines: "Lines",
    speed: float | None,
    stop: Stop,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Summary, TidemarkError | None]:
    """Store the lines; what was done, and what ended it early if anything did."""
    run = _Run(connection, lines, speed, stop, advance)
    began = time.monotonic()
    problem: TidemarkError | None = None
    try:
        run.store_lines()
    except FeedError as error:
        problem = error
    except psycopg.OperationalError as error:
        problem = ServerError(
            f"database lost: {str(error).strip()}",
            f"Stored up to line {run.summary.line} of {lines.name};"
            f" the {run.pending} lines after it may be as well.",
        )
    if problem is None and stop.is_set():
        problem = FeedError(f"stopped after line {run.summary.line} of {lines.name}")
    run.summary.seconds = time.monotonic() - began
    return run.summary, problem


class _Run:
    def __init__(
        self,
        connection: psycopg.Connection[Any],
        lines: "Lines",
        speed: float | None,
        stop: Stop,
        advance: Callable[[], None],
    ) -> None:
        self.summary = Summary()
        self._connection = connection
        self._lines = lines
        self._speed = speed
        self._stop = stop
        self._advance = advance
        self._batch = ticks.Batch()
        self._line = 0
        self._earliest = time.monotonic()
        """When the next batch may be stored, at a pace."""
        self._start: tuple[datetime, float] | None = None
        """Event time of the first tick, and when it was stored here (monotonic)."""

    @property
    def pending(self) -> int:
        """Rows that were read, and not known to be stored."""
        return len(self._batch)

    def store_lines(self) -> None:
        """Store all lines; raises FeedError (what was read before it is stored), psycopg.Error."""
        try:
            for number, raw in self._lines:
                row = ticks.read_line(raw)
                self._wait_for(row)
                if self._stop.is_set():
                    return
                self._batch.add(row, f"{self._lines.name}:{number}")
                self._line = number
                if len(self._batch) == MAX_ROWS:
                    self._store()
        except FeedError:
            self._store()
            raise
        self._store()

    def _wait_for(self, row: ticks.Row) -> None:
        """Wait until the tick is due, after storing those before it; a late one is due at once."""
        if self._speed is None or row.event_at is None:
            return
        if self._start is None:
            self._start = (row.event_at, time.monotonic())
        first_event_at, began = self._start
        due_at = began + (row.event_at - first_event_at).total_seconds() / self._speed
        if due_at > time.monotonic():
            self._store()
            self._stop.wait(max(due_at, self._earliest) - time.monotonic())

    def _store(self) -> None:
        if not len(self._batch):
            return
        began = time.monotonic()
        stored = ticks.store(self._connection, self._batch)
        self.summary.accepted += stored.accepted
        self.summary.rejected += stored.rejected
        self.summary.line = self._line
        self._batch = ticks.Batch()
        self._earliest = began + ticks.interval(time.monotonic() - began)
        self._advance()


class Lines:
    """The lines of a CSV file, plain or gzip by its content, without header and blank lines.

    Raises FeedError where the file cannot be opened, read, or is no CSV of ticks.
    """

    def __init__(self, file: str) -> None:
        self.name = "stdin" if file == STDIN else ticks.visible(os.fsencode(Path(file).name))
        self._file = file
        self._open = ExitStack()
        self._raw: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            if self._file == STDIN:
                self._raw = sys.stdin.buffer
            else:
                self._raw = self._open.enter_context(Path(self._file).open("rb"))
        except OSError as error:
            raise FeedError(f"cannot read {self._file}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Line numbers, from 1, and lines."""
        is_first = True
        for number, raw in self._numbered():
            line = raw
            if number == 1:
                line = raw.removeprefix(BYTE_ORDER_MARK)
            if not line.strip():
                continue
            if not (is_first and self._is_header(line)):
                yield number, line
            is_first = False

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        try:
            stream = self._decompressed()
            while raw := stream.readline(MAX_LINE):
                number += 1
                if len(raw) == MAX_LINE:
                    raise FeedError(f"line {number} of {self.name} is too long: this is no CSV")
                yield number, raw
        except _DAMAGED as error:
            raise FeedError(
                f"{self.name} cannot be read beyond line {number}: {error}",
                "Nothing could be read." if number == 0 else "What came before it is stored.",
            ) from error

    def _decompressed(self) -> IO[bytes] | gzip.GzipFile:
        assert self._raw is not None  # entered
        is_gzip = isinstance(self._raw, io.BufferedReader) and self._raw.peek(2)[:2] == GZIP_MAGIC
        return gzip.open(self._raw) if is_gzip else self._raw

    def _is_header(self, line: bytes) -> bool:
        """Whether the first line is the header; FeedError if it is neither that nor a tick."""
        try:
            fields = [field.lower() for field in ticks.split(line)]
        except (ValueError, csv.Error):
            fields = []
        if len(fields) != len(HEADER) or (fields != HEADER and set(fields) == set(HEADER)):
            raise FeedError(
                f"{self.name} is not CSV with the columns {','.join(HEADER)}:"
                f" it begins with {ticks.visible(line.strip()[:80])!r}",
                "Write times like 2014-05-02T12:30:00.123Z and prices like 1.38694.",
            )
        return fields == HEADER

    @contextmanager
    def progress_bar(self) -> Iterator[Callable[[], None]]:
        """Shows on a terminal how much of the file is read; yields what moves it on."""
        size = 0 if self._file == STDIN else Path(self._file).stat().st_size
        with click.progressbar(
            length=max(size, 1),
            label=self.name,
            file=sys.stderr,
            hidden=not (size and sys.stderr.isatty()),
        ) as bar:

            def advance() -> None:
                assert self._raw is not None
                if size:
                    bar.update(self._raw.tell() - bar.pos)

            yield advance


def report(
    connection: psycopg.Connection[Any], summary: Summary, name: str, began_at: datetime
) -> None:
    """Print the totals, and what was rejected by reason with an example of each."""
    total = summary.accepted + summary.rejected
    pace = total / summary.seconds if summary.seconds else 0.0
    click.echo(
        f"{summary.accepted} accepted, {summary.rejected} rejected"
        f" in {summary.seconds:.1f} s ({pace:,.0f} ticks/s)"
    )
    if not summary.rejected:
        return
    reasons = connection.execute(
        """
        select reason, count(*), min(received_at) as first_at,
            (array_agg(source order by received_at))[1] as example,
            array_agg(distinct symbol order by symbol) filter (where symbol is not null) as symbols
        from api.rejected_ticks
        where received_at >= %s and starts_with(source, %s)
        group by reason
        order by 2 desc, 1
        """,
        (began_at, f"{name}:"),
    ).fetchall()
    for reason, count, _, example, symbols in reasons:
        if reason == UNKNOWN_SYMBOL:
            listed = ", ".join(symbols[:10]) + (", …" if len(symbols) > 10 else "")
            click.echo(f"  {count} {reason}: {listed}")
            click.echo(f"    define what is traded: {DEFINE_INSTRUMENT}")
        else:
            click.echo(f"  {count} {reason} (first: {example})")
    click.echo("  each one with its reason: select * from api.rejected_ticks;")


def _database_time(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
