-- From tick to quote. The trigger that calls this stands in 030_equity, since one statement must
-- move the quotes and the accounts that are valued with them.

-- Locks: the rows of market.quotes; the caller holds the lock of tick statements.
create or replace function market.move_quotes(p_quotes market.quotes[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update market.quotes q
    set bid = n.bid, ask = n.ask,
        event_at = n.event_at, received_at = n.received_at, tick_id = n.tick_id
    from unnest(p_quotes) n
    where q.instrument_id = n.instrument_id;
end
$$;

comment on function market.move_quotes is 'Puts these quotes in the place of the ones before.';

-- Locks: the rows of market.conversion_rates; the caller holds the lock of tick statements.
create or replace function market.move_conversion_rates(
    p_instrument_ids bigint[], out came_or_went boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    with computed as materialized (  -- each rate once
        select from_currency, to_currency, stored_rate, rate
        from market.computed_conversion_rates
        where first_instrument_id = any (p_instrument_ids)
           or second_instrument_id = any (p_instrument_ids)
    ),
    moved as (
        update market.conversion_rates c
        set rate = n.rate
        from computed n
        where n.from_currency = c.from_currency and n.to_currency = c.to_currency
          and n.rate is distinct from n.stored_rate
        returning (n.rate is null) <> (n.stored_rate is null) as came_or_went
    )
    select coalesce(bool_or(m.came_or_went), false) into came_or_went from moved m;
end
$$;

comment on function market.move_conversion_rates is
    'Brings the conversion rates through these instruments up to their quotes, and says whether '
    'one has become known or unknown.';

comment on table market.ticks is
    'Every tick that was accepted, late ones too, numbered in the order of arrival. '
    'An insert moves quotes and values accounts.';
comment on column market.ticks.event_at is 'When the price was made.';
comment on column market.ticks.received_at is 'When it reached the database.';
comment on column market.ticks.tick_id is 'Order of arrival.';
comment on table market.quotes is
    'The newest tick of each instrument, by event time and then order of arrival; '
    'all null before the first one.';
comment on table market.rejected_ticks is
    'Ticks that cannot be true or could not be read, with the reason.';
comment on table market.ingest_offsets is
    'The offset that each topic partition continues at, stored in the transaction that stored the '
    'ticks before it.';
comment on table market.instruments is
    'What can be traded; quantities are in base units times contract_size.';
comment on column market.instruments.margin_rate is
    'Margin as a fraction of the position''s value: 0.0333 is 3.33 %.';
comment on column market.instruments.stale_after is
    'Age from which the instrument''s quote is stale.';
