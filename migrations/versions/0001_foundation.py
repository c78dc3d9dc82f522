"""The extension, the roles and the schemas.

Roles belong to the whole server, so they may be there already, made for another database.
"""

from glue.migrate import execute

revision = "0001_foundation"
down_revision = None

SQL = """
create extension if not exists timescaledb;

do $$
declare
    v_role text;
begin
    foreach v_role in array array[
        'tidemark_owner',      -- owns everything, is nobody
        'tidemark_trading',    -- opens accounts, records fills and entries
        'tidemark_ingest',     -- stores ticks
        'tidemark_relay',      -- serves the dashboard
        'tidemark_reconcile',  -- compares with the broker
        'tidemark_readonly'    -- reads the api views
    ] loop
        begin
            execute format('create role %I nologin', v_role);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        execute format('grant tidemark_owner to %I', current_user);
    end if;
end
$$;

create schema market authorization tidemark_owner;
create schema ledger authorization tidemark_owner;
create schema equity authorization tidemark_owner;
create schema relay authorization tidemark_owner;
create schema api authorization tidemark_owner;
"""


def upgrade() -> None:
    execute(SQL)
