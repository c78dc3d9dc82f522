"""equity: underwater returns the equity, too, so that a curve is read once."""

from glue.migrate import execute_as_owner

revision = "0024_curve_in_one_pass"
down_revision = "0023_acknowledging_tokens"

SQL = """
drop function if exists equity.underwater(
    bigint[], text, timestamptz, timestamptz, interval
);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
