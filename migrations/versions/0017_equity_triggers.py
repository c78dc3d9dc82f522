"""equity: the state of each account that the triggers on ticks, fills and entries keep current."""

from glue.migrate import execute_as_owner

revision = "0017_equity_triggers"
down_revision = "0004_relay"

SQL = """
create table equity.account_states (
    account_id bigint not null,
    unrealized_pnl numeric not null default 0,
    unpriced_positions int not null default 0,
    version bigint not null default 1,
    updated_at timestamptz not null default clock_timestamp(),
    constraint account_states_pkey primary key (account_id),
    constraint account_states_account_fkey foreign key (account_id) references ledger.accounts,
    constraint unpriced_positions_not_negative check (unpriced_positions >= 0)
) with (fillfactor = 50);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
