"""The server is killed while bars are being closed: they go on where they were, the same bars."""

import os
import signal
import threading
from pathlib import Path

import psycopg

from glue import db, migrate
from glue.curve import CurveKeeper
from glue.local.server import EmbeddedServer
from tests import curve_oracle
from tests.conftest import Connection
from tests.factories import assert_sound, every, one
from tests.sql.test_curve_bars import END, Day, accounts, assert_bars, assert_extremes, close, tell
from tests.supervisors import until


def test_bars_are_the_same_after_the_server_was_killed_at_any_moment(home: Path) -> None:
    server = EmbeddedServer(home)
    dsn = server.ensure_started(may_install=True)
    migrate.to_head(dsn)
    day = Day(70, seconds=40)
    with db.connect(dsn) as conn:
        account_ids = accounts(conn)
    told = 0
    for part in range(4):
        rest = Day(70, seconds=40)
        rest.events = day.events[told : len(day.events) * (part + 1) // 4]
        with (
            CurveKeeper(dsn, role="tidemark_watch", process="test", maintains=True),
            db.connect(dsn) as conn,
        ):
            tell(conn, rest, account_ids, batch=5)
            told += len(rest.events)
            if part < 3:
                closing = threading.Thread(target=close_until_lost, args=[dsn])
                closing.start()
                until(lambda conn=conn: has_bars(conn), "bars are being closed")
                pid = server.status().pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                closing.join()
        dsn = server.ensure_started(may_install=False)
    with db.connect(dsn) as conn:
        close(conn, END)
        assert every(conn, "select * from api.curve_marks") == []
        assert_bars(conn, curve_oracle.bars(curve_oracle.read(conn), END, max_instants=6))
        assert_extremes(conn)
        assert_sound(conn)


def has_bars(conn: Connection) -> bool:
    return one(conn, "select exists (select from equity.curve_bars) as has")["has"]


def close_until_lost(dsn: str) -> None:
    """Close bars again and again, until the connection is gone."""
    try:
        with db.connect(dsn) as conn:
            conn.execute("set synchronous_commit = off")
            while True:
                close(conn)
    except psycopg.OperationalError:
        return
