-- What bars_by_ticks begins with.
create or replace view equity.curve_floats as
select c.account_id,
       round((c.performance + c.net_flow)::float8 * 10::float8 ^ s.money_scale) as equity
from equity.curves c join equity.account_states s using (account_id);

comment on view equity.curve_floats is
    'Equity where the curve of each account stands, in minor units of its currency.';

-- What changes of equity, one after another, come to: {high, low, deepest fall, the same as a
-- fraction of the equity fallen from}. Each top is settled when the next one comes, and the last by
-- a change to infinity.
create or replace function equity.shape_of_changes(p_equity float8, p_changes float8[])
returns float8[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_equity float8 := p_equity;
    v_change float8;
    v_top float8 := p_equity;
    v_bottom float8 := p_equity;  -- since the top
    v_high float8;
    v_low float8 := p_equity;
    v_fall float8 := 0;
    v_fall_pct float8 := 0;
begin
    foreach v_change in array p_changes || 'infinity'::float8 loop
        v_equity := v_equity + v_change;
        if v_equity < v_bottom then
            v_bottom := v_equity;
        elsif v_equity > v_top then
            v_high := v_top;
            if v_bottom < v_top then
                v_low := least(v_low, v_bottom);
                v_fall := greatest(v_fall, v_top - v_bottom);
                v_fall_pct := greatest(v_fall_pct, (v_top - v_bottom) / nullif(v_top, 0));
            end if;
            v_top := v_equity;
            v_bottom := v_equity;
        end if;
    end loop;
    return array[v_high, v_low, v_fall, v_fall_pct];
end
$$;

comment on function equity.shape_of_changes is
    'High, low, deepest fall and deepest fall as a fraction of equity that changes step by step.';

-- Accounts of which more than ticks must be known to close their bars: with bookings from then on,
-- a position without a price, or amounts that floats do not hold.
create or replace function equity.accounts_with_more_than_ticks(
    p_from timestamptz, p_paths equity.priced_instants[]
) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_hashagg = on  -- whatever bars_by_ticks does without
set enable_hashjoin = on
set enable_nestloop = on
set enable_sort = on
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

-- The bars of accounts to which nothing but ticks has happened: of most, most of the time. What a
-- position is worth is computed in floats, as equity.value_all_accounts does, where they are
-- certain to round as the exact value does; so are fractions. Prices come from arrays, in which a
-- class of legs has its instants one after another.
create or replace function equity.bars_by_ticks(
    p_from timestamptz,
    p_paths equity.priced_instants[],
    out bars equity.curve_bars[],
    out left_out bigint[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
set enable_hashagg = off
set enable_hashjoin = off
set enable_nestloop = off
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

    -- In the snapshot of the legs: a fill that is committed now changes them.
    with others as materialized (
        select unnest(equity.accounts_with_more_than_ticks(p_from, p_paths)) as account_id
        order by account_id
    ),
    moves as (
        select account_id, v_instants[place] as instant,
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
                select account_id, units, cost, units_float, cost_float,
                       generate_series(v_first[class_id], v_last[class_id]) as place
                from equity.legs l
                where not exists (select from others o where o.account_id = l.account_id)
                order by account_id
            ) steps
            order by account_id
            offset 0  -- each value once
        ) valued
        order by account_id
        offset 0
    ),
    instants as (
        select account_id, instant, sum(change) as change
        from moves
        group by account_id, instant
    ),
    seconds as (
        select account_id, case when v_is_one_second then 0 else min(instant) >> 24 end as second,
               array_agg(change order by instant) as changes, sum(change) as change
        from instants
        group by account_id, case when not v_is_one_second then instant >> 24 end
    ),
    placed as (
        select s.account_id, s.second, s.change, s.changes, c.equity as base,
               c.equity + sum(s.change) over (partition by s.account_id order by s.second)
                   as equity
        from seconds s join equity.curve_floats c using (account_id)
    ),
    shapes as (
        select account_id, second, base, equity - change as open, equity as close,
               equity.shape_of_changes(equity - change, changes) as shape
        from placed
        offset 0
    ),
    bounded as (
        select account_id, second, open - base as open, close - base as close,
               shape[1] - base as high, shape[2] - base as low, shape[3] as fall,
               shape[4] * 1e12 as fall_pct,
               min(shape[2]) over (partition by account_id order by second) > 0 as is_indexed
        from shapes
    ),
    judged as (
        select *, bool_or(
            is_indexed and abs(fall_pct - floor(fall_pct) - 0.5) <= 1e-15 * fall_pct
        ) over (partition by account_id) as is_unclear
        from bounded
    )
    select array_agg(
               row(
                   b.account_id, p_from + b.second * interval '1 second', 0,
                   c.performance + b.open::bigint * v_minor_units[s.money_scale + 1],
                   c.performance + b.high::bigint * v_minor_units[s.money_scale + 1],
                   c.performance + b.low::bigint * v_minor_units[s.money_scale + 1],
                   c.performance + b.close::bigint * v_minor_units[s.money_scale + 1],
                   c.balance, c.net_flow,
                   case when b.is_indexed then c.base_index end,
                   case when b.is_indexed then c.base_equity end,
                   b.fall::bigint * v_minor_units[s.money_scale + 1],
                   case when b.is_indexed and c.base_index is not null
                       then round(b.fall_pct)::bigint * 0.000000000001 end,
                   true,
                   v_all_are_thinned or (b.account_id << 32) + b.second = any (v_thinned)
               )::equity.curve_bars
           ) filter (where not b.is_unclear and b.high <> b.low),
           array(select o.account_id from others o)
               || array_agg(distinct b.account_id) filter (where b.is_unclear)
    into bars, left_out
    from judged b
    join equity.curves c using (account_id)
    join equity.account_states s using (account_id);
end
$$;

comment on function equity.bars_by_ticks is
    'The bars of all accounts to which nothing but ticks has happened since p_from, and the '
    'accounts left out: the others, and those of which floats do not tell what they round to.';
