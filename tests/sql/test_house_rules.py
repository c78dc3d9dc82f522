"""What must hold for every object in the schema."""

import re
from pathlib import Path

import pytest

from glue import paths
from tests.factories import Connection, every

OURS = "('market', 'ledger', 'equity', 'recon', 'relay', 'api')"


def test_every_function_passes_plpgsql_check(conn: Connection) -> None:
    if not every(conn, "select from pg_available_extensions where name = 'plpgsql_check'"):
        pytest.skip("this server has no plpgsql_check")
    conn.execute("load 'plpgsql_check'")
    conn.execute("create extension plpgsql_check")
    problems = every(
        conn,
        f"""
        select p.oid::regprocedure::text as function, c.*
        from pg_proc p
        join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
        left join pg_trigger t on t.tgfoid = p.oid
        cross join lateral plpgsql_check_function_tb(
            p.oid, coalesce(t.tgrelid, 0), newtable => t.tgnewtable, oldtable => t.tgoldtable,
            extra_warnings => true, security_warnings => true
        ) c
        where p.pronamespace::regnamespace::text in {OURS}
          -- on one edition of TimescaleDB a trigger function may have nothing to do
          and (p.prorettype <> 'trigger'::regtype or t.oid is not null)
        """,
    )
    assert problems == []


def test_every_public_object_explains_itself(conn: Connection) -> None:
    silent = every(
        conn,
        f"""
        select c.oid::regclass::text as name from pg_class c
        where c.relnamespace::regnamespace::text in {OURS} and c.relkind in ('r', 'v')
          and obj_description(c.oid, 'pg_class') is null
        union all
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace::regnamespace::text in {OURS}
          and obj_description(p.oid, 'pg_proc') is null
        """,
    )
    assert silent == []


def test_every_function_pins_its_search_path_or_is_bound_at_creation(conn: Connection) -> None:
    # not procedures: one that commits, itself or in what it calls, may not pin any setting
    loose = every(
        conn,
        f"""
        select oid::regprocedure::text as name from pg_proc
        where pronamespace::regnamespace::text in {OURS} and prosqlbody is null
          and prokind not in ('a', 'p')  -- a procedure that commits cannot pin it
          and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)
        """,
    )
    assert loose == []


def test_only_api_functions_run_as_their_owner(conn: Connection) -> None:
    definers = every(
        conn,
        f"""
        select p.oid::regprocedure::text as name from pg_proc p
        where p.pronamespace::regnamespace::text in {OURS} and p.prosecdef
          and p.pronamespace <> 'api'::regnamespace
          and p.prorettype <> 'trigger'::regtype
        """,
    )
    assert definers == []


def test_everything_belongs_to_the_owner_that_cannot_log_in(conn: Connection) -> None:
    others = every(
        conn,
        f"""
        select c.oid::regclass::text as name from pg_class c
        where c.relnamespace::regnamespace::text in {OURS}
          and c.relowner <> 'tidemark_owner'::regrole
        union all
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace::regnamespace::text in {OURS}
          and p.proowner <> 'tidemark_owner'::regrole
        union all
        select rolname from pg_roles where rolname like 'tidemark\\_%' and rolcanlogin
        """,
    )
    assert others == []


def test_every_constraint_and_index_is_named_for_what_it_states(conn: Connection) -> None:
    generated = every(
        conn,
        f"""
        select conname from pg_constraint
        where connamespace::regnamespace::text in {OURS}
          and contype = 'c' and conname ~ '_check[0-9]*$'
        """,
    )
    assert generated == []


def test_no_line_of_sql_is_wider_than_a_hundred_columns() -> None:
    wide = [
        f"{path}:{number}"
        for root in (paths.SQL, paths.MIGRATIONS)
        for path in sorted(root.rglob("*"))
        if path.suffix in {".sql", ".py"}
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > 100
    ]
    assert wide == []


def test_the_error_registry_and_the_code_agree() -> None:
    sources = [*paths.SQL.rglob("*.sql"), *paths.MIGRATIONS.rglob("*.sql")]
    raised = {
        code for path in sources for code in re.findall(r"errcode = '(TM\d{3})'", path.read_text())
    }
    registry = Path(paths.CHECKOUT, "docs/errors.md").read_text()
    listed = re.findall(r"^\| (TM\d{3}) \|", registry, flags=re.MULTILINE)
    assert sorted(raised) == listed


def test_functions_raise_what_their_header_says() -> None:
    for path in (paths.SQL / "090_api" / "20_functions").glob("*.sql"):
        text = path.read_text()
        for header, body in re.findall(
            r"((?:^--[^\n]*\n)+)create or replace function [^;]*?\nas \$\$\n(.*?)\n\$\$;",
            text,
            flags=re.MULTILINE | re.DOTALL,
        ):
            raised = set(re.findall(r"errcode = '(TM\d{3})'", body))
            assert raised <= set(re.findall(r"TM\d{3}", header)), f"{path.name}: {raised}"
