"""Sessions with the database, one after another, for a process that works on a fixed beat."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import stamina
import stamina.instrumentation
import structlog

from glue import errors
from glue.stop import Stop

Connection = psycopg.Connection[tuple[Any, ...]]


def keep_up(
    connect: Callable[[], Connection],
    serve: Callable[[Connection], None],
    stop: Stop,
    log: structlog.typing.FilteringBoundLogger,
) -> None:
    """Serve until told to stop; while the database is away, try to connect again."""
    stamina.instrumentation.set_on_retry_hooks([])  # is_passing says what is the matter

    def is_passing(error: Exception) -> bool:
        if stop.is_set() or not isinstance(error, psycopg.OperationalError | errors.ServerError):
            return False
        log.warning("the database does not answer, trying again", reason=errors.brief(error))
        return True

    while not stop.is_set():
        try:
            for attempt in stamina.retry_context(
                on=is_passing, attempts=None, timeout=None, wait_max=2.0, wait_jitter=0.5
            ):
                with attempt, connect() as connection:
                    serve(connection)
        except (psycopg.OperationalError, errors.ServerError):
            if not stop.is_set():
                raise


def beats(seconds: float, stop: Stop) -> Iterator[None]:
    """Yield on a beat that does not drift, leaving out what is missed, until told to stop."""
    due = time.monotonic()
    while not stop.wait(due - time.monotonic()):
        yield
        due += seconds
        late = time.monotonic() - due
        if late > 0:
            due += late - late % seconds
