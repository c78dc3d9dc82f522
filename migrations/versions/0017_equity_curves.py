"""equity: the curve of every account, in bars of a second of event time. (Component 17.4.)"""

from glue.migrate import execute_as_owner

revision = "0017_equity_curves"
down_revision = "0019_vacuum_legs"

SQL = """
create type market.conversion_paths as (
    from_currency text,
    to_currency text,
    first_instrument_id bigint,
    first_is_inverse boolean,
    second_instrument_id bigint,
    second_is_inverse boolean
);

create type equity.priced_instants as (
    instrument_id bigint,
    is_long boolean,
    currency text,
    at timestamptz,
    until timestamptz,
    price numeric,
    rate numeric,
    price_before numeric,
    rate_before numeric,
    is_thinned boolean
);

create table equity.curve_settings (
    is_only boolean not null default true,
    max_instants int not null default 6,
    grace interval not null default '2 seconds',
    keep_seconds interval,
    compress_after interval not null default '7 days',
    constraint curve_settings_pkey primary key (is_only),
    constraint there_is_one_row check (is_only),
    constraint representatives_fit check (max_instants >= 5),
    constraint grace_is_short check (grace between interval '0' and interval '1 hour'),
    constraint seconds_stay_a_week check (keep_seconds >= interval '7 days'),
    constraint compressed_after_a_day check (compress_after >= interval '1 day')
);
insert into equity.curve_settings default values;

-- bars are closed before announced_to by who has the curve's lock, and were before closed_to
create table equity.curve_clock (
    is_only boolean not null default true,
    announced_to timestamptz not null default '-infinity',
    closed_to timestamptz not null default '-infinity',
    constraint curve_clock_pkey primary key (is_only),
    constraint there_is_one_row check (is_only),
    constraint closing_is_announced check (closed_to <= announced_to)
) with (fillfactor = 50);
insert into equity.curve_clock default values;

create table equity.curve_bars (
    account_id bigint not null,
    bucket_at timestamptz not null,
    part int not null,
    open numeric,
    high numeric,
    low numeric,
    close numeric,
    balance numeric not null,
    net_flow numeric not null,
    base_index numeric,
    base_equity numeric,
    fall numeric,
    fall_pct numeric,
    is_priced boolean not null,
    is_thinned boolean not null,
    constraint curve_bars_pkey primary key (account_id, bucket_at, part),
    constraint bar_begins_with_a_second check (bucket_at = date_trunc('second', bucket_at, 'UTC')),
    constraint part_not_negative check (part >= 0),
    constraint high_and_low_enclose check (
        low <= high and open between low and high and close between low and high
    ),
    constraint fall_is_within check (fall between 0 and high - low),
    constraint priced_bar_is_whole check (not is_priced or num_nulls(open, close) = 0),
    constraint index_base_is_whole check (num_nulls(base_index, base_equity) in (0, 2)),
    constraint base_equity_is_positive check (base_equity > 0)
);
select public.create_hypertable(
    'equity.curve_bars',
    public.by_range('bucket_at', interval '1 day'),
    create_default_indexes => false
);

create table equity.rollups_1m (
    account_id bigint not null,
    bucket_at timestamptz not null,
    open numeric,
    high numeric,
    low numeric,
    close numeric,
    equity_open numeric,
    equity_high numeric,
    equity_low numeric,
    equity_close numeric,
    balance numeric not null,
    net_flow_open numeric not null,
    net_flow numeric not null,
    index_open numeric,
    index_high numeric,
    index_low numeric,
    index_close numeric,
    fall numeric,
    fall_pct numeric,
    is_priced boolean not null,
    is_indexed boolean not null,
    is_thinned boolean not null,
    bar_count bigint not null,
    constraint rollups_1m_pkey primary key (account_id, bucket_at)
);
create table equity.rollups_1h (
    like equity.rollups_1m,
    constraint rollups_1h_pkey primary key (account_id, bucket_at)
);
create table equity.rollups_1d (
    like equity.rollups_1m,
    constraint rollups_1d_pkey primary key (account_id, bucket_at)
);
select public.create_hypertable(
    'equity.rollups_1m',
    public.by_range('bucket_at', interval '7 days'),
    create_default_indexes => false
);
select public.create_hypertable(
    'equity.rollups_1h',
    public.by_range('bucket_at', interval '365 days'),
    create_default_indexes => false
);

-- of each grain, where its roll-ups end; and where bars begin, when older ones were dropped
create table equity.rollup_clock (
    is_only boolean not null default true,
    to_1m timestamptz not null default '-infinity',
    to_1h timestamptz not null default '-infinity',
    to_1d timestamptz not null default '-infinity',
    kept_from timestamptz not null default '-infinity',
    constraint rollup_clock_pkey primary key (is_only),
    constraint there_is_one_row check (is_only),
    constraint finer_ones_are_ahead check (to_1d <= to_1h and to_1h <= to_1m),
    constraint days_are_kept_whole check (kept_from = date_trunc('day', kept_from, 'UTC'))
) with (fillfactor = 50);
insert into equity.rollup_clock default values;

create table equity.curves (
    account_id bigint not null,
    performance numeric not null default 0,
    unpriced_positions int not null default 0,
    balance numeric not null default 0,
    net_flow numeric not null default 0,
    base_index numeric,
    base_equity numeric,
    high_water_mark numeric not null default 0,
    high_water_at timestamptz,
    max_drawdown numeric not null default 0,
    index_high numeric default 1,
    max_drawdown_pct numeric default 0,
    constraint curves_pkey primary key (account_id),
    constraint curves_account_fkey foreign key (account_id) references ledger.accounts
) with (fillfactor = 50);
insert into equity.curves (account_id) select account_id from ledger.accounts;

create table equity.curve_marks (
    mark_id bigint generated always as identity,
    account_id bigint,
    from_at timestamptz not null,
    to_at timestamptz not null,
    reason text not null,
    marked_at timestamptz not null default clock_timestamp(),
    constraint curve_marks_pkey primary key (mark_id),
    constraint curve_marks_account_fkey foreign key (account_id) references ledger.accounts,
    constraint mark_is_not_empty check (from_at < to_at),
    constraint reason_is_known check (reason in ('late tick', 'late fill', 'late entry'))
);

alter table ledger.accounts add column net_flow numeric not null default 0;
update ledger.accounts a
set net_flow = e.net_flow
from (
    select account_id, sum(amount) as net_flow
    from ledger.entries
    where kind in ('deposit', 'withdrawal', 'credit')
    group by account_id
) e
where e.account_id = a.account_id;

create index fills_event_idx on ledger.fills (event_at);
create index entries_event_idx on ledger.entries (event_at);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
