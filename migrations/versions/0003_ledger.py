"""ledger: accounts, append-only entries and fills, and the positions that the fills make."""

from glue.migrate import execute_as_owner

revision = "0003_ledger"
down_revision = "0002_market"

SQL = """
create table ledger.accounts (
    account_id bigint generated always as identity,
    name text not null,
    currency text not null,
    position_mode text not null,
    broker text,
    broker_account_id text,
    conversion_markup numeric not null,
    money_scale int not null,
    balance numeric not null default 0,
    credit numeric not null default 0,
    last_event_seq bigint not null default 0,
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    constraint accounts_pkey primary key (account_id),
    constraint accounts_broker_account_key unique (broker, broker_account_id),
    constraint name_is_not_blank check (name ~ '[^[:space:]]'),
    constraint name_is_not_long check (length(name) <= 200),
    constraint currency_is_code check (currency ~ '^[A-Z][A-Z0-9]{2,11}$'),
    constraint position_mode_is_known check (position_mode in ('netting', 'hedging')),
    constraint broker_account_has_broker check (broker is not null or broker_account_id is null),
    constraint broker_is_not_empty check (broker <> '' and broker_account_id <> ''),
    constraint conversion_markup_is_fraction check (
        conversion_markup >= 0 and conversion_markup < 1
    ),
    constraint money_scale_is_usual check (money_scale between 0 and 8)
) with (fillfactor = 70);

create table ledger.positions (
    account_id bigint not null,
    instrument_id bigint not null,
    position_side text not null,
    quantity numeric not null,
    cost numeric not null,
    constraint positions_pkey primary key (account_id, instrument_id, position_side),
    constraint positions_account_fkey foreign key (account_id) references ledger.accounts,
    constraint positions_instrument_fkey foreign key (instrument_id) references market.instruments,
    constraint position_side_fits_quantity check (
        case position_side
            when 'net' then quantity <> 0
            when 'long' then quantity > 0
            when 'short' then quantity < 0
            else false
        end
    )
) with (fillfactor = 70);
create index positions_instrument_idx on ledger.positions (instrument_id, account_id);

create table ledger.fills (
    fill_id bigint generated always as identity,
    account_id bigint not null,
    event_seq bigint not null,
    instrument_id bigint not null,
    position_side text not null,
    side text not null,
    quantity numeric not null,
    price numeric not null,
    effect text not null,
    quantity_change numeric not null,
    cost_change numeric not null,
    quantity_after numeric not null,
    cost_after numeric not null,
    realized_pnl_quote numeric not null,
    realized_pnl numeric not null,
    commission numeric not null,
    conversion_rate numeric,
    event_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    external_id text,
    constraint fills_pkey primary key (fill_id),
    constraint fills_event_seq_key unique (account_id, event_seq),
    constraint fills_external_id_key unique (account_id, external_id),
    constraint fills_account_fkey foreign key (account_id) references ledger.accounts,
    constraint fills_instrument_fkey foreign key (instrument_id) references market.instruments,
    constraint external_id_is_not_blank check (external_id ~ '[^[:space:]]'),
    constraint side_is_known check (side in ('buy', 'sell')),
    constraint effect_is_known check (effect in ('open', 'close', 'flip')),
    constraint position_side_is_known check (position_side in ('net', 'long', 'short')),
    constraint quantity_is_in_range check (quantity > 0 and quantity < 1e15),
    constraint price_is_in_range check (price > 0 and price < 1e15),
    constraint commission_is_in_range check (commission >= 0 and commission < 1e15)
);

create table ledger.entries (
    entry_id bigint generated always as identity,
    account_id bigint not null,
    kind text not null,
    amount numeric not null,
    balance_after numeric not null,
    event_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    external_id text,
    fill_id bigint,
    conversion_rate numeric,
    note text,
    constraint entries_pkey primary key (entry_id),
    constraint entries_external_id_key unique (account_id, external_id),
    constraint entries_account_fkey foreign key (account_id) references ledger.accounts,
    constraint entries_fill_fkey foreign key (fill_id) references ledger.fills,
    constraint external_id_is_not_blank check (external_id ~ '[^[:space:]]'),
    constraint kind_is_known check (
        kind in (
            'deposit', 'withdrawal', 'realized_pnl', 'commission',
            'financing', 'dividend', 'credit', 'adjustment'
        )
    ),
    constraint amount_is_in_range check (amount <> 0 and abs(amount) < 1e15),
    constraint sign_fits_kind check (
        case kind
            when 'deposit' then amount > 0
            when 'withdrawal' then amount < 0
            when 'commission' then amount < 0
            else true
        end
    )
);
create index entries_account_idx on ledger.entries (account_id, entry_id);
create index entries_fill_idx on ledger.entries (fill_id) where fill_id is not null;
"""


def upgrade() -> None:
    execute_as_owner(SQL)
