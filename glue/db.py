"""Connections to the database, each in the role of its process."""

from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo

from glue.errors import ServerError, SettingsError, from_database
from glue.settings import Settings

CONNECT_TIMEOUT = 10
"""Seconds."""


def dsn_of(settings: Settings, *, may_install: bool = False) -> str:
    """The connection string of the configured server; starts the embedded one where none is named.

    `may_install` allows the embedded server to be downloaded first. Raises ServerError.
    """
    if settings.dsn is not None:
        return settings.dsn
    from glue.local.server import EmbeddedServer  # noqa: PLC0415  only who uses it pays for it

    return EmbeddedServer(settings.home, settings.pg_bindir).ensure_started(may_install=may_install)


def conninfo(
    dsn: str,
    *,
    role: str | None = None,
    process: str = "tidemark",
    statement_timeout: float | None = None,
) -> str:
    """The connection string with the role that a process works in and the name that it shows.

    The server ends statements that take longer than `statement_timeout` seconds. SettingsError for
    a string that libpq cannot read.
    """
    extra: dict[str, Any] = {"application_name": process, "connect_timeout": CONNECT_TIMEOUT}
    if role is not None:
        extra["options"] = f"-c role={role}"
        if statement_timeout is not None:
            extra["options"] += f" -c statement_timeout={statement_timeout:.3f}s"
    try:
        return make_conninfo(dsn, **extra)
    except psycopg.ProgrammingError as error:
        raise SettingsError(
            f"the connection string cannot be read: {str(error).strip()}",
            "Write TIDEMARK_DSN or --dsn like 'host=db.example dbname=trading user=me'.",
        ) from error


def connect(
    dsn: str, *, role: str | None = None, process: str = "tidemark", autocommit: bool = True
) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection; ServerError, with a remedy, where that fails."""
    try:
        return psycopg.connect(conninfo(dsn, role=role, process=process), autocommit=autocommit)
    except psycopg.OperationalError as error:
        raise unreachable(error) from error


def check(dsn: str, query: LiteralString, *, role: str, process: str) -> None:
    """Raise what a user must see at the start of a service that later waits for its database.

    ServerError when it cannot be reached, SchemaError when it does not have what the query names.
    """
    try:
        with connect(dsn, role=role, process=process) as connection:
            connection.execute(query)
    except psycopg.Error as error:
        if known := from_database(error):
            raise known from error
        raise


def unreachable(error: psycopg.OperationalError) -> ServerError:
    """The error for a server that does not answer, or does not let us in."""
    return ServerError(
        f"no connection to the database: {str(error).strip()}",
        "Check TIDEMARK_DSN (or PGHOST and the like), and that the login may take the role.",
    )
