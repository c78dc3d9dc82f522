"""Reconcile: every 30 seconds each account is compared with what its broker says. (17.5.)

This process asks brokers and hands on what they answer; what differs, what that means and who is to
be told is found in SQL (docs/reconciliation.md). One reconciler works at a time: the one whose
session holds the database's lock. The same session records, so that one that has lost the lock, or
has been frozen, can record nothing.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import psycopg

from glue import brokers, db, errors, logs, service
from glue.brokers import Broker, BrokerError, registry
from glue.errors import ServerError, SettingsError, TidemarkError
from glue.reconciliation_alert import AlertSender, send_due
from glue.reconciliation_metrics import Metrics
from glue.reconciliation_session import (
    PROCESS,
    ROLE,
    Account,
    Answer,
    LostError,
    Run,
    Session,
    Status,
)
from glue.settings import Address, Settings

ANSWER_SHARE = 0.8
"""Of a beat: how long a run waits for answers. The rest is for recording that there was none."""
LEASE_SHARE = 2 / 3
"""Of a beat: silence after which the server ends a reconciler's session, and with it the lock."""
SHORTEST_LEASE = 2.0
"""Seconds."""
ONCE_PATIENCE = 10.0
"""Seconds that a single run waits for another reconciler's to end."""
LONGEST_PAUSE = 3.0
"""Seconds between two attempts to reach the database, at most."""

T = TypeVar("T")
log = logs.get("reconcile")


def main(settings: Settings, dsn: str, metrics_listen: Address | None = None) -> None:
    """Reconcile on a fixed beat, and send alerts, until told to stop.

    Raises ServerError when the database cannot be reached at the start, or the address of the
    metrics is taken; SchemaError where the database has no schema of ours.
    """
    check_database(dsn)
    metrics = Metrics()
    with metrics.served(metrics_listen), AlertSender(dsn, role=ROLE, process=f"{PROCESS} alerts"):
        asyncio.run(serve(settings, dsn, metrics))
    log.info("stopped")


def check_database(dsn: str) -> None:
    """Raise ServerError or SchemaError at once: later the reconciler waits for its database."""
    db.check(dsn, "select from api.accounts_to_reconcile limit 0", role=ROLE, process=PROCESS)


async def serve(settings: Settings, dsn: str, metrics: Metrics) -> None:
    """Reconcile until told to stop: what is under way then is left, and done by the next run."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    service.stop_on_signals(stop)
    async with Brokers(settings) as connected:
        work = asyncio.create_task(keep_reconciling(settings, dsn, connected, metrics))
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        work.cancel()
        (ending,) = await asyncio.gather(work, return_exceptions=True)
    if isinstance(ending, Exception):
        raise ending


async def keep_reconciling(
    settings: Settings, dsn: str, connected: "Brokers", metrics: Metrics
) -> None:
    """Wait to be the one reconciler, then reconcile; over again whenever the database was lost."""
    beat = settings.reconcile_beat
    pause = 0.0
    while True:
        try:
            async with Session.opened(dsn, lease(beat)) as session:
                pause = 0.0
                await wait_for_lock(session, session.ping_interval)
                log.info("reconciling", seconds=beat)
                metrics.active.set(1)
                reconciler = Reconciler(session, connected, metrics, patience=ANSWER_SHARE * beat)
                await kept(session, reconcile_on_beat(session, reconciler, beat, metrics))
        except (LostError, psycopg.OperationalError) as error:
            log.warning("the database does not answer, trying again", reason=errors.brief(error))
        finally:
            metrics.active.set(0)
        pause = min(LONGEST_PAUSE, max(0.1, 2 * pause))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))


def lease(beat: float) -> float:
    """Seconds of silence after which the server ends a reconciler's session."""
    return max(SHORTEST_LEASE, LEASE_SHARE * beat)


async def wait_for_lock(session: Session, pause: float) -> None:
    """Until this session is the one reconciler; it is asked for every so many seconds."""
    is_told = False
    while not await session.is_reconciler():
        if not is_told:
            log.info("another reconciler is at work: waiting for it to end")
            is_told = True
        await asyncio.sleep(pause)


async def reconcile_on_beat(
    session: Session, reconciler: "Reconciler", seconds: float, metrics: Metrics
) -> None:
    """Compare all accounts now and on each beat; beats that come while a run lasts are left out."""
    due = time.monotonic()
    while True:
        await asyncio.sleep(due - time.monotonic())
        runs = await reconciler.run(await session.accounts())
        report(runs, time.monotonic() - due)
        due += seconds
        late = time.monotonic() - due
        if late > 0:
            missed = int(late // seconds) + 1
            due += missed * seconds
            metrics.skipped.inc(missed)
            reason = f"{missed} beats of {seconds:g} s passed while a run was under way"
            log.warning("left out", reason=reason)
            await session.record_skipped(reason)


def report(runs: Sequence[Run], seconds: float) -> None:
    """Log a run, and each account that failed."""
    for run in runs:
        if run.outcome == "failed":
            log.warning("not compared", account_id=run.account_id, reason=run.reason)
    outcomes = Counter(run.outcome for run in runs)
    tell = log.info if outcomes.total() == outcomes["passed"] else log.warning
    tell("compared", accounts=len(runs), **outcomes, seconds=round(seconds, 2))


# A single run -----------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What a single run found of an account."""

    run: Run
    status: Status


def once(
    settings: Settings,
    dsn: str,
    wanted: Collection[int] = (),
    *,
    with_history: bool = False,
    is_dry: bool = False,
) -> list[Outcome]:
    """Compare all accounts, or those wanted, one time; then send the alerts that are due.

    A dry run records nothing, and may be made beside a reconciler. Raises TidemarkError.
    """
    check_database(dsn)
    try:
        outcomes = asyncio.run(_once(settings, dsn, wanted, with_history, is_dry))
    except LostError as error:
        raise ServerError(
            f"the database was lost during the run: {error}", "What was recorded stays; run again."
        ) from error
    if not is_dry:
        with db.connect(dsn, role=ROLE, process=f"{PROCESS} alerts") as connection:
            send_due(connection)
    return outcomes


async def _once(
    settings: Settings, dsn: str, wanted: Collection[int], with_history: bool, is_dry: bool
) -> list[Outcome]:
    beat = settings.reconcile_beat
    async with Session.opened(dsn, lease(beat)) as session, Brokers(settings) as connected:
        if not is_dry:
            await _take_lock(session)
        accounts = await session.accounts(wanted)
        if unknown := set(wanted).difference(account.account_id for account in accounts):
            raise TidemarkError(
                "not to be reconciled: account " + ", ".join(map(str, sorted(unknown))),
                "api.accounts_to_reconcile lists those that are: open, with a broker account, and"
                " enabled (api.set_reconciliation_terms).",
            )
        reconciler = Reconciler(
            session,
            connected,
            Metrics(),
            patience=ANSWER_SHARE * beat,
            with_history=with_history,
        )
        if is_dry:
            return await kept(session, reconciler.dry_run(accounts))
        runs = await kept(session, reconciler.run(accounts))
        statuses = await session.statuses([run.account_id for run in runs])
        return [Outcome(run, status) for run, status in zip(runs, statuses, strict=True)]


async def _take_lock(session: Session) -> None:
    try:
        async with asyncio.timeout(ONCE_PATIENCE):
            await wait_for_lock(session, min(0.5, session.ping_interval))
    except TimeoutError:
        raise TidemarkError(
            "another reconciler is at work",
            "It compares all accounts on its own beat: see api.reconciliation_status, or look"
            " without recording anything: tidemark reconcile --dry-run",
        ) from None


# A run ------------------------------------------------------------------------------------------


class Brokers:
    """Connections to the brokers that accounts name, each made when first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connected: dict[str, Broker] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for broker in self._connected.values():
            await broker.aclose()

    async def ask(self, account: Account, *, with_history: bool) -> Answer:
        """One answer, and what was booked since the last transaction seen.

        An account that is compared for the first time is compared from now on: what was booked
        before counts in its totals; `with_history` has all of it compared. Raises BrokerError, and
        SettingsError for a broker that cannot be connected to.
        """
        broker = self._connect(account.broker)
        snapshot = await broker.snapshot(account.broker_account_id)
        since = account.last_transaction_id
        if since is None and not with_history:
            since = snapshot.transaction_id
        booked = []
        if since != snapshot.transaction_id:
            answer = await broker.transactions_since(account.broker_account_id, since)
            booked = answer.transactions
        return Answer(brokers.as_json(snapshot), brokers.as_json(booked), since)

    def _connect(self, name: str) -> Broker:
        if name not in self._connected:
            self._connected[name] = registry.connect(name, self._settings)
        return self._connected[name]


class Reconciler:
    """Compares accounts, all at once within each broker's limits.

    A difference that is seen for the first time is looked at again once it is old enough to be a
    discrepancy, and not only at the next beat. Raises LostError when the database goes away.
    """

    def __init__(
        self,
        session: Session,
        connected: Brokers,
        metrics: Metrics,
        *,
        patience: float,
        with_history: bool = False,
    ) -> None:
        """`patience` is how many seconds a run waits for answers."""
        self._session = session
        self._brokers = connected
        self._metrics = metrics
        self._patience = patience
        self._with_history = with_history

    async def run(self, accounts: Sequence[Account]) -> list[Run]:
        """Compare accounts and record every outcome, in their order."""
        until = time.monotonic() + self._patience
        with self._metrics.run_seconds.time():
            runs = await all_of(self._reconcile(account, until) for account in accounts)
        for run in runs:
            self._metrics.accounts.labels(run.outcome).inc()
        return runs

    async def dry_run(self, accounts: Sequence[Account]) -> list[Outcome]:
        """Compare accounts and record nothing."""
        until = time.monotonic() + self._patience
        return await all_of(self._try(account, until) for account in accounts)

    async def _reconcile(self, account: Account, until: float) -> Run:
        run = await self._look(account, until)
        if await self._is_to_be_looked_at_again(run):
            await asyncio.sleep(await self._session.grace())
            if time.monotonic() < until:
                for again in await self._session.accounts([account.account_id]):
                    run = await self._look(again, until)
        return run

    async def _is_to_be_looked_at_again(self, run: Run) -> bool:
        return run.differences > 0 and run.differences > await self._session.open_discrepancies(
            run.account_id
        )

    async def _look(self, account: Account, until: float) -> Run:
        began_at = datetime.now(UTC)
        answer = await self._answer(account, until)
        if isinstance(answer, str):
            return await self._recorded_failure(account, answer, began_at)
        try:
            with self._metrics.compare_seconds.time():
                return await self._session.record_answer(account, answer, began_at)
        except psycopg.Error as error:
            reason = f"the answer could not be compared: {errors.brief(error)}"
            run = await self._recorded_failure(account, reason, began_at)
            return run._replace(is_our_failure=True)

    async def _recorded_failure(self, account: Account, reason: str, began_at: datetime) -> Run:
        try:
            return await self._session.record_failure(account.account_id, reason, began_at)
        except psycopg.Error as error:
            reason = f"{reason}; nor could that be recorded: {errors.brief(error)}"
            return Run(account.account_id, "failed", reason=reason, is_our_failure=True)

    async def _answer(self, account: Account, until: float) -> Answer | str:
        """The answer, or why there is none."""
        try:
            with self._metrics.answer_seconds.time():
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    return await self._brokers.ask(account, with_history=self._with_history)
        except TimeoutError:
            return f"the broker gave no whole answer within {self._patience:g} s"
        except (BrokerError, SettingsError) as error:
            return f"{error.message}. {error.remedy}".removesuffix(". ")

    async def _try(self, account: Account, until: float) -> Outcome:
        """Two looks, and what both of them saw: one may have met a booking under way."""
        outcome = await self._try_once(account, until)
        if outcome.status.discrepancies:
            await asyncio.sleep(await self._session.grace())
            seen = {discrepancy.what for discrepancy in outcome.status.discrepancies}
            outcome = await self._try_once(account, until)
            lasting = [one for one in outcome.status.discrepancies if one.what in seen]
            outcome = outcome._replace(status=outcome.status._replace(discrepancies=lasting))
        return outcome

    async def _try_once(self, account: Account, until: float) -> Outcome:
        answer = await self._answer(account, until)
        failure = Run(account.account_id, "failed")
        if isinstance(answer, Answer):
            try:
                return Outcome(*await self._session.try_answer(account, answer, datetime.now(UTC)))
            except psycopg.Error as error:
                reason = f"the answer could not be compared: {errors.brief(error)}"
                failure = failure._replace(reason=reason, is_our_failure=True)
        else:
            failure = failure._replace(reason=answer)
        (status,) = await self._session.statuses([account.account_id])
        return Outcome(failure, status)


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order; the first error ends them all."""

    async def gathered() -> list[T]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
        return [task.result() for task in tasks]

    return await _plainly(gathered)


async def kept(session: Session, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, for which the session is kept; the first error ends both."""

    async def done() -> T:
        end = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(session.keep(end))
            result = await group.create_task(work)
            end.set()
        return result

    return await _plainly(done)


async def _plainly(work: Callable[[], Awaitable[T]]) -> T:
    """Of the errors of a group, raise the first by itself."""
    try:
        return await work()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
