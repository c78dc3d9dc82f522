-- Bars, whatever has happened: exact, and slower than those that ticks alone have made.

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
