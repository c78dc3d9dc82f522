"""relay: a database that has lost commits says so, and a snapshot's history is bounded."""

from glue.migrate import execute_as_owner

revision = "0030_timeline"
down_revision = "0029_compared_after_id"

SQL = """
drop function if exists relay.history(bigint, bigint, bigint);

create unlogged table relay.timeline (
    is_only boolean not null default true,
    timeline_id uuid not null default gen_random_uuid(),
    constraint timeline_pkey primary key (is_only),
    constraint there_is_one_row check (is_only)
);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
