"""${message}."""

from glue.migrate import execute_as_owner

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

SQL = """
"""


def upgrade() -> None:
    execute_as_owner(SQL)
