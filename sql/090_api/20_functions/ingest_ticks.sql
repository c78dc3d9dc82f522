-- Stores ticks: those that can be true in market.ticks, others in market.rejected_ticks. With
-- offsets, the partition's stored offset moves in the same transaction, so each tick counts once.
-- Locks: tick statements, the partition's row of market.ingest_offsets, then as tg_value_ticks.
-- Notifies: tidemark_prices. Raises: TM141 isolation level, TM142 after a booking, TM201 the first
-- offset is not the stored one, TM202 arguments do not fit together.
create or replace function api.ingest_ticks(
    p_symbols text[],
    p_event_at timestamptz[],
    p_bids numeric[],
    p_asks numeric[],
    p_cluster text default null,
    p_topic text default null,
    p_partition int default null,
    p_first_offset bigint default null,
    p_next_offset bigint default null,
    p_sources text[] default null,
    p_messages text[] default null,
    p_topic_id text default null,
    out accepted bigint,
    out rejected bigint
)
language plpgsql
security definer  -- callers may feed ticks, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
begin
    if cardinality(p_symbols) is distinct from cardinality(p_event_at)
        or cardinality(p_symbols) is distinct from cardinality(p_bids)
        or cardinality(p_symbols) is distinct from cardinality(p_asks)
        or cardinality(p_symbols) <> cardinality(p_sources)
        or cardinality(p_symbols) <> cardinality(p_messages)
        or cardinality(p_symbols) is null then
        raise exception 'columns of the batch differ in length'
            using errcode = 'TM202',
                  detail = format(
                      'symbols: %s, event_at: %s, bids: %s, asks: %s, sources: %s, messages: %s',
                      cardinality(p_symbols), cardinality(p_event_at), cardinality(p_bids),
                      cardinality(p_asks), cardinality(p_sources), cardinality(p_messages)
                  ),
                  hint = 'Pass arrays of one length; sources and messages may be null.';
    end if;
    if num_nulls(p_cluster, p_topic, p_partition, p_first_offset, p_next_offset) between 1 and 4
        or p_first_offset < 0 or p_next_offset < p_first_offset then
        raise exception 'offsets of the batch are not usable'
            using errcode = 'TM202',
                  detail = format('cluster: %s, topic: %s, partition: %s, first: %s, next: %s',
                                  p_cluster, p_topic, p_partition, p_first_offset, p_next_offset),
                  hint = 'Pass all five or none; next is the offset after the batch''s last one.';
    end if;

    -- before the insert locks the table: an upgrade of the schema takes the two in this order, too
    perform market.lock_tick_statements();
    if p_cluster is not null then
        perform market.move_offset(
            p_cluster, p_topic, p_partition, p_first_offset, p_next_offset, p_topic_id
        );
    end if;

    with batch as (
        select b.*, i.instrument_id,
               b.event_at > clock_timestamp() + interval '1 minute' as is_in_future
        from unnest(
            p_symbols, p_event_at, p_bids, p_asks,
            coalesce(p_sources, '{}'), coalesce(p_messages, '{}')
        ) with ordinality b (symbol, event_at, bid, ask, source, message, place)
        left join market.instruments i using (symbol)
    ),
    judged as materialized (
        select *, case
            when symbol is null then 'symbol is missing or unreadable'
            when event_at is null then 'time is missing or unreadable'
            when bid is null or ask is null then 'price is missing or unreadable'
            when message is not null then 'message is unreadable'
            when instrument_id is null then 'unknown symbol'
            when not isfinite(event_at) then 'time is not finite'
            when is_in_future then 'time is in the future'
            when event_at < '1970-01-01' then 'time is before 1970'
            when 'NaN' in (bid, ask) or 'Infinity' in (bid, ask) or '-Infinity' in (bid, ask)
                then 'price is not finite'
            when bid <= 0 or ask <= 0 then 'price is not positive'
            when bid > ask then 'bid is above ask'
            when ask >= 1e15 then 'price is out of range'
            when min_scale(bid) > 10 or min_scale(ask) > 10 then 'price has more than 10 decimals'
        end as reason
        from batch
    ),
    stored as (
        insert into market.ticks (event_at, instrument_id, bid, ask)
        select event_at, instrument_id, bid, ask from judged where reason is null order by place
        returning 1
    ),
    refused as (
        insert into market.rejected_ticks (symbol, event_at, bid, ask, reason, source, message)
        select symbol, event_at, bid, ask, reason, source, message
        from judged
        where reason is not null
        order by place
        returning 1
    )
    select (select count(*) from stored), (select count(*) from refused) into accepted, rejected;
end
$$;

comment on function api.ingest_ticks is
    'Stores ticks (prices in quote currency) and returns how many were accepted and rejected; '
    'with cluster, topic, partition and offsets each offset counts once.';

grant execute on function api.ingest_ticks to tidemark_ingest;
