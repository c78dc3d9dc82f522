"""Watch: has every account's margin judged once a second, and logs what changes; once an hour it
has bars that are to be kept no longer dropped.
"""

import time
from collections.abc import Iterator

import psycopg
import stamina
import stamina.instrumentation

from glue import db, errors, logs, service
from glue.stop import Stop

ROLE = "tidemark_watch"
BEAT = 1.0
"""Seconds from one judgement to the next."""
RETENTION = 3600
"""Beats from one look for old bars to the next."""

log = logs.get("watch")


def main(dsn: str) -> None:
    """Judge margins on a fixed beat until told to stop; while the database is away, try again.

    Raises ServerError when the database cannot be reached at the start.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    stamina.instrumentation.set_on_retry_hooks([])  # is_passing says what is the matter
    connect(dsn).close()

    def is_passing(error: Exception) -> bool:
        if stop.is_set() or not isinstance(error, psycopg.OperationalError | errors.ServerError):
            return False
        log.warning("the database does not answer, trying again", reason=errors.brief(error))
        return True

    while not stop.is_set():
        for attempt in stamina.retry_context(
            on=is_passing, attempts=None, timeout=None, wait_max=2.0, wait_jitter=0.5
        ):
            with attempt, connect(dsn) as connection:
                judge(connection, stop)
    log.info("stopped")


def connect(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection in the role of this process."""
    return db.connect(dsn, role=ROLE, process="tidemark watch")


def judge(connection: psycopg.Connection[tuple[object, ...]], stop: Stop) -> None:
    """Judge until told to stop, and log each account whose margin state changes."""
    for beat, _ in enumerate(beats(BEAT, stop)):
        if beat % RETENTION == 0:
            drop_old_bars(connection)
        for account_id, before, now, margin_equity, margin_used in connection.execute(
            "select account_id, previous_state, margin_state, margin_equity, margin_used"
            " from api.judge_margins()"
        ):
            (log.info if now == "ok" else log.warning)(
                "margin state changed",
                account_id=account_id,
                before=before,
                now=now,
                margin_equity=str(margin_equity),
                margin_used=str(margin_used),
            )


def drop_old_bars(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Have bars that are to be kept no longer dropped, where a job does not do it."""
    for (days,) in connection.execute("select api.drop_old_bars()"):
        if days:
            log.info("old bars dropped", days=days)


def beats(seconds: float, stop: Stop) -> Iterator[None]:
    """Yield on a beat that does not drift, leaving out what is missed, until told to stop."""
    due = time.monotonic()
    while not stop.wait(due - time.monotonic()):
        yield
        due += seconds
        late = time.monotonic() - due
        if late > 0:
            due += late - late % seconds
