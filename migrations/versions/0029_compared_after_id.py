"""recon: the transaction after which all of a broker's are known."""

from glue.migrate import execute_as_owner

revision = "0029_compared_after_id"
down_revision = "0028_rebuilt_stretches"

SQL = """
alter table recon.accounts add column compared_after_id text;
"""


def upgrade() -> None:
    execute_as_owner(SQL)
