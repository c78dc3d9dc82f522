"""relay: what tokens open is asked for all of them at once."""

from glue.migrate import execute_as_owner

revision = "0025_sessions_at_once"
down_revision = "0024_curve_in_one_pass"

SQL = """
drop function if exists api.open_session(text);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
