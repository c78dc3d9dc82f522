"""market: instruments, ticks, quotes, conversion rates, and where each topic partition stands."""

from glue.migrate import execute_as_owner

revision = "0002_market"
down_revision = "0001_foundation"

SQL = """
create table market.instruments (
    instrument_id bigint generated always as identity,
    symbol text not null,
    base_currency text not null,
    quote_currency text not null,
    margin_rate numeric not null,
    contract_size numeric not null,
    created_at timestamptz not null default now(),
    constraint instruments_pkey primary key (instrument_id),
    constraint instruments_symbol_key unique (symbol),
    constraint symbol_is_one_word check (symbol ~ '^[^[:space:]]{1,32}$'),
    constraint base_currency_is_code check (base_currency ~ '^[A-Z][A-Z0-9]{2,11}$'),
    constraint quote_currency_is_code check (quote_currency ~ '^[A-Z][A-Z0-9]{2,11}$'),
    constraint currencies_differ check (base_currency <> quote_currency),
    constraint margin_rate_is_fraction check (margin_rate between 0 and 1),
    constraint contract_size_is_in_range check (contract_size > 0 and contract_size < 1e15),
    constraint contract_size_has_declared_digits check (min_scale(contract_size) <= 8)
);

create table market.ticks (
    event_at timestamptz not null,
    received_at timestamptz not null default clock_timestamp(),
    tick_id bigint generated always as identity,
    instrument_id bigint not null,
    bid numeric not null,
    ask numeric not null,
    constraint bid_is_positive check (bid > 0),
    constraint bid_not_above_ask check (bid <= ask),
    constraint ask_is_in_range check (ask < 1e15),
    constraint price_has_declared_digits check (min_scale(bid) <= 10 and min_scale(ask) <= 10)
);
select public.create_hypertable(
    'market.ticks',
    public.by_range('event_at', interval '1 day'),
    create_default_indexes => false
);
create index ticks_instrument_event_idx
    on market.ticks (instrument_id, event_at desc, tick_id desc);

create table market.rejected_ticks (
    rejected_tick_id bigint generated always as identity,
    symbol text,
    event_at timestamptz,
    bid numeric,
    ask numeric,
    reason text not null,
    source text,
    message text,
    received_at timestamptz not null default clock_timestamp(),
    constraint rejected_ticks_pkey primary key (rejected_tick_id)
);

create table market.quotes (
    instrument_id bigint not null,
    bid numeric,
    ask numeric,
    event_at timestamptz,
    received_at timestamptz,
    tick_id bigint,
    constraint quotes_pkey primary key (instrument_id),
    constraint quotes_instrument_fkey foreign key (instrument_id) references market.instruments,
    constraint quote_is_whole_or_absent check (
        num_nulls(bid, ask, event_at, received_at, tick_id) in (0, 5)
    )
) with (fillfactor = 50);

create table market.conversion_rates (
    from_currency text not null,
    to_currency text not null,
    first_instrument_id bigint,
    first_is_inverse boolean,
    second_instrument_id bigint,
    second_is_inverse boolean,
    rate numeric,
    constraint conversion_rates_pkey primary key (from_currency, to_currency),
    constraint conversion_rates_first_fkey
        foreign key (first_instrument_id) references market.instruments,
    constraint conversion_rates_second_fkey
        foreign key (second_instrument_id) references market.instruments,
    constraint first_leg_comes_first check (
        first_instrument_id is not null or second_instrument_id is null
    ),
    constraint leg_has_direction check (
        num_nulls(first_instrument_id, first_is_inverse) in (0, 2)
        and num_nulls(second_instrument_id, second_is_inverse) in (0, 2)
    ),
    constraint rate_is_positive check (rate > 0 and rate < 'Infinity')
) with (fillfactor = 50);

create table market.ingest_offsets (
    cluster_id text not null,
    topic text not null,
    partition int not null,
    next_offset bigint not null,
    updated_at timestamptz not null,
    topic_id text,
    constraint ingest_offsets_pkey primary key (cluster_id, topic, partition),
    constraint next_offset_not_negative check (next_offset >= 0)
);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
