"""The way to head: from nothing, again, from two sides at once, as a script, and where it ends."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from alembic import command

from glue import migrate, paths
from glue.errors import SchemaError
from tests.conftest import Connection, Database
from tests.factories import D, assert_sound, every, one
from tests.sql.catalogue import describe

SNAPSHOTS = {
    "apache": Path(__file__).with_name("schema.snapshot"),
    "community": Path(__file__).with_name("schema.community.snapshot"),
}
"""By edition of TimescaleDB."""
VERSIONS = sorted(path.stem for path in (paths.MIGRATIONS / "versions").glob("*.py"))


def snapshot(conn: Connection) -> Path:
    """The snapshot for the edition that the server runs."""
    return SNAPSHOTS[one(conn, "select equity.edition()")["edition"]]


def test_the_committed_snapshot_is_the_schema(
    conn: Connection, request: pytest.FixtureRequest
) -> None:
    now = describe(conn)
    if request.config.getoption("--refresh-snapshot"):
        snapshot(conn).write_text(now)
    assert snapshot(conn).read_text() == now, "refresh it with: make snapshot"


def test_an_empty_database_comes_to_head_and_a_second_time_changes_nothing(
    empty_database: Database,
) -> None:
    migrate.to_head(empty_database.dsn)
    with empty_database.connect() as connection:
        first = describe(connection)
        migrate.to_head(empty_database.dsn)
        assert describe(connection) == first
        assert first == snapshot(connection).read_text()


BEFORE_VALUATION = """
insert into market.instruments (symbol, base_currency, quote_currency, margin_rate, contract_size)
values ('EUR/USD', 'EUR', 'USD', 0.05, 1), ('USD/JPY', 'USD', 'JPY', 0.05, 1);
insert into market.quotes
values (1, 1.1, 1.1002, now(), now(), 1), (2, 150, 150.02, now(), now(), 2);
insert into market.ticks (event_at, instrument_id, bid, ask) overriding system value
select event_at, instrument_id, bid, ask from market.quotes order by tick_id;
insert into market.conversion_rates values
    ('USD', 'USD', null, null, null, null, 1), ('USD', 'EUR', 1, true, null, null, 0.909008271975),
    ('USD', 'JPY', 2, false, null, null, 150.01), ('JPY', 'JPY', null, null, null, null, 1),
    ('JPY', 'USD', 2, true, null, null, 0.006666222252);
insert into ledger.accounts (name, currency, position_mode, conversion_markup, money_scale)
values ('Dollars', 'USD', 'netting', 0, 2), ('Yen', 'JPY', 'hedging', 0, 0);
insert into ledger.fills (
    account_id, event_seq, instrument_id, position_side, side, quantity, price, effect,
    quantity_change, cost_change, quantity_after, cost_after, realized_pnl_quote, realized_pnl,
    commission, conversion_rate, event_at
) values
    (1, 1, 1, 'net', 'buy', 1000, 1.1, 'open', 1000, 1100, 1000, 1100, 0, 0, 0, 1, now()),
    (2, 1, 1, 'short', 'sell', 100, 1.2, 'open', -100, -120, -100, -120, 0, 0, 0, 150.01, now());
update ledger.accounts set last_event_seq = 1;
insert into ledger.positions (account_id, instrument_id, position_side, quantity, cost)
values (1, 1, 'net', 1000, 1100), (2, 1, 'short', -100, -120);
insert into equity.account_states (account_id, unrealized_pnl) values (1, 0), (2, 1497);
create function api.upsert_instrument(text, text, text, numeric, numeric default 1) returns void
    language sql return null;
create function ledger.set_position(bigint, bigint, text, numeric, numeric) returns void
    language sql return null;
create function equity.underwater(bigint[], text, timestamptz, timestamptz, interval) returns void
    language sql return null;
"""
"""A database of a version before, with data and some of the functions that have changed since."""


def test_a_database_with_data_comes_from_the_version_before_to_the_same_schema(
    empty_database: Database,
) -> None:
    command.upgrade(migrate._config(empty_database.dsn), "0017_equity_triggers")
    with empty_database.connect() as connection:
        connection.execute("set role tidemark_owner")
        connection.execute(BEFORE_VALUATION)
    migrate.to_head(empty_database.dsn)
    with empty_database.connect() as connection:
        assert describe(connection) == snapshot(connection).read_text()
        assert_sound(connection)
        connection.execute(
            "select api.ingest_ticks('{EUR/USD}', array[clock_timestamp()], '{1.15}', '{1.16}')"
        )
        assert_sound(connection)
        pnl = every(connection, "select unrealized_pnl from api.account_states order by account_id")
    assert [row["unrealized_pnl"] for row in pnl] == [D("50.00"), D("600")]


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
        assert describe(connection) == snapshot(connection).read_text()


def test_the_printed_script_makes_the_same_schema(empty_database: Database) -> None:
    with psycopg.connect(empty_database.dsn, autocommit=True) as connection:
        connection.execute(migrate.script().encode())
        assert describe(connection) == snapshot(connection).read_text()
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


@pytest.mark.parametrize("table", ["market.ticks", "equity.curve_bars"])
def test_a_dropped_column_of_a_transition_table_is_refused_on_versions_that_it_breaks(
    conn: Connection, database: Database, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    conn.execute(f"alter table {table} add column extra int")
    conn.execute(f"alter table {table} drop column extra")
    text = migrate.requirements().replace("array[2, 26, 4]", "array[99, 0, 0]")
    monkeypatch.setattr(migrate, "requirements", lambda: text)
    with pytest.raises(SchemaError, match="transition table"):
        migrate.to_head(database.dsn)


def test_no_version_drops_a_column_of_a_hypertable_with_a_transition_table() -> None:
    for name in VERSIONS:
        text = (paths.MIGRATIONS / "versions" / f"{name}.py").read_text().lower()
        for table in ("market.ticks", "equity.curve_bars"):
            assert not ("drop column" in text and table in text), name


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
