"""The curve's beat: has the bars of the equity curves closed once event time has passed them."""

import contextlib
import threading
from types import TracebackType
from typing import Self

import psycopg

from glue import db, logs
from glue.sessions import Connection, beats, keep_up
from glue.stop import Stop

BEAT = 1.0
"""Seconds from one closing to the next: bars are of a second."""

RETENTION = 3600
"""Beats from one look for old bars to the next."""
LOCK_TIMEOUT = 5.0
"""Seconds that a closing waits for a session that books: longer, and it has been left open."""

log = logs.get("curve")


class CurveKeeper:
    """Closes bars in a thread, with a connection of its own, while the context lasts.

    `role` and `process` are those of the process that it is part of. With `maintains` it also
    rebuilds what something late has made wrong, and drops bars that are to be kept no longer.
    """

    def __init__(self, dsn: str, *, role: str, process: str, maintains: bool = False) -> None:
        self._dsn = dsn
        self._role = role
        self._process = process
        self._maintains = maintains
        self._stop = Stop()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="curve", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop at once: what is being closed is closed by the next who does."""
        self._stop.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(psycopg.OperationalError):  # lost: nothing is to be cancelled
                connection.cancel_safe(timeout=2.0)
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        keep_up(self._connect, self._serve, self._stop, log)

    def _connect(self) -> Connection:
        connection = db.connect(self._dsn, role=self._role, process=self._process)
        connection.execute("set synchronous_commit = off")  # bars can be closed anew
        connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}s'")
        self._connection = connection
        return connection

    def _serve(self, connection: Connection) -> None:
        for beat, _ in enumerate(beats(BEAT, self._stop)):
            close_bars(connection)
            if self._maintains:
                rebuild_marked(connection)
                if beat % RETENTION == 0:
                    drop_old_bars(connection)


def close_bars(connection: Connection) -> None:
    """Close all bars that event time has passed; `connection` must be in autocommit.

    Others' locks may be in the way for longer than the connection's lock_timeout: the next call
    closes what this one did not.
    """
    try:
        connection.execute("call api.close_bars()")
    except psycopg.errors.LockNotAvailable:
        log.warning("bars wait for a session that holds the prices: api.booking_sessions names it")


def rebuild_marked(connection: Connection) -> None:
    """Rebuild the stretch of bars that has been marked longest, if there is one."""
    row = connection.execute("select api.rebuild_marked()").fetchone()
    if row is not None and row[0] is not None:
        log.info("bars rebuilt, since something came late", bars=row[0])


def drop_old_bars(connection: Connection) -> None:
    """Drop bars of a second that are to be kept no longer, where no job of the database does it."""
    row = connection.execute("select api.drop_old_bars()").fetchone()
    if row is not None and row[0]:
        log.info("old bars dropped", days=row[0])
