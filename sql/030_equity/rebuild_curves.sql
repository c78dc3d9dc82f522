-- What makes curves right again after something late: the same function that closes bars, from a
-- state that is computed from ticks, fills and entries.

-- Puts the rows of equity.curves of these accounts where their curves stood before a moment.
-- Locks: equity.curves; the caller holds the curve's lock.
create or replace function equity.set_curves_before(
    p_at timestamptz, p_account_ids bigint[], p_instrument_ids bigint[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    with accounts as materialized (
        select account_id, currency, money_scale
        from ledger.accounts
        where account_id = any (p_account_ids)
    ),
    prices as materialized (
        select * from equity.price_paths(
            p_at, p_at, p_instrument_ids, array(select distinct currency from accounts)
        )
    ),
    held as (
        select account_id, instrument_id, sum(quantity_change) as quantity, sum(cost_change) as cost
        from ledger.fills
        where account_id = any (p_account_ids) and event_at < p_at
        group by account_id, instrument_id, position_side
        having sum(quantity_change) <> 0 or sum(cost_change) <> 0
    ),
    valued as (
        select account_id, coalesce(sum(v.value), 0) as unrealized_pnl,
               count(*) - count(v.value) as unpriced_positions
        from held h
        join accounts a using (account_id)
        join market.instruments i using (instrument_id)
        left join prices p
            on p.instrument_id = h.instrument_id and p.is_long = (h.quantity > 0)
            and p.currency = a.currency
        cross join lateral (
            select equity.to_account_currency(
                h.quantity * i.contract_size * p.price - h.cost, p.rate, a.money_scale
            ) as value
        ) v
        group by account_id
    ),
    cash as (
        select account_id,
               sum(amount) filter (where kind <> 'credit') as balance,
               sum(amount) filter (where kind in ('deposit', 'withdrawal', 'credit')) as net_flow,
               sum(amount) filter (where kind not in ('deposit', 'withdrawal', 'credit'))
                   as performance
        from ledger.entries
        where account_id = any (p_account_ids) and event_at < p_at
        group by account_id
    )
    update equity.curves c
    set performance = coalesce(m.performance, 0) + coalesce(v.unrealized_pnl, 0),
        unpriced_positions = coalesce(v.unpriced_positions, 0),
        balance = coalesce(m.balance, 0), net_flow = coalesce(m.net_flow, 0),
        base_index = b.base_index, base_equity = b.base_equity
    from accounts a
    left join valued v using (account_id)
    left join cash m using (account_id)
    left join lateral (
        (
            select k.base_index, k.base_equity
            from equity.curve_bars k
            where k.account_id = a.account_id and k.bucket_at < p_at
            order by k.bucket_at desc, k.part desc
            limit 1
        )
        union all  -- bars before are kept no longer: what the first one of those after follows
        (
            select k.base_index, k.base_equity
            from equity.curve_bars k
            where k.account_id = a.account_id and k.bucket_at >= p_at
              and p_at <= (select kept_from from equity.rollup_clock)
            order by k.bucket_at, k.part
            limit 1
        )
        limit 1
    ) b on true
    where c.account_id = a.account_id;
end
$$;

comment on function equity.set_curves_before is
    'Puts curves where they stood before a moment, by ticks, fills, entries and the bar before.';

-- Brings the extremes of these accounts' curves up to their bars: to bars of a day, but of a second
-- from the first to the last day whose roll-ups have yet to come. Locks: equity.curves.
create or replace function equity.set_extremes(p_account_ids bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
    v_from timestamptz;
    v_to timestamptz;
begin
    select coalesce(date_trunc('day', min(from_at), 'UTC'), 'infinity'),
           coalesce(date_trunc('day', max(to_at), 'UTC') + interval '1 day', 'infinity')
    into v_from, v_to
    from equity.rebuilt_stretches;

    update equity.curves c
    set high_water_mark = coalesce(e.high_water_mark, 0), high_water_at = e.high_water_at,
        max_drawdown = coalesce(e.max_drawdown, 0),
        index_high = case when e.is_indexed then e.index_high end,
        max_drawdown_pct = case when e.is_indexed then e.max_drawdown_pct end
    from unnest(p_account_ids) a (account_id)
    cross join lateral (
        select max(d.high) as high_water_mark,
               equity.deepest_fall(d.high, d.low, d.fall order by d.bucket_at, d.part)
                   as max_drawdown,
               coalesce(bool_and(d.is_indexed), true) as is_indexed,
               coalesce(max(d.index_high), 1) as index_high,
               coalesce(equity.deepest_fall_pct(
                   d.index_high, d.index_low, d.fall_pct order by d.bucket_at, d.part
               ), 0) as max_drawdown_pct,
               (array_agg(d.bucket_at order by d.high desc nulls last, d.bucket_at))[1] as high_at
        from (
            select b.bucket_at, b.part, b.high, b.low, b.fall,
                   b.index_high, b.index_low, b.fall_pct, b.is_indexed
            from equity.curve_1s b
            where b.account_id = a.account_id and b.bucket_at >= v_from and b.bucket_at < v_to
            union all
            select b.bucket_at, 0, b.high, b.low, b.fall,
                   b.index_high, b.index_low, b.fall_pct, b.is_indexed
            from equity.curve_1d b
            where b.account_id = a.account_id and (b.bucket_at < v_from or b.bucket_at >= v_to)
        ) d
    ) t
    cross join lateral (
        select t.*, coalesce((
            select b.bucket_at
            from equity.whole_bars b
            where b.account_id = a.account_id and b.high = t.high_water_mark
              and b.bucket_at >= t.high_at and b.bucket_at < t.high_at + interval '1 day'
            order by b.bucket_at
            limit 1
        ), t.high_at) as high_water_at
    ) e
    where c.account_id = a.account_id;
end
$$;

comment on function equity.set_extremes is
    'Computes high-water mark and maximum drawdown of curves from all of their bars.';

-- Closes the bars of these accounts anew from p_from to p_to, and on to the end of those accounts
-- whose next bar would not follow. Returns how many bars there are then in that stretch.
-- Locks: the curve.
create or replace function equity.rebuild(
    p_account_ids bigint[], p_from timestamptz, p_to timestamptz
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_closed_to timestamptz;
    v_first_at constant timestamptz := least(
        (select min(event_at) from ledger.fills where account_id = any (p_account_ids)),
        (select min(event_at) from ledger.entries where account_id = any (p_account_ids))
    );
    v_from constant timestamptz := date_trunc('second', greatest(
        p_from, v_first_at, (select kept_from from equity.rollup_clock)
    ));
    v_to timestamptz;
    v_instrument_ids bigint[];
    v_saved equity.curves[];
    v_astray bigint[];
    v_bars bigint;
begin
    perform equity.lock_curve();
    select closed_to into v_closed_to from equity.curve_clock;
    v_to := least(
        case when p_to = date_trunc('second', p_to) then p_to
             else date_trunc('second', p_to) + interval '1 second' end,
        v_closed_to
    );
    if v_first_at is null or v_from >= v_to then
        return 0;
    end if;
    v_instrument_ids := equity.instruments_of(p_account_ids, v_from);
    v_saved := array(select c from equity.curves c where account_id = any (p_account_ids));

    perform equity.set_curves_before(v_from, p_account_ids, v_instrument_ids);
    delete from equity.curve_bars
    where account_id = any (p_account_ids) and bucket_at >= v_from and bucket_at < v_to;
    v_bars := equity.log_stretches(v_from, v_to, p_account_ids, v_instrument_ids);

    if v_to < v_closed_to then
        v_astray := array(
            select c.account_id
            from equity.curves c
            join unnest(v_saved) s using (account_id)
            left join lateral (
                select b.*
                from equity.whole_bars b
                where b.account_id = c.account_id and b.bucket_at >= v_to
                order by b.bucket_at, b.part
                limit 1
            ) n on true
            where case
                when n.account_id is null then  -- nothing has happened since
                    (c.performance, c.unpriced_positions, c.balance, c.net_flow,
                     c.base_index, c.base_equity)
                    is distinct from
                    (s.performance, s.unpriced_positions, s.balance, s.net_flow,
                     s.base_index, s.base_equity)
                when n.part > 0 then true
                else
                    case when c.unpriced_positions = 0 then c.performance end
                        is distinct from n.open
                    or c.net_flow <> n.net_flow
                    -- without equity the index ends, whatever it was
                    or coalesce(n.low + n.net_flow > 0, true)
                        and (c.base_index, c.base_equity)
                            is distinct from (n.base_index, n.base_equity)
            end
        );
        delete from equity.curve_bars
        where account_id = any (v_astray) and bucket_at >= v_to;
        v_bars := v_bars + equity.log_stretches(v_to, v_closed_to, v_astray, v_instrument_ids);
        update equity.curves c
        set performance = s.performance, unpriced_positions = s.unpriced_positions,
            balance = s.balance, net_flow = s.net_flow,
            base_index = s.base_index, base_equity = s.base_equity
        from unnest(v_saved) s
        where c.account_id = s.account_id and c.account_id <> all (v_astray);
    end if;
    insert into equity.rebuilt_stretches (from_at, to_at)
    select v_from, case when v_astray <> '{}' then v_closed_to else v_to end
    where equity.edition() = 'community';
    perform equity.set_extremes(p_account_ids);
    return v_bars;
end
$$;

comment on function equity.rebuild is
    'Makes the closed bars of accounts what they would have been, and returns how many there are.';

-- The instruments that these accounts have held, or were converted through since p_from.
create or replace function equity.instruments_of(
    p_account_ids bigint[], p_from timestamptz
) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all constant bigint[] := array(select instrument_id from market.instruments);
    v_held constant bigint[] := array(
        select distinct instrument_id from ledger.fills where account_id = any (p_account_ids)
    );
begin
    if (select count(*) from market.quotes_before(p_from, v_all))
        < (select count(*) from market.quotes where bid is not null) then
        return v_all;  -- other paths than those in force may have been chosen
    end if;
    return array(
        select unnest(v_held)
        union
        select l.id
        from market.conversion_rates r
        cross join lateral (values (r.first_instrument_id), (r.second_instrument_id)) l (id)
        where l.id is not null
          and r.to_currency in (
              select currency from ledger.accounts where account_id = any (p_account_ids)
          )
          and r.from_currency in (
              select quote_currency from market.instruments where instrument_id = any (v_held)
          )
    );
end
$$;

comment on function equity.instruments_of is
    'Instruments whose ticks move these accounts, or have moved them since a moment.';

-- One statement a stretch keeps what it holds in memory small; how long they are changes nothing.
create or replace function equity.log_stretches(
    p_from timestamptz, p_to timestamptz, p_account_ids bigint[], p_instrument_ids bigint[]
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bars bigint := 0;
    v_from timestamptz := p_from;
    v_to timestamptz;
    v_width interval := interval '1 minute';
    v_began_at timestamptz;
begin
    while v_from < p_to and cardinality(p_account_ids) > 0 loop
        v_began_at := clock_timestamp();
        v_to := least(v_from + v_width, p_to);
        v_bars := v_bars + equity.log_bars(v_from, v_to, p_account_ids, p_instrument_ids);
        v_width := equity.next_width(v_width, clock_timestamp() - v_began_at);
        v_from := least(date_trunc('second', equity.next_event_at(v_to)), p_to);
    end loop;
    return v_bars;
end
$$;

comment on function equity.log_stretches is
    'Closes bars of accounts from one moment to another, and returns how many there are.';
