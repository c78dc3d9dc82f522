"""One migrated template database a session, one clone of it a test, on a real server.

The server is, in this order: TIDEMARK_TEST_DSN, a Docker engine through testcontainers, the
embedded one.
"""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from glue import db, migrate, settings
from tests.servers import running_server

TEMPLATE = f"tidemark_template_{os.getpid()}"
FAST_AND_UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    dsn: str

    def connect(self, role: str | None = None) -> Connection:
        """A new connection, autocommit, in a role or as superuser."""
        return db.connect(self.dsn, role=role, process="test")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The dsn of a server where databases can be made."""
    with running_server(settings.load(), FAST_AND_UNSAFE) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    with db.connect(server) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        try:
            migrate.to_head(make_conninfo(server, dbname=TEMPLATE))
            # a background worker of TimescaleDB would count as a connection
            connection.execute(
                sql.SQL("alter database {} allow_connections false").format(
                    sql.Identifier(TEMPLATE)
                )
            )
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
                [TEMPLATE],
            )
            yield TEMPLATE
        finally:
            drop(connection, TEMPLATE)


@pytest.fixture(scope="session")
def admin(server: str) -> Iterator[Connection]:
    """A superuser's connection that makes and drops databases."""
    with db.connect(server) as connection:
        yield connection


numbers = itertools.count(1)


@pytest.fixture
def empty_database(admin: Connection, server: str) -> Iterator[Database]:
    """A database without anything."""
    name = f"tidemark_test_{os.getpid()}_{next(numbers)}"
    admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield Database(make_conninfo(server, dbname=name))
    drop(admin, name)


@pytest.fixture
def clones(
    admin: Connection, server: str, template: str
) -> Callable[[], AbstractContextManager[Database]]:
    """Makes migrated databases that last as long as their block."""

    @contextmanager
    def clone() -> Iterator[Database]:
        name = f"tidemark_test_{os.getpid()}_{next(numbers)}"
        admin.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield Database(make_conninfo(server, dbname=name))
        drop(admin, name)

    return clone


@pytest.fixture
def database(clones: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """A migrated database of the test's own."""
    with clones() as clone:
        yield clone


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A superuser's autocommit connection to the test's database."""
    with database.connect() as connection:
        yield connection


def drop(connection: Connection, name: str) -> None:
    """Drop a database, whoever is connected to it."""
    connection.execute(
        sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    )


def pytest_configure() -> None:
    """A session that is told to end does so as by Ctrl-C: no server and no process stays behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make snapshot` writes the schema snapshot instead of only comparing it."""
    parser.addoption("--refresh-snapshot", action="store_true")
