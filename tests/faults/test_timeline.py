"""A database that may have lost commits has another timeline, which tells a relay to begin anew."""

import os
import signal
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from glue import db, migrate
from glue.errors import ServerError
from glue.local.server import EmbeddedServer
from tests.conftest import Connection, Database
from tests.factories import one
from tests.supervisors import crash, until


def timeline_id(dsn: str) -> str:
    with db.connect(dsn) as connection:
        text: str = one(connection, "select api.timeline_id()")["timeline_id"]
        return text


def test_a_crash_begins_a_new_timeline_and_a_restart_does_not(home: Path) -> None:
    server = EmbeddedServer(home)
    dsn = server.ensure_started(may_install=True)
    migrate.to_head(dsn)
    first = timeline_id(dsn)
    assert timeline_id(dsn) == first

    server.stop()
    dsn = server.ensure_started(may_install=False)
    assert timeline_id(dsn) == first

    crash(server)
    second = timeline_id(dsn)
    assert second != first

    with db.connect(dsn) as connection:  # any one session's end by force is a crash of all
        os.kill(connection.info.backend_pid, signal.SIGKILL)

        def is_lost() -> bool:
            try:
                connection.execute("select")
            except psycopg.OperationalError:
                return True
            return False

        until(is_lost, "it has crashed")

    def has_recovered() -> bool:
        try:
            return timeline_id(dsn) != second
        except (psycopg.OperationalError, ServerError):
            return False

    until(has_recovered, "it is there again, on another timeline")


def test_a_copy_has_another_timeline(database: Database, admin: Connection) -> None:
    """Though the row that names it is copied, too."""
    first = timeline_id(database.dsn)
    name = conninfo_to_dict(database.dsn)["dbname"]
    admin.execute(f'create database "{name}_copy" template "{name}" strategy file_copy'.encode())
    try:
        copy = make_conninfo(database.dsn, dbname=f"{name}_copy")
        assert timeline_id(copy) != first
    finally:
        admin.execute(f'drop database "{name}_copy"'.encode())
    assert timeline_id(database.dsn) == first
