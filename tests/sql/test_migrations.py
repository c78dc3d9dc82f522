"""The way to head: from nothing, again, from two sides at once, as a script, and where it ends."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from glue import migrate, paths
from glue.errors import SchemaError
from tests.conftest import Connection, Database
from tests.sql.catalogue import describe

SNAPSHOT = Path(__file__).with_name("schema.snapshot")
VERSIONS = sorted(path.stem for path in (paths.MIGRATIONS / "versions").glob("*.py"))


def test_the_committed_snapshot_is_the_schema(
    conn: Connection, request: pytest.FixtureRequest
) -> None:
    now = describe(conn)
    if request.config.getoption("--refresh-snapshot"):
        SNAPSHOT.write_text(now)
    assert SNAPSHOT.read_text() == now, "refresh it with: make snapshot"


def test_an_empty_database_comes_to_head_and_a_second_time_changes_nothing(
    empty_database: Database,
) -> None:
    migrate.to_head(empty_database.dsn)
    with empty_database.connect() as connection:
        first = describe(connection)
        migrate.to_head(empty_database.dsn)
        assert describe(connection) == first
    assert first == SNAPSHOT.read_text()


def test_upgrades_at_the_same_time_wait_for_each_other(empty_database: Database) -> None:
    upgrades = [
        subprocess.Popen(
            [sys.executable, "-m", "glue", "migrate"],
            env={**os.environ, "TIDEMARK_DSN": empty_database.dsn},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [upgrade.communicate()[0] for upgrade in upgrades]
    assert [upgrade.returncode for upgrade in upgrades] == [0, 0, 0], outputs
    with empty_database.connect() as connection:
        assert describe(connection) == SNAPSHOT.read_text()


def test_the_printed_script_makes_the_same_schema(empty_database: Database) -> None:
    with psycopg.connect(empty_database.dsn, autocommit=True) as connection:
        connection.execute(migrate.script().encode())
        assert describe(connection) == SNAPSHOT.read_text()
    migrate.to_head(empty_database.dsn)


@pytest.mark.parametrize(
    ("replace", "by", "message"),
    [
        ("< 170000", "< 990000", "PostgreSQL is too old"),
        ("'timescaledb'", "'no_such_extension'", "extension timescaledb is missing"),
        ("timescaledb.disable_load", "timescaledb.no_such", "extension timescaledb is not loaded"),
        ("array[2, 19, 0]", "array[99, 0, 0]", "TimescaleDB is too old"),
    ],
)
def test_a_server_that_cannot_carry_it_is_named_and_left_alone(
    empty_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    replace: str,
    by: str,
    message: str,
) -> None:
    text = migrate.requirements()
    assert replace in text
    monkeypatch.setattr(migrate, "requirements", lambda: text.replace(replace, by, 1))
    with pytest.raises(SchemaError, match=message) as refused:
        migrate.to_head(empty_database.dsn)
    assert refused.value.remedy
    with empty_database.connect() as connection:
        tables = connection.execute(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert tables == (0,)


def test_a_dropped_column_of_the_ticks_is_refused_on_versions_that_it_breaks(
    conn: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn.execute("alter table market.ticks add column extra int")
    conn.execute("alter table market.ticks drop column extra")
    text = migrate.requirements().replace("array[2, 26, 4]", "array[99, 0, 0]")
    monkeypatch.setattr(migrate, "requirements", lambda: text)
    with pytest.raises(SchemaError, match="transition table"):
        migrate.to_head(database.dsn)


def test_no_version_drops_a_column_of_the_ticks() -> None:
    for name in VERSIONS:
        text = (paths.MIGRATIONS / "versions" / f"{name}.py").read_text().lower()
        assert not ("drop column" in text and "market.ticks" in text), name


def test_every_version_passes_squawk(tmp_path: Path) -> None:
    files = []
    for name in VERSIONS:
        source = Path(paths.MIGRATIONS / "versions" / f"{name}.py").read_text()
        scope: dict[str, str] = {}
        exec(compile(source, name, "exec"), scope)
        files.append(tmp_path / f"{name}.sql")
        files[-1].write_text(scope["SQL"])
    squawk = Path(sys.executable).with_name("squawk")
    checked = subprocess.run(
        [squawk, "--config", Path(__file__).with_name("squawk.toml"), *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
