-- What moves the price or the conversion rate of a position in one stretch of time, for every kind
-- of position: each instant with the price and rate from there on. Ticks of an instrument are
-- thinned second by second.
create or replace function equity.price_paths(
    p_from timestamptz, p_to timestamptz, p_instrument_ids bigint[], p_currencies text[]
)
returns setof equity.priced_instants
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
    return query
    with settings as (
        select max_instants from equity.curve_settings
    ),
    happened as materialized (  -- of ticks at one instant the last to arrive
        select i.id as instrument_id, date_trunc('second', t.at) as second, t.at, t.bid, t.ask
        from unnest(p_instrument_ids) i (id)
        cross join lateral (
            select distinct on (k.event_at) k.event_at as at, k.bid, k.ask
            from market.ticks k
            where k.instrument_id = i.id and k.event_at >= p_from and k.event_at < p_to
            order by k.event_at desc, k.tick_id desc
        ) t
    ),
    seconds as (
        select instrument_id, second, max(at) as last_at,
               min(bid) as low_bid, max(bid) as high_bid, min(ask) as low_ask, max(ask) as high_ask
        from happened
        group by instrument_id, second
        having count(*) > (select max_instants from settings)
    ),
    representatives as materialized (
        select instrument_id, second, last_at,
               min(at) filter (where bid = low_bid) as low_bid_at,
               min(at) filter (where bid = high_bid) as high_bid_at,
               min(at) filter (where ask = low_ask) as low_ask_at,
               min(at) filter (where ask = high_ask) as high_ask_at
        from seconds join happened using (instrument_id, second)
        group by instrument_id, second, last_at
    ),
    quotes as materialized (
        select q.instrument_id, q.at,
               lead(q.at, 1, 'infinity') over (partition by q.instrument_id order by q.at) as until,
               q.bid, q.ask, q.is_thinned
        from (
            select instrument_id, '-infinity'::timestamptz as at, bid, ask, false as is_thinned
            from market.quotes_before(p_from, p_instrument_ids)
            union all
            select h.instrument_id, h.at, h.bid, h.ask, r.second is not null
            from happened h left join representatives r using (instrument_id, second)
            where r.second is null or h.at in (
                r.last_at, r.low_bid_at, r.high_bid_at, r.low_ask_at, r.high_ask_at
            )
        ) q
    ),
    eras as (  -- the first tick of an instrument may change the path of any conversion
        select e.at, lead(e.at, 1, 'infinity') over (order by e.at) as until
        from (
            select '-infinity'::timestamptz as at
            union
            select min(q.at) from quotes q group by q.instrument_id
        ) e
    ),
    paths as materialized (
        select p.*, e.at, e.until
        from eras e
        cross join lateral market.conversion_paths_among(
            array(select distinct q.instrument_id from quotes q where q.at <= e.at)
        ) p
        where p.to_currency = any (p_currencies)
          and p.from_currency in (
              select i.quote_currency
              from market.instruments i
              where i.instrument_id = any (p_instrument_ids)
          )
    ),
    rate_instants as (
        select p.from_currency, p.to_currency, p.at from paths p
        union
        select p.from_currency, p.to_currency, greatest(q.at, p.at)
        from paths p
        cross join lateral (values (p.first_instrument_id), (p.second_instrument_id)) l (id)
        join quotes q on q.instrument_id = l.id and q.at < p.until and q.until > p.at
    ),
    rates as materialized (
        select n.from_currency, n.to_currency, n.at,
               lead(n.at, 1, 'infinity') over (
                   partition by n.from_currency, n.to_currency order by n.at
               ) as until,
               market.path_rate(
                   market.mid(f.bid, f.ask), p.first_is_inverse,
                   market.mid(s.bid, s.ask), p.second_is_inverse
               ) as rate,
               coalesce(f.is_thinned and date_trunc('second', f.at) = t.second, false)
               or coalesce(s.is_thinned and date_trunc('second', s.at) = t.second, false)
                   as is_thinned
        from rate_instants n
        cross join lateral (select date_trunc('second', n.at) as second) t
        join paths p
            on p.from_currency = n.from_currency and p.to_currency = n.to_currency
            and n.at >= p.at and n.at < p.until
        left join quotes f
            on f.instrument_id = p.first_instrument_id and n.at >= f.at and n.at < f.until
        left join quotes s
            on s.instrument_id = p.second_instrument_id and n.at >= s.at and n.at < s.until
    ),
    instants as (
        select i.instrument_id, i.quote_currency, c.currency, '-infinity'::timestamptz as at
        from market.instruments i cross join unnest(p_currencies) c (currency)
        where i.instrument_id = any (p_instrument_ids)
        union
        select i.instrument_id, i.quote_currency, c.currency, q.at
        from quotes q
        join market.instruments i using (instrument_id)
        cross join unnest(p_currencies) c (currency)
        union
        select i.instrument_id, r.from_currency, r.to_currency, r.at
        from rates r
        join market.instruments i on i.quote_currency = r.from_currency
        where i.instrument_id = any (p_instrument_ids)
    ),
    priced as (
        select n.instrument_id, n.currency, n.at, q.bid, q.ask, r.rate,
               (coalesce(q.is_thinned, false) and date_trunc('second', q.at) = t.second)
               or (coalesce(r.is_thinned, false) and r.rate is not null
                   and date_trunc('second', r.at) = t.second)
               as is_thinned
        from instants n
        cross join lateral (select date_trunc('second', n.at) as second) t
        left join quotes q
            on q.instrument_id = n.instrument_id and n.at >= q.at and n.at < q.until
        left join rates r
            on r.from_currency = n.quote_currency and r.to_currency = n.currency
            and n.at >= r.at and n.at < r.until
    )
    select p.instrument_id, side.is_long, p.currency, p.at,
           lead(p.at, 1, 'infinity') over path,
           case when side.is_long then p.bid else p.ask end, p.rate,
           lag(case when side.is_long then p.bid else p.ask end) over path,
           lag(p.rate) over path,
           bool_or(p.is_thinned) over (
               partition by p.instrument_id, p.currency, side.is_long, date_trunc('second', p.at)
           )
    from priced p
    cross join (values (true), (false)) side (is_long)
    window path as (partition by p.instrument_id, p.currency, side.is_long order by p.at);
end
$$;

comment on function equity.price_paths is
    'For both sides of each instrument in each account currency: price and conversion rate from '
    'instant to instant, before and after each, with those before p_from at -infinity.';
