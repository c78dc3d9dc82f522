"""Legs are vacuumed often: a position that flips leaves a row that no update reuses."""

from glue.migrate import execute_as_owner

revision = "0019_vacuum_legs"
down_revision = "0018_valuation"

SQL = """
alter table equity.legs set (
    fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 50
);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
