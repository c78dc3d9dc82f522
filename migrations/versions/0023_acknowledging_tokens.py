"""relay: tokens that may acknowledge discrepancies."""

from glue.migrate import execute_as_owner

revision = "0023_acknowledging_tokens"
down_revision = "0022_relay"

SQL = """
alter table relay.tokens
    add column may_acknowledge boolean not null default false;

drop function if exists api.issue_token(text, bigint[], interval);
drop function if exists api.open_session(text);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
