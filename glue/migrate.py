"""The schema: how versions and `sql/` reach the database. `migrations/env.py` puts it together."""

import io
from collections.abc import Iterator
from typing import TextIO

import psycopg
from alembic import command, context
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from glue import paths
from glue.errors import SchemaError

OWNER = "tidemark_owner"


def to_head(dsn: str) -> None:
    """Bring the database at `dsn` to head; SchemaError, nothing changed, where that is refused."""
    try:
        command.upgrade(_config(dsn), "head")
    except (psycopg.Error, DBAPIError) as problem:
        error = problem.orig if isinstance(problem, DBAPIError) else problem
        assert isinstance(error, psycopg.Error)  # the driver that both of them speak through
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise SchemaError(
            f"the schema stays as it was: {error.diag.message_primary or error}{detail}",
            error.diag.message_hint or "",
        ) from problem


def script() -> str:
    """All that an upgrade of an empty database to head would run, as SQL text."""
    output = io.StringIO()
    command.upgrade(_config(output=output), "head", sql=True)
    return output.getvalue()


def _config(dsn: str | None = None, output: TextIO | None = None) -> Config:
    config = Config(str(paths.ALEMBIC_INI), output_buffer=output)
    config.attributes["dsn"] = dsn
    return config


def lock() -> str:
    """One upgrade at a time, while nobody stores ticks or books, and no DDL that waits for long.

    The locks after the first are those of `sql/010_market/000_locks.sql`, whose functions an empty
    database does not have yet.
    """
    return (
        "select pg_catalog.pg_advisory_xact_lock("
        "pg_catalog.hashtextextended('tidemark migrate', 0));\n"
        "select pg_catalog.pg_advisory_xact_lock("
        "pg_catalog.hashtextextended('tidemark ticks', 0));\n"
        "select pg_catalog.pg_advisory_xact_lock("
        "pg_catalog.hashtextextended('tidemark prices', 0));\n"
        "set local lock_timeout = '10s';"
    )


def requirements() -> str:
    """The check of server and extension that comes before everything else."""
    return (paths.MIGRATIONS / "requirements.sql").read_text()


def sql_files() -> Iterator[str]:
    """The texts of `sql/` in path order, run as the owner of the schema."""
    yield f"set local role {OWNER};"
    for path in sorted(paths.SQL.rglob("*.sql")):
        yield f"-- {path.relative_to(paths.SQL.parent)}\n{path.read_text()}"
    yield "reset role;"


def goes_to_head() -> bool:
    """Whether alembic's running command is an upgrade to head, after which `sql/` applies."""
    options = context.get_context().opts
    running = getattr(options.get("fn"), "__name__", "")
    return running == "upgrade" and context.get_revision_argument() == context.get_head_revision()


def goes_back() -> bool:
    """Whether alembic's running command is a downgrade."""
    running = getattr(context.get_context().opts.get("fn"), "__name__", "")
    return running == "downgrade"


def execute(*texts: str) -> None:
    """Run SQL texts on alembic's connection as they stand, or print them in offline mode.

    Each text may hold many statements. It goes through the driver's own cursor, since
    SQLAlchemy's text() would take colons and percent signs for parameters.
    """
    migration = context.get_context()
    for text in texts:
        if migration.as_sql:
            migration.impl.static_output(text)
        else:
            connection = migration.connection
            assert connection is not None
            connection.connection.cursor().execute(text)


def execute_as_owner(text: str) -> None:
    """Run a version's SQL as the schema's owner."""
    execute(f"set local role {OWNER};", text, "reset role;")


def is_lock_conflict(error: Exception) -> bool:
    """Whether others' locks were in the way, so that another try may succeed."""
    return isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected)
