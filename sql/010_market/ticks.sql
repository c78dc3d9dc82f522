-- From tick to quote. The trigger that calls this stands in 030_equity, since one statement must
-- move the quotes and the accounts that are valued with them.

-- Tick statements follow one another: this lock is held to the end of the transaction.
create or replace function market.lock_tick_statements() returns void
language sql
set search_path = pg_catalog, pg_temp
return pg_advisory_xact_lock(hashtextextended('tidemark ticks', 0));

comment on function market.lock_tick_statements is
    'Waits until no other transaction moves quotes, and keeps others out until this one ends.';

-- Recomputes the rates of the pairs that are converted through these instruments and returns the
-- pairs that changed.
-- Locks: the rows of market.conversion_rates.
create or replace function market.move_conversion_rates(p_instrument_ids bigint[])
returns table (from_currency text, to_currency text)
language sql
set search_path = pg_catalog, pg_temp
as $$
    update market.conversion_rates c
    set rate = n.rate
    from market.computed_conversion_rates n
    where n.from_currency = c.from_currency and n.to_currency = c.to_currency
      and (n.first_instrument_id = any (p_instrument_ids)
           or n.second_instrument_id = any (p_instrument_ids))
      and n.rate is distinct from c.rate
    returning c.from_currency, c.to_currency;
$$;

comment on function market.move_conversion_rates is
    'Brings the conversion rates through these instruments up to their quotes; '
    'returns the pairs whose rate changed.';

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
