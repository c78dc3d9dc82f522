"""equity: what has happened to an account is looked at in the snapshot in which its bars close."""

from glue.migrate import execute_as_owner

revision = "0026_closing_in_one_snapshot"
down_revision = "0025_sessions_at_once"

SQL = """
drop function if exists equity.bars_by_ticks(timestamptz, equity.priced_instants[], bigint[]);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
