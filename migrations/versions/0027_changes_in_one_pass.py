"""relay: what has changed of accounts is found where it is read."""

from glue.migrate import execute_as_owner

revision = "0027_changes_in_one_pass"
down_revision = "0026_closing_in_one_snapshot"

SQL = """
drop function if exists relay.portfolios(bigint[]);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
