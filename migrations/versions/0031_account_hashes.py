"""relay: tokens are checked without writing again the accounts that the relay knows."""

from glue.migrate import execute_as_owner

revision = "0031_account_hashes"
down_revision = "0030_timeline"

SQL = "drop function if exists api.open_sessions(text[]);"


def upgrade() -> None:
    execute_as_owner(SQL)
