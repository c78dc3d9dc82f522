"""The relay's way to the database: a few connections for queries, and one that listens."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, LiteralString, NamedTuple, Self

import psycopg
from psycopg import AsyncConnection, sql

from glue import db
from glue.wire import Acknowledge, CurveRequest

ROLE = "tidemark_relay"
CHANNELS = ("tidemark_account", "tidemark_prices", "tidemark_tokens")
"""Every channel that sql/ notifies; a payload is a hint and never trusted."""
MAX_JOINING = 3
"""Snapshots, curves and acknowledgements at the same time; what is read for all has its own."""
QUERY_TIMEOUT = 5.0
"""Seconds for a query, the making of a connection included."""
LISTEN_TIMEOUT = 5.0
"""Seconds without a notification after which the listener asks whether its connection lives."""

Connection = AsyncConnection[tuple[Any, ...]]


class UnavailableError(Exception):
    """The database did not answer, or not with what was asked for."""


class DeclinedError(UnavailableError):
    """The database declined with an error of our own class, told by its SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class Mark(NamedTuple):
    """How much of an account somebody has: the state's version and the last event's number."""

    version: int
    event_seq: int


class Change(NamedTuple):
    """A row of api.portfolio_changes: texts are JSON, `events` oldest first."""

    account_id: int
    version: int
    event_seq: int
    updated_at: float
    """Of the state, in seconds since 1970."""
    state: str
    positions: str
    events: list[str] | None


class OpenSession(NamedTuple):
    """What a token opens: a row of api.open_sessions."""

    token_id: int
    account_ids: list[int] | None
    """None where their hash was known."""
    account_hash: int
    may_acknowledge: bool


class Backoff:
    """Growing delays with jitter, so that many relays do not come back in the same instant."""

    def __init__(self, first: float = 0.1, longest: float = 3.0) -> None:
        self._first = self._next = first
        self._longest = longest

    def delay(self) -> float:
        """Seconds to wait now; the next one is twice as long."""
        current = self._next
        self._next = min(self._longest, 2 * current)
        return current * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew: it went well."""
        self._next = self._first


class Line(NamedTuple):
    """A connection, and the timeline that the database was on when it was made."""

    connection: Connection
    timeline: str


class Lane:
    """Connections for queries of one sort: each plans a query when it is first asked it.

    They are made when needed and thrown away when broken. There is no pool beneath, since a pool
    reconnects on a schedule of its own, long after the database is back.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Line]], is_current: Callable[[Line], bool]
    ) -> None:
        self._connect = connect
        self._is_current = is_current
        self._idle: list[Line] = []

    async def fetch_text(self, query: LiteralString, *parameters: Any) -> str:
        """The one text that a query returns."""
        ((text,),) = await self.fetch(query, *parameters)
        return str(text)

    async def fetch(self, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """The query's rows; a second attempt is made on a new connection."""
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                try:
                    return await self._fetch_once(query, parameters)
                except psycopg.OperationalError:
                    await self.close()  # what broke this one has broken the others, too
                    return await self._fetch_once(query, parameters)
        except (psycopg.Error, TimeoutError) as error:
            if sqlstate := _own_sqlstate(error):
                raise DeclinedError(sqlstate) from error
            await self.close()
            raise UnavailableError(str(error).strip() or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            await self._idle.pop().connection.close()

    async def _fetch_once(
        self, query: LiteralString, parameters: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        async with self._line() as line:
            cursor = await line.connection.execute(query, parameters)
            rows = await cursor.fetchall()
            if not self._is_current(line):
                raise psycopg.OperationalError("what was read is of a database that is gone")
            return rows

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        line = self._idle.pop() if self._idle else await self._connect()
        try:
            yield line
        except BaseException as error:
            if _own_sqlstate(error):
                self._idle.append(line)  # the database has only said no
            else:
                await line.connection.close()
            raise
        self._idle.append(line)


class Database:
    """What the relay asks the database, in the relay's role; every query may be repeated."""

    def __init__(self, dsn: str) -> None:
        self._conninfo = db.conninfo(
            dsn, role=ROLE, process="tidemark relay", statement_timeout=QUERY_TIMEOUT
        )
        self._reads, self._joins, self._curves = (
            Lane(self._connect, self._is_current) for _ in range(3)
        )
        self.joining = asyncio.Semaphore(MAX_JOINING)
        """To be held by those who ask on behalf of one client."""
        self._timeline: str | None = None
        self.on_new_timeline: Callable[[], None] = lambda: None
        """Told when commits may have been lost: what was read before may not be true any more."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._reads.close()
        await self._joins.close()
        await self._curves.close()

    async def prepare(self) -> None:
        """Let connections plan the longest query, as far as there is a database, for no client."""
        asking = (self.snapshot((), {}, (), "USD") for _ in range(MAX_JOINING))
        await asyncio.gather(*asking, return_exceptions=True)

    async def _connect(self) -> Line:
        """A new connection. What breaks those that there were may have cost commits as well."""
        connection = await AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            cursor = await connection.execute("select api.timeline_id()")
            ((timeline,),) = await cursor.fetchall()
        except BaseException:
            await connection.close()
            raise
        if timeline != self._timeline:
            is_first, self._timeline = self._timeline is None, timeline
            if not is_first:
                self.on_new_timeline()
        return Line(connection, timeline)

    def _is_current(self, line: Line) -> bool:
        return line.timeline == self._timeline

    # Queries ---------------------------------------------------------------------------------

    async def changes(self, held: dict[int, Mark]) -> list[Change]:
        """What the database has otherwise than held, account by account."""
        rows = await self._reads.fetch(
            "select account_id, version, event_seq, updated_at, state, positions, events"
            " from api.portfolio_changes(%s::bigint[], %s::bigint[], %s::bigint[])",
            _array(held),
            _array(mark.version for mark in held.values()),
            _array(mark.event_seq for mark in held.values()),
        )
        return [Change(*row) for row in rows]

    async def snapshot(
        self,
        account_ids: Sequence[int],
        since: Mapping[int, int],
        total_account_ids: Sequence[int],
        currency: str | None,
    ) -> str:
        """The message with all that a page needs to start."""
        return await self._joins.fetch_text(
            "select api.snapshot_message"
            "(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s)",
            _array(account_ids),
            _array(since),
            _array(since.values()),
            _array(total_account_ids),
            currency,
        )

    async def totals(self, account_ids: Sequence[int], currency: str) -> str:
        """The message with the totals of these accounts."""
        return await self._reads.fetch_text(
            "select api.totals_message(%s::bigint[], %s)", _array(account_ids), currency
        )

    async def broker_changes(self, hashes: Mapping[int, str]) -> list[tuple[int, str]]:
        """What brokers said last, as a JSON text, where it has another hash than these."""
        rows = await self._reads.fetch(
            "select account_id, broker from api.broker_changes(%s::bigint[], %s::text[])",
            _array(hashes),
            _array(hashes.values()),
        )
        return [(account_id, broker) for account_id, broker in rows]

    async def curve(self, request: CurveRequest) -> str:
        """The columns of a curve, as a JSON text."""
        return await self._curves.fetch_text(
            "select api.curve_columns(%s, %s::timestamptz, %s::timestamptz, %s)",
            request.account_id,
            request.from_at,
            request.to_at,
            request.points,
        )

    async def open_sessions(self, hashes: Mapping[str, int | None]) -> dict[str, OpenSession]:
        """What these tokens open now; invalid ones are left out.

        The accounts are listed where their hash is not the one given.
        """
        rows = await self._joins.fetch(
            "select token, token_id, account_ids, account_hash, may_acknowledge"
            " from api.open_sessions(%s::text[], %s::bigint[])",
            _array(hashes),
            _array("null" if hash_ is None else hash_ for hash_ in hashes.values()),
        )
        return {token: OpenSession(*opened) for token, *opened in rows}

    async def acknowledge(self, token: str, request: Acknowledge) -> None:
        """Acknowledge a discrepancy; DeclinedError says by its SQLSTATE why not."""
        await self._joins.fetch(
            "select from api.acknowledge_with_token(%s, %s, %s)",
            token,
            request.discrepancy_id,
            request.note,
        )

    # Notifications ---------------------------------------------------------------------------

    async def listen(
        self, hear: Callable[[str, str], None], report: Callable[[bool, str], None]
    ) -> None:
        """Hand on notifications for ever; `report` is told when listening begins and ends.

        A connection of its own, since asking while `notifies()` runs would hang. It is asked when
        it has been silent, since a frozen server does not say goodbye.
        """
        backoff = Backoff()
        while True:
            try:
                async with (await self._connect()).connection as connection:
                    for channel in CHANNELS:
                        await connection.execute(
                            sql.SQL("listen {}").format(sql.Identifier(channel))
                        )
                    backoff.reset()
                    report(True, "")
                    while True:
                        async for notification in connection.notifies(timeout=LISTEN_TIMEOUT):
                            hear(notification.channel, notification.payload)
                        async with asyncio.timeout(LISTEN_TIMEOUT):
                            await connection.execute("select 1")
            except (psycopg.Error, TimeoutError) as error:
                report(False, str(error).strip())
            await asyncio.sleep(backoff.delay())


def _array(words: Iterable[int | str]) -> str:
    """An array as PostgreSQL reads it, of numbers, or of letters and digits, which need no quotes.

    The driver would look at each for its type.
    """
    return f"{{{','.join(map(str, words))}}}"


def _own_sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error of our own class; else nothing."""
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    return sqlstate if sqlstate is not None and sqlstate.startswith("TM") else ""
