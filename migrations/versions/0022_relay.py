"""relay: makes way for the messages of the page, and takes from its role what it needs no more."""

from glue.migrate import execute_as_owner

revision = "0022_relay"
down_revision = "0021_reconciliation"

SQL = """
drop function if exists api.portfolio_changes(bigint[], bigint[], bigint[]);
drop function if exists api.portfolio_snapshot(bigint[]);
drop function if exists relay.portfolios(bigint[]);
drop function if exists relay.fill_json(api.fills);

revoke all on all tables in schema api from tidemark_relay;
revoke all on all functions in schema api, equity from tidemark_relay;
"""


def upgrade() -> None:
    execute_as_owner(SQL)
