-- The curve logger: from ticks, fills and entries to bars. (Component 17.4.) What a bar is stands
-- in docs/equity-curve.md. Lock order: the curve's lock → tick statements → prices.

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

-- The index base of a bar after the one before it: {base index, base equity}, nulls where unknown.
create or replace function equity.follow_index(
    p_state numeric[],
    p_start numeric[],
    p_begins_with_flow boolean,
    p_equity_before numeric,
    p_equity_after numeric,
    p_low_equity numeric
) returns numeric[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_base numeric[] := coalesce(p_state, p_start);
begin
    if p_begins_with_flow then
        v_base := case
            when p_equity_after > 0 then array[
                case when v_base[1] is null then 1
                     else market.round_div(v_base[1] * p_equity_before, v_base[2], 12) end,
                p_equity_after
            ]
            else array[null, null]::numeric[]
        end;
    end if;
    return case when p_low_equity <= 0 then array[null, null]::numeric[] else v_base end;
end
$$;

comment on function equity.follow_index is 'The state of index_base after one more bar.';

create or replace aggregate equity.index_base(numeric[], boolean, numeric, numeric, numeric) (
    sfunc = equity.follow_index, stype = numeric[]
);

comment on aggregate equity.index_base(numeric[], boolean, numeric, numeric, numeric) is
    'Base of the growth index after bars in their order: the base before them, and of each bar '
    'whether it begins with a flow, equity before and after that, and its lowest equity.';

-- The bars of these accounts, whatever has happened to them, and where they stand afterwards.
-- Locks: equity.curves; the caller holds the curve's lock.
create or replace function equity.bars_of_accounts(
    p_from timestamptz,
    p_to timestamptz,
    p_paths equity.priced_instants[],
    p_account_ids bigint[]
) returns equity.curve_bars[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $$
declare
    v_bars equity.curve_bars[];
begin
    with accounts as materialized (
        select account_id, currency, money_scale
        from ledger.accounts
        where account_id = any (p_account_ids)
    ),
    paths as materialized (
        select * from unnest(p_paths)
    ),
    later_fills as materialized (
        select account_id, instrument_id, position_side, event_at as at,
               sum(quantity_change) as quantity, sum(cost_change) as cost
        from ledger.fills
        where event_at >= p_from and account_id = any (p_account_ids)
        group by account_id, instrument_id, position_side, event_at
    ),
    traded as materialized (
        select account_id, instrument_id, position_side,
               sum(quantity) as quantity, sum(cost) as cost
        from later_fills
        group by account_id, instrument_id, position_side
    ),
    steps as (
        select account_id, instrument_id, position_side, '-infinity'::timestamptz as since,
               coalesce(p.quantity, 0) - t.quantity as quantity,
               coalesce(p.cost, 0) - t.cost as cost
        from traded t
        left join ledger.positions p using (account_id, instrument_id, position_side)
        union all
        select account_id, instrument_id, position_side, at, quantity, cost
        from later_fills
        where at < p_to
    ),
    positions as materialized (  -- as they were, each from one fill to the next
        select account_id, instrument_id, quantity, cost,
               '-infinity'::timestamptz as since, 'infinity'::timestamptz as until
        from ledger.positions p
        where account_id = any (p_account_ids)
          and not exists (
              select from traded t
              where t.account_id = p.account_id and t.instrument_id = p.instrument_id
                and t.position_side = p.position_side
          )
        union all
        select account_id, instrument_id, sum(quantity) over position, sum(cost) over position,
               since, lead(since, 1, 'infinity') over position
        from steps
        window position as (
            partition by account_id, instrument_id, position_side order by since
        )
    ),
    legs as (
        select p.account_id, p.instrument_id, p.quantity > 0 as is_long, a.currency, a.money_scale,
               p.quantity * i.contract_size as units, p.cost, p.since, p.until
        from positions p
        join accounts a using (account_id)
        join market.instruments i using (instrument_id)
        where p.quantity <> 0 or p.cost <> 0  -- cost alone: a late fill released what came after
    ),
    leg_moves as (
        select l.account_id, greatest(w.at, l.since) as at,
               w.is_thinned and l.since = '-infinity' and l.until = 'infinity' as is_thinned,
               equity.to_account_currency(l.units * w.price - l.cost, w.rate, l.money_scale)
                   as value,
               case when w.at > l.since then equity.to_account_currency(
                   l.units * w.price_before - l.cost, w.rate_before, l.money_scale
               ) end as value_before,
               w.at > l.since as was_there, true as is_there
        from legs l
        join paths w using (instrument_id, is_long, currency)
        where w.at < l.until and w.until > l.since and greatest(w.at, l.since) > '-infinity'
        union all
        select l.account_id, l.until, false,
               null,
               equity.to_account_currency(l.units * w.price - l.cost, w.rate, l.money_scale),
               true, false
        from legs l
        join paths w using (instrument_id, is_long, currency)
        where l.until > w.at and l.until <= w.until and l.until < 'infinity'
    ),
    thinned as (  -- seconds in which an account held what was thinned, though not all the time
        select l.account_id, greatest(w.second, l.since) as at
        from legs l
        join (
            select distinct instrument_id, is_long, currency, date_trunc('second', at) as second
            from paths
            where is_thinned
        ) w using (instrument_id, is_long, currency)
        where (l.since > '-infinity' or l.until < 'infinity')
          and l.since < w.second + interval '1 second' and l.until > w.second
    ),
    moves as (
        select account_id, at, 0 as step,
               coalesce(value, 0) - coalesce(value_before, 0) as performance,
               (is_there and value is null)::int - (was_there and value_before is null)::int
                   as unpriced_positions,
               0::numeric as balance, 0::numeric as net_flow, false as is_booking, is_thinned
        from leg_moves
        union all
        select account_id, at, 0, 0, 0, 0, 0, false, true
        from thinned
        union all
        select account_id, at, 0, 0, 0, 0, 0, true, false
        from later_fills
        where at < p_to
        union all
        select e.account_id, e.event_at, (e.kind in ('deposit', 'withdrawal', 'credit'))::int,
               case when e.kind in ('deposit', 'withdrawal', 'credit') then 0 else e.amount end, 0,
               case when e.kind = 'credit' then 0 else e.amount end,
               case when e.kind in ('deposit', 'withdrawal', 'credit') then e.amount else 0 end,
               true, false
        from ledger.entries e
        where e.event_at >= p_from and e.event_at < p_to
          and e.account_id = any (p_account_ids)
    ),
    steps_taken as (
        select account_id, at, step, date_trunc('second', at) as second,
               sum(performance) as performance, sum(unpriced_positions) as unpriced_positions,
               sum(balance) as balance, sum(net_flow) as net_flow,
               bool_or(is_booking) as is_booking, bool_or(is_thinned) as is_thinned
        from moves
        group by account_id, at, step
    ),
    states as (
        select t.account_id, t.second, t.at, t.step, t.is_booking, t.is_thinned,
               c.performance + sum(t.performance) over curve as performance,
               c.unpriced_positions + sum(t.unpriced_positions) over curve as unpriced_positions,
               c.balance + sum(t.balance) over curve as balance,
               c.net_flow + sum(t.net_flow) over curve as net_flow,
               t.net_flow as flow,
               sum(t.step) over (partition by t.account_id, t.second order by t.at, t.step) as part,
               c.performance as start_performance, c.unpriced_positions as start_unpriced
        from steps_taken t
        join equity.curves c using (account_id)
        window curve as (partition by t.account_id order by t.at, t.step)
    ),
    known as (
        select *, case when unpriced_positions = 0 then performance end as known,
               case when lag(unpriced_positions, 1, start_unpriced) over curve = 0
                   then lag(performance, 1, start_performance) over curve end as known_before
        from states
        window curve as (partition by account_id order by at, step)
    ),
    tops as (
        select *,
               first_value(known_before) over bar as open,
               max(known) over bar as top
        from known
        window bar as (partition by account_id, second, part order by at, step)
    ),
    shapes as (
        select account_id, second as bucket_at, part, open,
               greatest(open, max(known)) as high, least(open, min(known)) as low,
               (array_agg(known order by at desc, step desc))[1] as close,
               (array_agg(balance order by at desc, step desc))[1] as balance,
               min(net_flow) as net_flow, sum(flow) as flow,
               coalesce(max(greatest(open, top) - known), open - open) as fall,
               coalesce(max(market.round_div(
                   greatest(open, top) - known, nullif(greatest(open, top) + net_flow, 0), 12
               )), round(open - open, 12)) as fall_pct,
               open is not null and bool_and(unpriced_positions = 0) as is_priced,
               bool_or(is_booking or known is distinct from known_before) as is_move,
               bool_or(is_thinned) as is_thinned
        from tops
        group by account_id, second, part, open
    ),
    based as (
        select s.*,
               bool_or(s.is_thinned) over (partition by s.account_id, s.bucket_at) as has_thinned,
               equity.index_base(
                   array[c.base_index, c.base_equity], s.part > 0,
                   s.open + s.net_flow - s.flow, s.open + s.net_flow, s.low + s.net_flow
               ) over (partition by s.account_id order by s.bucket_at, s.part) as base
        from shapes s join equity.curves c using (account_id)
    ),
    ends as (
        select distinct on (account_id)
               account_id, performance, unpriced_positions, balance, net_flow
        from states
        order by account_id, at desc, step desc
    ),
    moved as (
        update equity.curves c
        set performance = e.performance, unpriced_positions = e.unpriced_positions,
            balance = e.balance, net_flow = e.net_flow
        from ends e
        where c.account_id = e.account_id
    )
    select array_agg(
        row(
            account_id, bucket_at, part, open, high, low, close, balance, net_flow,
            base[1], base[2], fall, case when base[1] is not null then fall_pct end,
            is_priced, has_thinned
        )::equity.curve_bars
    ) into v_bars
    from based
    where is_move;
    return v_bars;
end
$$;

comment on function equity.bars_of_accounts is
    'The bars of accounts in a stretch of time, from their curves as they stand at its beginning.';

create or replace view equity.curve_floats as
select c.account_id,
       ((c.performance + c.net_flow) * ('1e' || s.money_scale::text)::numeric)::float8 as equity
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
set max_parallel_workers_per_gather = 0
set work_mem = '256MB'
as $$
declare
    v_first int[];
    v_last int[];
    v_at int[];
    v_seconds int[];
    v_prices numeric[];
    v_factors numeric[];
    v_float_prices float8[];
    v_float_factors float8[];
    v_thinned boolean[];
    v_is_one_second boolean;  -- then nothing is sorted by second
begin
    with points as materialized (
        select c.class_id, row_number() over (order by c.class_id, p.at)::int as place,
               dense_rank() over (order by p.at)::int as instant,
               extract(epoch from
                   date_trunc('second', greatest(p.at, p_from)) - p_from
               )::int as second,
               p.price, p.rate * ('1e' || c.money_scale::text)::numeric as factor, p.is_thinned
        from unnest(p_paths) p
        join equity.leg_classes c using (instrument_id, is_long, currency)
    ),
    bounds as (
        select class_id, min(place) + 1 as first, max(place) as last
        from points
        group by class_id
    )
    select array_agg(p.instant order by place), array_agg(p.second order by place),
           array_agg(p.price order by place), array_agg(p.factor order by place),
           array_agg(p.price::float8 order by place), array_agg(p.factor::float8 order by place),
           array_agg(p.is_thinned order by place),
           (select array_agg(b.first order by b.class_id) from bounds b),
           (select array_agg(b.last order by b.class_id) from bounds b),
           coalesce(max(p.second), 0) = 0
    into v_at, v_seconds, v_prices, v_factors, v_float_prices, v_float_factors, v_thinned,
         v_first, v_last, v_is_one_second
    from points p;

    with moves as (
        select account_id, equity, v_at[place] as instant,
               case when v_is_one_second then 0 else v_seconds[place] end as second,
               v_thinned[place] as is_thinned,
               case when abs(value - round(value)) < 0.498 then round(value)
                    else round((units * v_prices[place] - cost) * v_factors[place])::float8 end
               - case when abs(before - round(before)) < 0.498 then round(before) else round(
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
            offset 0  -- each value once
        ) valued
    ),
    states as (
        select account_id, equity, instant, second, is_thinned, change,
               sum(change) over (
                   partition by account_id
                   order by case when not v_is_one_second then second end, instant
               ) as gain
        from moves
    ),
    tops as (
        select *, max(gain) over (
            partition by account_id, case when not v_is_one_second then second end
            order by instant
        ) as top
        from states
    ),
    shapes as (
        select account_id, any_value(second) as second, any_value(equity) as equity,
               min(gain) as low, max(gain) as high,
               sum(change) as change, max(top - gain) as fall,
               max((top - gain) / nullif(equity + top, 0)) as fall_pct,
               bool_or(is_thinned) as is_thinned
        from tops
        group by account_id, case when not v_is_one_second then second end
    ),
    placed as (
        select *, sum(change) over (partition by account_id order by second) as close,
               sum(change) over (partition by account_id order by second) - change as open
        from shapes
    ),
    bounded as (
        select account_id, second, close, open, equity, is_thinned,
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
                   c.performance + b.open::bigint * m.minor_unit,
                   c.performance + b.high::bigint * m.minor_unit,
                   c.performance + b.low::bigint * m.minor_unit,
                   c.performance + b.close::bigint * m.minor_unit,
                   c.balance, c.net_flow,
                   case when b.low_equity > 0 then c.base_index end,
                   case when b.low_equity > 0 then c.base_equity end,
                   b.fall::bigint * m.minor_unit,
                   case when b.low_equity > 0 and c.base_index is not null
                       then round(b.fall_pct)::bigint * 0.000000000001 end,
                   true, b.is_thinned
               )::equity.curve_bars
           ) filter (where u.account_id is null and b.high <> b.low),
           array_agg(distinct u.account_id) filter (where u.account_id is not null)
    into bars, left_out
    from bounded b
    join equity.curves c using (account_id)
    join equity.account_states s using (account_id)
    cross join lateral (select ('1e-' || s.money_scale::text)::numeric as minor_unit) m
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

-- Stores bars, of which an account''s follow its curve, and moves its extremes and index on.
-- Locks: equity.curves.
create or replace function equity.store_bars(p_bars equity.curve_bars[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.curve_bars
    select * from unnest(p_bars) b order by b.bucket_at, b.account_id, b.part;

    with bars as (
        select *,
               market.round_div(base_index * (high + net_flow), base_equity, 12) as index_high,
               market.round_div(base_index * (low + net_flow), base_equity, 12) as index_low
        from unnest(p_bars)
    ),
    followed as (
        select b.*,
               greatest(c.high_water_mark, max(b.high) over before) as top,
               greatest(c.index_high, max(b.index_high) over before) as index_top,
               lead(b.bucket_at) over curve is null as is_last
        from bars b join equity.curves c using (account_id)
        window curve as (partition by b.account_id order by b.bucket_at, b.part),
            before as (curve rows between unbounded preceding and 1 preceding)
    ),
    reached as (
        select account_id,
               max(high) as high,
               (array_agg(bucket_at order by high desc nulls last, bucket_at))[1] as high_at,
               max(greatest(fall, top - low)) as max_drawdown,
               bool_and(base_index is not null) as is_indexed,
               max(index_high) as index_high,
               max(greatest(
                   fall_pct, market.round_div(index_top - index_low, index_top, 12)
               )) as max_drawdown_pct,
               max(close) filter (where is_last) as close,
               max(base_index) filter (where is_last) as base_index,
               max(base_equity) filter (where is_last) as base_equity
        from followed
        group by account_id
    )
    update equity.curves c
    set performance = coalesce(r.close, c.performance),
        base_index = r.base_index, base_equity = r.base_equity,
        high_water_mark = greatest(c.high_water_mark, r.high),
        high_water_at = case when r.high > c.high_water_mark or c.high_water_at is null
            then coalesce(r.high_at, c.high_water_at) else c.high_water_at end,
        max_drawdown = greatest(c.max_drawdown, r.max_drawdown),
        index_high = case when c.index_high is not null and r.is_indexed
            then greatest(c.index_high, r.index_high) end,
        max_drawdown_pct = case when c.index_high is not null and r.is_indexed
            then greatest(c.max_drawdown_pct, r.max_drawdown_pct) end
    from reached r
    where c.account_id = r.account_id;
end
$$;

comment on function equity.store_bars is
    'Stores bars and moves the curves of their accounts on to them.';

-- Closes the bars of a stretch of time, whole seconds, of these accounts (null: of all), whose rows
-- in equity.curves stand at its beginning, and moves those to its end.
-- The caller holds the curve's lock.
create or replace function equity.log_bars(
    p_from timestamptz, p_to timestamptz, p_account_ids bigint[], p_instrument_ids bigint[]
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_paths equity.priced_instants[];
    v_account_ids bigint[] := p_account_ids;
    v_bars equity.curve_bars[];
    v_left_out bigint[];
begin
    v_paths := array(
        select p
        from equity.price_paths(p_from, p_to, p_instrument_ids, array(
            select distinct currency
            from ledger.accounts
            where p_account_ids is null or account_id = any (p_account_ids)
        )) p
    );
    if p_account_ids is null then
        v_account_ids := equity.accounts_with_more_than_ticks(p_from, v_paths);
        select b.bars, b.left_out into v_bars, v_left_out
        from equity.bars_by_ticks(p_from, v_paths, v_account_ids) b;
        v_account_ids := v_account_ids || v_left_out;
    end if;
    if cardinality(v_account_ids) > 0 then
        v_bars := v_bars || equity.bars_of_accounts(p_from, p_to, v_paths, v_account_ids);
    end if;
    perform equity.store_bars(v_bars);
    return coalesce(cardinality(v_bars), 0);
end
$$;

comment on function equity.log_bars is
    'Closes the bars of a stretch of time and returns how many there are.';

-- Up to where seconds may be closed now: by the clock, less what ticks take to arrive; by the
-- newest tick, when it arrived so long after its event time that others are on their way. Before
-- the first tick no second is closed: it may be one of long ago.
create or replace function equity.closable_to() returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_newest market.quotes;
    v_now constant timestamptz := clock_timestamp();
begin
    select * into v_newest
    from market.quotes
    where event_at is not null
    order by event_at desc
    limit 1;
    return date_trunc('second', case
        when v_newest.received_at - v_newest.event_at < interval '1 minute'
            then v_now - greatest(v_newest.received_at - v_newest.event_at, interval '0')
        else v_newest.event_at
    end - (select grace from equity.curve_settings));
end
$$;

comment on function equity.closable_to is 'Up to where event time has passed, less the grace.';

create or replace function equity.next_event_at(p_from timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return least(
        (select min(event_at) from ledger.fills where event_at >= p_from),
        (select min(event_at) from ledger.entries where event_at >= p_from),
        (
            select min(t.event_at)
            from market.instruments i
            cross join lateral (
                select k.event_at
                from market.ticks k
                where k.instrument_id = i.instrument_id and k.event_at >= p_from
                order by k.event_at
                limit 1
            ) t
        )
    );
end
$$;

comment on function equity.next_event_at is
    'Event time of the first tick, fill or entry from a moment on.';

-- Who closes or rebuilds holds the curve's lock to commit.
create or replace function equity.lock_curve() returns void
language sql
set search_path = pg_catalog, pg_temp
return pg_advisory_xact_lock(hashtextextended('tidemark curve', 0));

comment on function equity.lock_curve is 'Waits until nobody closes or rebuilds curves.';

create or replace function equity.try_lock_curve() returns boolean
language sql
set search_path = pg_catalog, pg_temp
return pg_try_advisory_xact_lock(hashtextextended('tidemark curve', 0));

comment on function equity.try_lock_curve is 'Whether nobody else closes or rebuilds curves.';

-- Says how far bars will be closed. Whatever is not committed by now and happened before is late,
-- and marks what it makes wrong: so nothing can slip in beside the closing without a trace.
-- Locks: the curve, tick statements, prices: for a moment.
create or replace function equity.announce_closing(p_to timestamptz) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_to constant timestamptz := coalesce(date_trunc('second', p_to), equity.closable_to());
begin
    if not equity.try_lock_curve() then
        return false;
    end if;
    if v_to > (select announced_to from equity.curve_clock) then
        perform market.lock_tick_statements();
        perform market.lock_prices_to_move();
        perform equity.classify_legs();
        update equity.curve_clock set announced_to = v_to;
    end if;
    return true;
end
$$;

comment on function equity.announce_closing is
    'Announces up to where bars will be closed (null: as far as may be); false while others do.';

-- Closes the next bars, of at most p_width. Locks: the curve.
create or replace function equity.close_stretch(p_width interval, out is_done boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_clock equity.curve_clock;
    v_from timestamptz;
    v_to timestamptz;
begin
    is_done := true;
    if not equity.try_lock_curve() then
        return;
    end if;
    select * into v_clock from equity.curve_clock;
    if v_clock.closed_to >= v_clock.announced_to then
        return;
    end if;
    -- nothing moves before the first booking, and not while nothing happens
    v_from := equity.next_event_at(greatest(v_clock.closed_to, least(
        (select min(event_at) from ledger.fills), (select min(event_at) from ledger.entries)
    )));
    v_from := least(date_trunc('second', v_from), v_clock.announced_to);
    v_to := least(v_from + p_width, v_clock.announced_to);
    if v_from < v_to then
        perform equity.log_bars(
            v_from, v_to, null, array(select instrument_id from market.instruments)
        );
    end if;
    update equity.curve_clock set closed_to = v_to;
    is_done := v_to >= v_clock.announced_to;
end
$$;

comment on function equity.close_stretch is
    'Closes the bars of the next p_width that were announced; is_done when all are closed.';

create or replace function equity.next_width(p_width interval, p_took interval) returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
return case
    when p_took > interval '1 second' then greatest(p_width / 4, interval '1 second')
    when p_took < interval '0.25 seconds' then least(p_width * 2, interval '1 hour')
    else p_width
end;

comment on function equity.next_width is
    'How much time to close in one statement after one that took so long.';

-- Stretches of curves that something with this event time makes wrong, if bars are closed there.
create or replace function equity.mark_bookings(
    p_account_ids bigint[], p_event_at timestamptz[], p_reason text
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.curve_marks (account_id, from_at, to_at, reason)
    select b.account_id, date_trunc('second', min(b.event_at)), 'infinity', p_reason
    from unnest(p_account_ids, p_event_at) b (account_id, event_at)
    where b.event_at < (select announced_to from equity.curve_clock)
    group by b.account_id;
end
$$;

comment on function equity.mark_bookings is
    'Marks the curves of accounts from late bookings on.';

-- A late tick counts until the next one of its instrument.
create or replace function equity.mark_ticks(
    p_instrument_ids bigint[], p_event_at timestamptz[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.curve_marks (from_at, to_at, reason)
    select date_trunc('second', min(l.event_at)),
           date_trunc('second', max(coalesce(n.event_at, c.announced_to))) + interval '1 second',
           'late tick'
    from unnest(p_instrument_ids, p_event_at) l (instrument_id, event_at)
    join equity.curve_clock c on l.event_at < c.announced_to
    left join lateral (
        select k.event_at
        from market.ticks k
        where k.instrument_id = l.instrument_id and k.event_at > l.event_at
        order by k.event_at
        limit 1
    ) n on true
    having count(*) > 0;
end
$$;

comment on function equity.mark_ticks is 'Marks the curves from late ticks on.';

comment on table equity.curve_settings is 'How curves are made: one row.';
comment on column equity.curve_settings.max_instants is
    'Instants with ticks of an instrument in a second up to which all of them count.';
comment on column equity.curve_settings.grace is
    'How long after its end, in event time, a second is closed.';
comment on table equity.curve_clock is
    'How far bars are closed: one row. What comes with an event time before announced_to is late.';
comment on table equity.curves is
    'Where the curve of each account stands at its last closed bar, and its extremes so far.';
comment on column equity.curves.performance is
    'Equity less net flows, of the positions that have a price.';
comment on column equity.curves.high_water_mark is 'Highest performance so far.';
comment on column equity.curves.index_high is
    'Highest growth index so far; null from where the index was unknown.';
comment on table equity.curve_marks is
    'Stretches of curves (of every account where account_id is null) that something late has made '
    'wrong, until they are rebuilt.';
