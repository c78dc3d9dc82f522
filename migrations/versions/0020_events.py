"""ledger: what happens on an account besides fills, numbered together with them."""

from glue.migrate import execute_as_owner

revision = "0020_events"
down_revision = "0017_equity_curves"

SQL = """
create table ledger.events (
    account_id bigint not null,
    event_seq bigint not null,
    kind text not null,
    subject_id bigint not null,
    is_open boolean not null,
    body jsonb not null,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint events_pkey primary key (account_id, event_seq),
    constraint events_account_fkey foreign key (account_id) references ledger.accounts,
    constraint event_kind_is_known check (kind in ('discrepancy', 'alert')),
    constraint body_is_object check (jsonb_typeof(body) = 'object')
);
create index events_subject_idx
    on ledger.events (account_id, kind, subject_id, event_seq desc);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
