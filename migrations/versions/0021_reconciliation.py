"""recon: what brokers answered, how it was compared, what differs, and who is told. (17.5.)"""

from glue.migrate import execute, execute_as_owner

revision = "0021_reconciliation"
down_revision = "0020_events"

SCHEMA = "create schema recon authorization tidemark_owner;"

SQL = """
create table recon.settings (
    is_only boolean not null default true,
    grace interval not null default '2 seconds',
    price_window interval not null default '1 second',
    stopped_after interval not null default '90 seconds',
    escalate_after interval not null default '15 minutes',
    constraint settings_pkey primary key (is_only),
    constraint there_is_one_row check (is_only),
    constraint grace_is_short check (grace between interval '0' and interval '1 hour'),
    constraint price_window_is_short check (
        price_window between interval '0' and interval '1 minute'
    ),
    constraint stopped_after_is_positive check (stopped_after > interval '0'),
    constraint escalate_after_is_positive check (escalate_after > interval '0')
);
insert into recon.settings default values;

-- what a run was compared with is what had been set when it started
create table recon.tolerances (
    tolerance_id bigint generated always as identity,
    kind text not null,
    account_id bigint,
    instrument_id bigint,
    absolute numeric,
    relative numeric,
    set_at timestamptz not null default clock_timestamp(),
    constraint tolerances_pkey primary key (tolerance_id),
    constraint tolerances_account_fkey foreign key (account_id) references ledger.accounts,
    constraint tolerances_instrument_fkey
        foreign key (instrument_id) references market.instruments,
    constraint tolerance_kind_is_known check (
        kind in (
            'balance', 'quantity', 'average_price', 'price', 'conversion',
            'unrealized_pnl', 'equity', 'margin_used'
        )
    ),
    constraint tolerance_not_negative check (
        absolute >= 0 and absolute < 1e15 and relative between 0 and 1
    ),
    constraint tolerance_is_whole_or_withdrawn check (num_nulls(absolute, relative) in (0, 2)),
    constraint account_kinds_have_no_instrument check (
        instrument_id is null
        or kind in ('quantity', 'average_price', 'price', 'conversion', 'unrealized_pnl')
    )
);
create index tolerances_kind_idx
    on recon.tolerances (kind, account_id, instrument_id, tolerance_id desc);
insert into recon.tolerances (kind, absolute, relative) values
    ('balance', 0.05, 0), ('quantity', 0, 0), ('average_price', 0, 0.00001), ('price', 0, 0),
    ('conversion', 0, 0.0005), ('unrealized_pnl', 0.05, 0), ('equity', 0.05, 0),
    ('margin_used', 0.05, 0.005);

create table recon.accounts (
    account_id bigint not null,
    is_enabled boolean not null default true,
    enabled_at timestamptz not null default clock_timestamp(),
    repair boolean not null default false,
    compared_from timestamptz,
    last_transaction_id text,
    settled_event_seq bigint not null default 0,
    settled_entry_id bigint not null default 0,
    last_run_at timestamptz,
    last_answer_at timestamptz,
    failing_since timestamptz,
    failure text,
    consistent_since timestamptz,
    balance numeric,
    equity numeric,
    unrealized_pnl numeric,
    margin_used numeric,
    constraint accounts_pkey primary key (account_id),
    constraint accounts_account_fkey foreign key (account_id) references ledger.accounts
) with (fillfactor = 50);

-- no foreign keys here and below: with each new chunk they would lock ledger.accounts against
-- bookings
create table recon.runs (
    run_id bigint generated always as identity,
    account_id bigint,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    outcome text not null,
    positions int,
    transactions int,
    differences int,
    error_code text,
    reason text,
    constraint outcome_is_known check (
        outcome in ('passed', 'discrepancies', 'failed', 'skipped')
    ),
    constraint a_failure_has_its_reason check (
        (outcome in ('failed', 'skipped')) = (reason is not null)
    ),
    constraint a_comparison_has_an_account check (
        account_id is not null or outcome in ('failed', 'skipped')
    )
);
select public.create_hypertable(
    'recon.runs', public.by_range('started_at', interval '1 day'), create_default_indexes => false
);
create index runs_account_idx on recon.runs (account_id, started_at desc);
create index runs_started_idx on recon.runs (started_at desc);

create table recon.broker_snapshots (
    account_id bigint not null,
    run_id bigint not null,
    received_at timestamptz not null,
    answer jsonb not null
);
select public.create_hypertable(
    'recon.broker_snapshots', public.by_range('received_at', interval '6 hours'),
    create_default_indexes => false
);
create index broker_snapshots_account_idx
    on recon.broker_snapshots (account_id, received_at desc);

create table recon.broker_transactions (
    account_id bigint not null,
    external_id text not null,
    transaction_id text not null,
    kind text not null,
    event_at timestamptz not null,
    symbol text,
    side text,
    quantity numeric,
    opened_quantity numeric,
    price numeric,
    commission numeric,
    realized_pnl numeric,
    entry_kind text,
    amount numeric not null,
    balance_after numeric,
    received_at timestamptz not null default clock_timestamp(),
    fill_id bigint,
    entry_id bigint,
    is_settled boolean not null default false,
    constraint broker_transactions_pkey primary key (account_id, external_id),
    constraint broker_transactions_account_fkey
        foreign key (account_id) references ledger.accounts,
    constraint broker_transactions_fill_fkey foreign key (fill_id) references ledger.fills,
    constraint broker_transactions_entry_fkey foreign key (entry_id) references ledger.entries,
    constraint transaction_kind_is_known check (kind in ('fill', 'entry', 'other')),
    constraint a_fill_is_whole check (
        kind <> 'fill' or num_nulls(symbol, side, quantity, price, commission) = 0
    ),
    constraint an_entry_has_a_kind check ((kind = 'entry') = (entry_kind is not null)),
    constraint one_booking_at_most check (num_nonnulls(fill_id, entry_id) <= 1)
) with (fillfactor = 80);
create index broker_transactions_unsettled_idx
    on recon.broker_transactions (account_id) where not is_settled;
create index broker_transactions_transaction_idx
    on recon.broker_transactions (account_id, transaction_id);
create index broker_transactions_fill_idx
    on recon.broker_transactions (fill_id) where fill_id is not null;
create index broker_transactions_entry_idx
    on recon.broker_transactions (entry_id) where entry_id is not null;

-- a transaction of the broker beside what the ledger has of it; quantities are signed
create type recon.bookings as (
    standing text,
    kind text,
    entry_kind text,
    external_id text,
    symbol text,
    position_side text,
    is_ahead boolean,
    is_young boolean,
    is_amiss boolean,
    their_quantity numeric,
    their_price numeric,
    their_realized_pnl numeric,
    their_amount numeric,
    fill_id bigint,
    entry_id bigint,
    from_number bigint,
    our_quantity numeric,
    our_price numeric,
    our_realized_pnl numeric,
    our_amount numeric
);

-- a position of the broker, valued by our quotes
create type recon.valuations as (
    symbol text,
    instrument_id bigint,
    position_side text,
    units numeric,
    cost numeric,
    theirs numeric,
    rate numeric,
    is_converted boolean,
    low numeric,
    high numeric,
    low_mid numeric,
    high_mid numeric,
    tight numeric,
    slack numeric,
    is_spread boolean,
    low_margin numeric,
    high_margin numeric,
    quoted_from timestamptz,
    is_stale boolean,
    priced_at timestamptz
);

create type recon.differences as (
    subject text,
    cause text,
    field text,
    symbol text,
    ours numeric,
    theirs numeric,
    difference numeric,
    unit text,
    message text,
    evidence jsonb,
    is_young boolean
);

create table recon.sightings (
    account_id bigint not null,
    subject text not null,
    first_seen_at timestamptz not null,
    constraint sightings_pkey primary key (account_id, subject),
    constraint sightings_account_fkey foreign key (account_id) references ledger.accounts
);

create table recon.discrepancies (
    discrepancy_id bigint generated always as identity,
    account_id bigint not null,
    subject text not null,
    cause text not null,
    severity text not null,
    field text not null,
    symbol text,
    ours numeric,
    theirs numeric,
    difference numeric,
    unit text not null,
    message text not null,
    evidence jsonb not null,
    status text not null default 'open',
    opened_at timestamptz not null,
    last_seen_at timestamptz not null,
    acknowledged_at timestamptz,
    acknowledged_by text,
    note text,
    escalated_at timestamptz,
    resolved_at timestamptz,
    resolution text,
    constraint discrepancies_pkey primary key (discrepancy_id),
    constraint discrepancies_account_fkey foreign key (account_id) references ledger.accounts,
    constraint cause_is_known check (
        cause in (
            'missing_fill', 'extra_fill', 'quantity', 'average_price', 'balance', 'financing',
            'price_side', 'conversion', 'stale_price', 'margin', 'unknown'
        )
    ),
    constraint severity_is_known check (severity in ('info', 'warning', 'critical')),
    constraint field_is_known check (
        field in (
            'quantity', 'average_price', 'balance', 'equity', 'unrealized_pnl', 'margin_used',
            'fill', 'entry'
        )
    ),
    constraint status_is_known check (status in ('open', 'acknowledged', 'resolved')),
    constraint resolved_has_its_instant check ((status = 'resolved') = (resolved_at is not null)),
    constraint acknowledged_has_its_instant check (
        status <> 'acknowledged' or acknowledged_at is not null
    ),
    constraint acknowledged_by_somebody check (
        (acknowledged_at is null) = (acknowledged_by is null)
    )
) with (fillfactor = 70);
create unique index discrepancies_lasting_key
    on recon.discrepancies (account_id, subject) where resolved_at is null;
create index discrepancies_account_idx
    on recon.discrepancies (account_id, discrepancy_id desc);
create index discrepancies_unseen_idx
    on recon.discrepancies (opened_at) where status = 'open' and escalated_at is null;

create table recon.alerts (
    alert_id bigint generated always as identity,
    kind text not null,
    subject text not null,
    severity text not null,
    status text not null default 'raised',
    title text not null,
    message text not null,
    account_ids bigint[] not null,
    discrepancy_id bigint,
    raised_at timestamptz not null,
    escalated_at timestamptz,
    resolved_at timestamptz,
    constraint alerts_pkey primary key (alert_id),
    constraint alerts_discrepancy_fkey
        foreign key (discrepancy_id) references recon.discrepancies,
    constraint alert_kind_is_known check (
        kind in ('discrepancy', 'reconciliation_stopped', 'broker_unreachable', 'test')
    ),
    constraint severity_is_known check (severity in ('info', 'warning', 'critical')),
    constraint status_is_known check (status in ('raised', 'escalated', 'resolved')),
    constraint resolved_has_its_instant check ((status = 'resolved') = (resolved_at is not null)),
    constraint alert_of_a_discrepancy_names_it check (
        (kind = 'discrepancy') = (discrepancy_id is not null)
    )
) with (fillfactor = 70);
create unique index alerts_lasting_key on recon.alerts (subject) where resolved_at is null;
create index alerts_discrepancy_idx on recon.alerts (discrepancy_id);

create table recon.alert_channels (
    channel_id bigint generated always as identity,
    name text not null,
    target text not null,
    min_severity text not null,
    quiet_from time,
    quiet_to time,
    time_zone text not null,
    is_enabled boolean not null,
    constraint alert_channels_pkey primary key (channel_id),
    constraint alert_channels_name_key unique (name),
    constraint min_severity_is_known check (min_severity in ('info', 'warning', 'critical')),
    constraint quiet_hours_have_both_ends check (num_nulls(quiet_from, quiet_to) in (0, 2)),
    constraint quiet_hours_are_not_empty check (quiet_from <> quiet_to)
);

create table recon.alert_deliveries (
    delivery_id bigint generated always as identity,
    alert_id bigint not null,
    channel_id bigint not null,
    occasion text not null,
    severity text not null,
    created_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null default clock_timestamp(),
    attempts int not null default 0,
    last_error text,
    delivered_at timestamptz,
    constraint alert_deliveries_pkey primary key (delivery_id),
    constraint alert_deliveries_occasion_key unique (alert_id, channel_id, occasion),
    constraint alert_deliveries_alert_fkey foreign key (alert_id) references recon.alerts,
    constraint alert_deliveries_channel_fkey
        foreign key (channel_id) references recon.alert_channels,
    constraint occasion_is_known check (occasion in ('raised', 'escalated', 'resolved')),
    constraint severity_is_known check (severity in ('info', 'warning', 'critical')),
    constraint attempts_not_negative check (attempts >= 0)
) with (fillfactor = 70);
create index alert_deliveries_due_idx
    on recon.alert_deliveries (due_at, delivery_id) where delivered_at is null;
"""


def upgrade() -> None:
    execute(SCHEMA)
    execute_as_owner(SQL)
