create or replace view api.instruments as
select symbol, base_currency, quote_currency, margin_rate, contract_size, instrument_id,
       stale_after
from market.instruments;

comment on view api.instruments is
    'What can be traded; api.upsert_instrument makes or changes one.';
comment on column api.instruments.margin_rate is
    'Margin as a fraction of the value: 0.0333 is 3.33 %.';
comment on column api.instruments.contract_size is 'Base units in a quantity of one.';
comment on column api.instruments.stale_after is 'Age from which its quote is stale.';
comment on column api.instruments.instrument_id is 'What market.ticks names the instrument by.';

create or replace view api.quotes as
select i.symbol, q.bid, q.ask, q.event_at, q.received_at
from market.quotes q
join market.instruments i using (instrument_id)
where q.bid is not null;

comment on view api.quotes is 'The newest price of each instrument, by event time.';
comment on column api.quotes.event_at is 'When the price was made.';
comment on column api.quotes.received_at is 'When it reached the database.';

create or replace view api.ticks as
select i.symbol, t.event_at, t.bid, t.ask, t.received_at, t.tick_id
from market.ticks t
join market.instruments i using (instrument_id);

comment on view api.ticks is
    'Every accepted tick; api.ingest_ticks (or an insert into market.ticks) adds them.';
comment on column api.ticks.tick_id is 'Order of arrival.';

create or replace view api.rejected_ticks as
select symbol, event_at, bid, ask, reason, received_at, source, message
from market.rejected_ticks;

comment on view api.rejected_ticks is 'Ticks that were kept out, with the reason.';
comment on column api.rejected_ticks.reason is 'Why it was kept out.';
comment on column api.rejected_ticks.source is
    'Where it came from: topic/partition@offset, or file:line.';
comment on column api.rejected_ticks.message is
    'What was received, where it could not be read as a tick.';

create or replace view api.conversion_rates as
select
    c.from_currency,
    c.to_currency,
    c.rate,
    array_remove(array[first.symbol, second.symbol], null) as path
from market.conversion_rates c
left join market.instruments first on first.instrument_id = c.first_instrument_id
left join market.instruments second on second.instrument_id = c.second_instrument_id;

comment on view api.conversion_rates is
    'Rates at mid, 12 decimals, with the instruments that each goes through; '
    'null until they are all quoted.';

comment on column api.conversion_rates.rate is
    'Units of to_currency for one of from_currency.';
comment on column api.conversion_rates.path is
    'The symbols that it goes through; none from a currency to itself.';

create or replace view api.ingest_offsets as
select cluster_id, topic, partition, next_offset, updated_at, topic_id
from market.ingest_offsets;

comment on view api.ingest_offsets is
    'Where each topic partition continues; it moves in the transaction that stores the ticks.';

comment on column api.ingest_offsets.next_offset is
    'The first offset that is not stored yet.';

comment on column api.ingest_offsets.topic_id is
    'The topic''s id, which differs when it is made anew; null where the broker gives none.';

grant select on
    api.instruments, api.quotes, api.ticks, api.rejected_ticks,
    api.conversion_rates, api.ingest_offsets
    to tidemark_trading, tidemark_reconcile, tidemark_readonly, tidemark_ingest;
