"""equity: what was rebuilt is remembered until the community edition's roll-ups have it."""

from glue.migrate import execute_as_owner

revision = "0028_rebuilt_stretches"
down_revision = "0027_changes_in_one_pass"

SQL = """
drop function if exists equity.set_extremes(bigint[], timestamptz, timestamptz);

create table equity.rebuilt_stretches (
    stretch_id bigint generated always as identity,
    from_at timestamptz not null,
    to_at timestamptz not null,
    constraint rebuilt_stretches_pkey primary key (stretch_id),
    constraint there_is_time_in_it check (from_at < to_at)
);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
