-- Quotes and conversion paths as they were before a moment, from ticks alone.

create or replace function market.quotes_before(p_at timestamptz, p_instrument_ids bigint[])
returns table (instrument_id bigint, bid numeric, ask numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select i.id, t.bid, t.ask
    from unnest(p_instrument_ids) i (id)
    cross join lateral (
        select k.bid, k.ask
        from market.ticks k
        where k.instrument_id = i.id and k.event_at < p_at
        order by k.event_at desc, k.tick_id desc
        limit 1
    ) t;
end
$$;

comment on function market.quotes_before is
    'The newest tick of each of these instruments with an event time before a moment.';

-- The paths in force are the answer while the same instruments have a quote.
create or replace function market.conversion_paths_among(p_quoted_ids bigint[])
returns setof market.conversion_paths
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if array(select instrument_id from market.quotes where bid is not null order by instrument_id)
        = array(select id from unnest(p_quoted_ids) id order by id) then
        return query
        select from_currency, to_currency,
               first_instrument_id, first_is_inverse, second_instrument_id, second_is_inverse
        from market.conversion_rates;
    else
        return query select * from market.best_conversion_paths(p_quoted_ids);
    end if;
end
$$;

comment on function market.conversion_paths_among is
    'The conversion path of every pair of currencies when these instruments have a quote.';
