-- How one currency becomes another: through one instrument, direct or inverse, or through two that
-- share a pivot. Each pair of currencies has one path in force and the rate that its quotes give.

-- The rate of a path from the mids of its legs (null where a leg has no quote), rounded once to
-- 12 decimals. One that rounds to zero is unknown: nothing may be worth zero by it.
create or replace function market.path_rate(
    p_first_mid numeric,
    p_first_is_inverse boolean,
    p_second_mid numeric,
    p_second_is_inverse boolean
) returns numeric
language sql immutable parallel safe
return nullif(case
    when p_first_is_inverse is null then 1
    when p_second_is_inverse is null then case when p_first_is_inverse
        then market.round_div(1, p_first_mid, 12) else round(p_first_mid, 12) end
    else market.round_div(
        case when p_first_is_inverse then 1 else p_first_mid end
            * case when p_second_is_inverse then 1 else p_second_mid end,
        case when p_first_is_inverse then p_first_mid else 1 end
            * case when p_second_is_inverse then p_second_mid else 1 end,
        12
    )
end, 0);

comment on function market.path_rate is
    'Conversion rate of a path: mids of direct legs over mids of inverse legs, at 12 decimals; '
    '1 without legs.';

grant execute on function market.path_rate to public;

-- Every pair with the rate that its path has by the quotes of now: what the stored rate must equal.
create or replace view market.computed_conversion_rates as
select
    c.from_currency,
    c.to_currency,
    c.rate as stored_rate,
    market.path_rate(
        market.mid(first.bid, first.ask), c.first_is_inverse,
        market.mid(second.bid, second.ask), c.second_is_inverse
    ) as rate,
    c.first_instrument_id,
    c.second_instrument_id
from market.conversion_rates c
left join market.quotes first on first.instrument_id = c.first_instrument_id
left join market.quotes second on second.instrument_id = c.second_instrument_id;

comment on view market.computed_conversion_rates is
    'Stored conversion rates beside the ones that the current quotes give.';

-- A rate is as old as the oldest quote on its path, and goes stale with the first one that does.
create or replace view market.dated_conversion_rates as
select
    c.from_currency,
    c.to_currency,
    c.rate,
    least(first.event_at, second.event_at) as priced_at,
    least(
        first.event_at + first_leg.stale_after, second.event_at + second_leg.stale_after
    ) as fresh_until
from market.conversion_rates c
left join market.quotes first on first.instrument_id = c.first_instrument_id
left join market.instruments first_leg on first_leg.instrument_id = c.first_instrument_id
left join market.quotes second on second.instrument_id = c.second_instrument_id
left join market.instruments second_leg on second_leg.instrument_id = c.second_instrument_id;

comment on view market.dated_conversion_rates is
    'Conversion rates with the event time of the oldest quote on their path, and until when '
    'all of them are fresh; both null from a currency to itself.';

-- Paths with all legs quoted first, then the shortest, then direct before inverse, then the pivot
-- USD, EUR or the first by name.
create or replace function market.best_conversion_paths(p_quoted_ids bigint[])
returns setof market.conversion_paths
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with legs as (
        select base_currency as from_currency, quote_currency as to_currency,
               instrument_id, false as is_inverse, instrument_id = any (p_quoted_ids) as is_quoted
        from market.instruments
        union all
        select quote_currency, base_currency,
               instrument_id, true, instrument_id = any (p_quoted_ids)
        from market.instruments
    ),
    wanted as (
        select base_currency as from_currency from market.instruments
        union
        select quote_currency from market.instruments
    ),
    paths as (
        select from_currency, from_currency as to_currency,
               null::bigint as first_instrument_id, null::boolean as first_is_inverse,
               null::bigint as second_instrument_id, null::boolean as second_is_inverse,
               true as is_quoted, 0 as length, null as pivot
        from wanted
        union all
        select l.from_currency, l.to_currency, l.instrument_id, l.is_inverse, null, null,
               l.is_quoted, 1, null
        from legs l join wanted using (from_currency)
        union all
        select a.from_currency, b.to_currency,
               a.instrument_id, a.is_inverse, b.instrument_id, b.is_inverse,
               a.is_quoted and b.is_quoted, 2, a.to_currency
        from legs a join wanted using (from_currency)
        join legs b on b.from_currency = a.to_currency and b.to_currency <> a.from_currency
    )
    select distinct on (from_currency, to_currency)
        from_currency, to_currency,
        first_instrument_id, first_is_inverse, second_instrument_id, second_is_inverse
    from paths
    order by from_currency, to_currency, is_quoted desc, length,
             pivot is distinct from 'USD', pivot is distinct from 'EUR', pivot,
             first_is_inverse, second_is_inverse, first_instrument_id, second_instrument_id;
$$;

comment on function market.best_conversion_paths is
    'The conversion path of every pair of currencies, chosen among all instruments of which these '
    'have a quote.';

-- Chooses the path of every pair anew. Called when an instrument comes, or gets its first quote.
-- Pairs without a path any more go.
-- Locks: market.conversion_rates; the caller holds the lock of the prices.
create or replace function market.choose_conversion_paths() returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    with chosen as (
        select * from market.best_conversion_paths(
            array(select instrument_id from market.quotes where bid is not null)
        )
    ),
    gone as (
        delete from market.conversion_rates r
        where not exists (
            select from chosen n
            where n.from_currency = r.from_currency and n.to_currency = r.to_currency
        )
    )
    insert into market.conversion_rates as c (
        from_currency, to_currency,
        first_instrument_id, first_is_inverse, second_instrument_id, second_is_inverse, rate
    )
    select
        n.from_currency, n.to_currency,
        n.first_instrument_id, n.first_is_inverse, n.second_instrument_id, n.second_is_inverse,
        market.path_rate(
            market.mid(f.bid, f.ask), n.first_is_inverse,
            market.mid(s.bid, s.ask), n.second_is_inverse
        )
    from chosen n
    left join market.quotes f on f.instrument_id = n.first_instrument_id
    left join market.quotes s on s.instrument_id = n.second_instrument_id
    order by n.from_currency, n.to_currency
    on conflict (from_currency, to_currency) do update
    set first_instrument_id = excluded.first_instrument_id,
        first_is_inverse = excluded.first_is_inverse,
        second_instrument_id = excluded.second_instrument_id,
        second_is_inverse = excluded.second_is_inverse,
        rate = excluded.rate
    where (c.first_instrument_id, c.first_is_inverse,
           c.second_instrument_id, c.second_is_inverse, c.rate)
        is distinct from (excluded.first_instrument_id, excluded.first_is_inverse,
                          excluded.second_instrument_id, excluded.second_is_inverse, excluded.rate);
$$;

comment on function market.choose_conversion_paths is
    'Chooses the conversion path of every pair of currencies from the instruments and quotes that '
    'there are.';
comment on table market.conversion_rates is
    'For each pair of currencies the path in force (one instrument, or two through a pivot) '
    'and its rate at mid; rate is null while a leg has no quote.';
comment on column market.conversion_rates.rate is
    'Units of to_currency for one of from_currency, at 12 decimals.';
