"""The reconciler's session with the database, which holds the lock and records what comes of it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple, Self

import psycopg
from psycopg import AsyncConnection

from glue import db, errors

ROLE = "tidemark_reconcile"
PROCESS = "tidemark reconcile"
PINGS = 4
"""In a lease: how often the session is used at least; who waits looks for the lock as often."""
LOCK_TIMEOUT = 5.0
"""Seconds that a comparison waits for a session that books on the account."""
QUERY_TIMEOUT = 15.0
"""Seconds that a statement may take."""
FROZEN_TIMEOUT = 20.0
"""Seconds after which a server that says nothing counts as gone."""


class LostError(Exception):
    """The database is away, and with it the lock."""


class Account(NamedTuple):
    """A row of api.accounts_to_reconcile."""

    account_id: int
    broker: str
    broker_account_id: str
    last_transaction_id: str | None


class Answer(NamedTuple):
    """What a broker said about an account, as api.record_broker_answer takes it."""

    snapshot: bytes
    transactions: bytes
    since: str | None


class Run(NamedTuple):
    """What came of an account: a row of api.reconciliation_runs."""

    account_id: int
    outcome: str
    """passed, discrepancies or failed."""
    differences: int = 0
    """All that are seen, also those that are too young to be discrepancies."""
    error_code: str | None = None
    reason: str | None = None
    is_our_failure: bool = False
    """It failed, and not for want of an answer."""


class Discrepancy(NamedTuple):
    """A row of api.discrepancies."""

    cause: str
    severity: str
    field: str
    symbol: str | None
    ours: Decimal | None
    theirs: Decimal | None
    difference: Decimal | None
    unit: str
    message: str
    status: str
    opened_at: datetime

    @property
    def what(self) -> tuple[str, str, str | None]:
        """What it is about: the same at each look."""
        return self.cause, self.field, self.symbol


class Status(NamedTuple):
    """A row of api.reconciliation_status, with the account's name and its discrepancies."""

    account_id: int
    name: str
    currency: str
    balance: Decimal
    broker_balance: Decimal | None
    consistent_since: datetime | None
    failing_since: datetime | None
    last_answer_at: datetime | None
    discrepancies: list[Discrepancy]
    """Those that are open or acknowledged."""


class Session:
    """A session with the database, which the server ends after `lease` seconds of silence.

    Every call is a transaction of its own, one after the other. They raise LostError when the
    session is over, and psycopg's errors for what the database refuses.
    """

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]], lease: float) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self.ping_interval = lease / PINGS
        """Seconds."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str, lease: float) -> AsyncIterator[Self]:
        """A new session; LostError where there is none to be had."""
        try:
            connection = await AsyncConnection.connect(
                db.conninfo(dsn, role=ROLE, process=PROCESS), autocommit=True
            )
        except psycopg.OperationalError as error:
            raise LostError(str(error).strip()) from error
        try:
            session = cls(connection, lease)
            for name, seconds in (
                ("idle_session_timeout", lease),
                ("idle_in_transaction_session_timeout", lease),
                ("lock_timeout", LOCK_TIMEOUT),
                ("statement_timeout", QUERY_TIMEOUT),
            ):
                await session._fetch(
                    "select set_config(%s, %s, false)", name, f"{seconds * 1000:.0f}ms"
                )
            yield session
        finally:
            connection.pgconn.finish()

    async def keep(self, end: asyncio.Event) -> None:
        """Use the session often enough for it to last, until the end."""
        while not end.is_set():
            try:
                async with asyncio.timeout(self.ping_interval):
                    await end.wait()
            except TimeoutError:
                await self._fetch("select")

    async def is_reconciler(self) -> bool:
        """Whether this session is the one reconciler, from now on until it ends."""
        return bool((await self._fetch("select api.become_reconciler()"))[0][0])

    async def grace(self) -> float:
        """Seconds that a difference may be old before it is a discrepancy."""
        query: LiteralString = (
            "select extract(epoch from grace)::float8 from api.reconciliation_settings"
        )
        return float((await self._fetch(query))[0][0])

    async def accounts(self, wanted: Collection[int] = ()) -> list[Account]:
        """The accounts to compare: all, or those that are wanted."""
        rows = await self._fetch(
            "select account_id, broker, broker_account_id, last_transaction_id"
            " from api.accounts_to_reconcile"
            " where %s::bigint[] = '{}' or account_id = any (%s::bigint[])"
            " order by account_id",
            list(wanted),
            list(wanted),
        )
        return [Account(*row) for row in rows]

    async def record_answer(self, account: Account, answer: Answer, began_at: datetime) -> Run:
        """Have an answer stored, compared and recorded."""
        return Run(*(await self._fetch(RECORD_ANSWER, *_arguments(account, answer, began_at)))[0])

    async def try_answer(
        self, account: Account, answer: Answer, began_at: datetime
    ) -> tuple[Run, Status]:
        """Have an answer compared, and nothing recorded or booked.

        Differences count from the first look on, since there is no second one that remembers it.
        """
        arguments = _arguments(account, answer, began_at)
        async with self._turn:
            await self._fetch_in_turn("begin")
            try:
                await self._fetch_in_turn(
                    "select from api.set_reconciliation_settings(p_grace => '0')"
                )
                await self._fetch_in_turn(
                    "select from api.set_reconciliation_terms(%s, p_repair => false)",
                    account.account_id,
                )
                await self._fetch_in_turn(RECORD_ANSWER, *arguments)
                (row,) = await self._fetch_in_turn(RECORD_ANSWER, *arguments)
                (status,) = await self._statuses([account.account_id])
            finally:
                await self._fetch_in_turn("rollback")
        return Run(*row), status

    async def record_failure(self, account_id: int, reason: str, began_at: datetime) -> Run:
        """Record that there is no answer, and why."""
        rows = await self._fetch(
            "select account_id, outcome, coalesce(differences, 0), error_code, reason"
            " from api.record_broker_failure(%s, %s, %s)",
            account_id,
            reason,
            began_at,
        )
        return Run(*rows[0])

    async def record_skipped(self, reason: str) -> None:
        """Record that beats were left out."""
        await self._fetch("select from api.record_skipped_beat(%s)", reason)

    async def open_discrepancies(self, account_id: int) -> int:
        """How many an account has."""
        rows = await self._fetch(
            "select count(*) from api.discrepancies where account_id = %s and status <> 'resolved'",
            account_id,
        )
        return int(rows[0][0])

    async def statuses(self, account_ids: Sequence[int]) -> list[Status]:
        """Where accounts stand, in order of their ids."""
        async with self._turn:
            return await self._statuses(account_ids)

    async def _statuses(self, account_ids: Sequence[int]) -> list[Status]:
        found: dict[int, list[Discrepancy]] = {account_id: [] for account_id in account_ids}
        for account_id, *discrepancy in await self._fetch_in_turn(
            "select account_id, cause, severity, field, symbol, ours, theirs, difference, unit,"
            " message, status, opened_at from api.discrepancies"
            " where account_id = any (%s) and status <> 'resolved' order by discrepancy_id",
            list(account_ids),
        ):
            found[account_id].append(Discrepancy(*discrepancy))
        rows = await self._fetch_in_turn(
            "select s.account_id, a.name, s.currency, s.balance, s.broker_balance,"
            " s.consistent_since, s.failing_since, s.last_answer_at"
            " from api.reconciliation_status s join api.accounts a using (account_id)"
            " where s.account_id = any (%s) order by s.account_id",
            list(account_ids),
        )
        return [Status._make((*row, found[row[0]])) for row in rows]

    async def _fetch(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        async with self._turn:
            return await self._fetch_in_turn(query, *parameters)

    async def _fetch_in_turn(
        self, query: LiteralString, *parameters: object
    ) -> list[tuple[Any, ...]]:
        work = asyncio.ensure_future(self._execute(query, parameters))
        # who is cancelled meanwhile does not ask for it any more
        work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            await asyncio.wait({work}, timeout=FROZEN_TIMEOUT)
            if not work.done():
                raise LostError(f"the database has said nothing for {FROZEN_TIMEOUT:g} s")
            return work.result()
        except psycopg.OperationalError as error:
            if self._connection.closed:
                raise LostError(errors.brief(error)) from error
            raise
        finally:
            if not work.done():
                # closed first: a frozen server would not hear of a cancellation, either
                self._connection.pgconn.finish()
                work.cancel()

    async def _execute(
        self, query: LiteralString, parameters: Sequence[object]
    ) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(query, parameters or None)
        return await cursor.fetchall() if cursor.description else []


RECORD_ANSWER: LiteralString = (
    "select account_id, outcome, coalesce(differences, 0), error_code, reason"
    " from api.record_broker_answer(%s, %s::jsonb, %s::jsonb, %s, %s)"
)


def _arguments(account: Account, answer: Answer, began_at: datetime) -> Sequence[object]:
    return (
        account.account_id,
        answer.snapshot.decode(),
        answer.transactions.decode(),
        answer.since,
        began_at,
    )
