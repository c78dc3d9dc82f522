-- What bars_by_ticks begins with.
create or replace view equity.curve_floats as
select c.account_id,
       round((c.performance + c.net_flow)::float8 * 10::float8 ^ s.money_scale) as equity
from equity.curves c join equity.account_states s using (account_id);

comment on view equity.curve_floats is
    'Equity where the curve of each account stands, in minor units of its currency.';

-- The bars of accounts to which nothing but ticks has happened: of most, most of the time. What a
-- position is worth is computed in floats, as equity.value_all_accounts does, where they are
-- certain to round as the exact value does; so are fractions. Prices come from arrays, in which a
-- class of legs has its instants one after another.
create or replace function equity.bars_by_ticks(
    p_from timestamptz,
    p_paths equity.priced_instants[],
    p_except bigint[],
    out bars equity.curve_bars[],
    out left_out bigint[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
set enable_hashagg = off
set enable_hashjoin = off
set enable_sort = off  -- as far as accounts already come in their order
set max_parallel_workers_per_gather = 0
set work_mem = '64MB'
as $$
declare
    v_first int[];
    v_last int[];
    v_instants bigint[];  -- second × 2^24 + number
    v_prices numeric[];
    v_factors numeric[];
    v_float_prices float8[];
    v_float_factors float8[];
    v_certain float8;  -- how near to a whole minor unit a float is certain
    v_all_are_thinned boolean;
    v_thinned bigint[];  -- account × 2^32 + second
    v_minor_units constant numeric[] := array(
        select ('1e-' || money_scale)::numeric from generate_series(0, 8) money_scale
    );
    v_is_one_second boolean;  -- then nothing is sorted by second
begin
    with points as materialized (
        select c.class_id, row_number() over (order by c.class_id, p.at)::int as place,
               dense_rank() over (order by p.at) as number,
               extract(epoch from
                   date_trunc('second', greatest(p.at, p_from)) - p_from
               )::int as second,
               p.price, f.factor, p.is_thinned, p.at > '-infinity' as is_move,
               1e-15 * f.factor::float8 * (
                   10::float8 ^ c.units_magnitude * p.price::float8 + 10::float8 ^ c.cost_magnitude
               ) as error
        from unnest(p_paths) p
        join equity.leg_classes c using (instrument_id, is_long, currency)
        cross join lateral (
            select p.rate * ('1e' || c.money_scale::text)::numeric as factor
        ) f
    ),
    bounds as (
        select class_id, min(place) + 1 as first, max(place) as last
        from points
        group by class_id
    )
    select array_agg((p.second::bigint << 24) + p.number order by place),
           array_agg(p.price order by place), array_agg(p.factor order by place),
           array_agg(p.price::float8 order by place), array_agg(p.factor::float8 order by place),
           (select array_agg(b.first order by b.class_id) from bounds b),
           (select array_agg(b.last order by b.class_id) from bounds b),
           0.499 - coalesce(max(p.error) filter (where p.error <= 0.002), 0),
           coalesce(bool_and(p.is_thinned) filter (where p.is_move), true),
           coalesce(max(p.second), 0) = 0
    into v_instants, v_prices, v_factors, v_float_prices, v_float_factors, v_first, v_last,
         v_certain, v_all_are_thinned, v_is_one_second
    from points p;

    if not v_all_are_thinned then
        v_thinned := array(
            select distinct (l.account_id << 32) + t.second
            from (
                select distinct instrument_id, is_long, currency,
                       extract(epoch from date_trunc('second', at) - p_from)::int as second
                from unnest(p_paths)
                where is_thinned
            ) t
            join equity.leg_classes c using (instrument_id, is_long, currency)
            join equity.legs l using (class_id)
        );
    end if;

    with moves as (
        select account_id, equity, v_instants[place] as instant,
               case when abs(value - round(value)) < v_certain then round(value)
                    else round((units * v_prices[place] - cost) * v_factors[place])::float8 end
               - case when abs(before - round(before)) < v_certain then round(before) else round(
                   (units * v_prices[place - 1] - cost) * v_factors[place - 1]
               )::float8 end as change
        from (
            select *,
                   (units_float * v_float_prices[place] - cost_float)
                       * v_float_factors[place] as value,
                   (units_float * v_float_prices[place - 1] - cost_float)
                       * v_float_factors[place - 1] as before
            from (
                select l.account_id, l.units, l.cost, l.units_float, l.cost_float,
                       c.equity, generate_series(v_first[l.class_id], v_last[l.class_id]) as place
                from equity.legs l
                join equity.curve_floats c using (account_id)
                where l.account_id <> all (p_except)
                order by l.account_id
            ) steps
            order by account_id
            offset 0  -- each value once
        ) valued
        order by account_id
        offset 0
    ),
    states as (
        select *, sum(change) over (partition by account_id order by instant) as gain from moves
    ),
    tops as (
        select *, max(gain) over (
            partition by account_id, case when not v_is_one_second then instant >> 24 end
            order by instant
        ) as top
        from states
    ),
    shapes as (
        select account_id, any_value(equity) as equity,
               case when v_is_one_second then 0 else min(instant) >> 24 end as second,
               min(gain) as low, max(gain) as high, sum(change) as change,
               max(top - gain) as fall, max((top - gain) / nullif(equity + top, 0)) as fall_pct
        from tops
        group by account_id, case when not v_is_one_second then instant >> 24 end
    ),
    placed as (
        select *, sum(change) over (partition by account_id order by second) as close,
               sum(change) over (partition by account_id order by second) - change as open
        from shapes
    ),
    bounded as (
        select account_id, second, close, open, equity,
               least(low, open) as low, greatest(high, open) as high,
               greatest(fall, open - low) as fall,
               greatest(fall_pct, (open - low) / nullif(equity + open, 0)) * 1e12 as fall_pct,
               min(least(low, open)) over (partition by account_id order by second) + equity
                   as low_equity
        from placed
    ),
    unclear as (
        select distinct account_id
        from bounded
        where abs(fall_pct - floor(fall_pct) - 0.5) <= 1e-15 * fall_pct and low_equity > 0
    )
    select array_agg(
               row(
                   b.account_id, p_from + b.second * interval '1 second', 0,
                   c.performance + b.open::bigint * v_minor_units[s.money_scale + 1],
                   c.performance + b.high::bigint * v_minor_units[s.money_scale + 1],
                   c.performance + b.low::bigint * v_minor_units[s.money_scale + 1],
                   c.performance + b.close::bigint * v_minor_units[s.money_scale + 1],
                   c.balance, c.net_flow,
                   case when b.low_equity > 0 then c.base_index end,
                   case when b.low_equity > 0 then c.base_equity end,
                   b.fall::bigint * v_minor_units[s.money_scale + 1],
                   case when b.low_equity > 0 and c.base_index is not null
                       then round(b.fall_pct)::bigint * 0.000000000001 end,
                   true,
                   v_all_are_thinned or (b.account_id << 32) + b.second = any (v_thinned)
               )::equity.curve_bars
           ) filter (where u.account_id is null and b.high <> b.low),
           array_agg(distinct u.account_id) filter (where u.account_id is not null)
    into bars, left_out
    from bounded b
    join equity.curves c using (account_id)
    join equity.account_states s using (account_id)
    left join unclear u using (account_id);
end
$$;

comment on function equity.bars_by_ticks is
    'The bars of all accounts but some, to which nothing but ticks has happened since p_from, and '
    'the accounts that it has left out since floats do not tell what they round to.';

-- Accounts of which more than ticks must be known to close their bars: with bookings from then on,
-- a position without a price, or amounts that floats do not hold.
create or replace function equity.accounts_with_more_than_ticks(
    p_from timestamptz, p_paths equity.priced_instants[]
) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select account_id from ledger.fills where event_at >= p_from
        union
        select account_id from ledger.entries where event_at >= p_from
        union
        select c.account_id
        from equity.curves c
        where c.unpriced_positions > 0 or abs(c.performance) + abs(c.net_flow) >= 1e6
            and abs(c.performance) + abs(c.net_flow) >= 1e15 * (
                select ('1e-' || s.money_scale::text)::numeric
                from equity.account_states s
                where s.account_id = c.account_id
            )
        union
        select account_id from equity.legs where class_id is null
        union
        select l.account_id
        from equity.leg_classes c
        join equity.legs l using (class_id)
        where c.class_id in (
            select k.class_id
            from equity.leg_classes k
            left join unnest(p_paths) p using (instrument_id, is_long, currency)
            group by k.class_id
            having bool_or(
                p.price is null or p.rate is null or 1e-15
                    * ('1e' || k.money_scale::text)::float8 * p.rate::float8 * (
                        10::float8 ^ k.units_magnitude * p.price::float8
                        + 10::float8 ^ k.cost_magnitude
                    ) > 0.002
            )
        )
    );
end
$$;

comment on function equity.accounts_with_more_than_ticks is
    'The accounts whose bars from p_from on bars_of_accounts computes.';
