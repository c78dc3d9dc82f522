-- State and open positions of these accounts as the page reads them, by the shapes of glue/wire.py:
-- the figures of api.account_states and api.positions, which a test compares. A relay asks twenty
-- times a second for up to all accounts, so positions are valued once for both, no view is read,
-- and the plan is a generic one: planning anew takes longer than running.
-- Each account comes back by the primary keys of what it is made of, however many are asked for; a
-- join of two intermediate results would be planned for the ten that a generic plan expects. To
-- memoize what was found for another account takes longer than to find it again.
create or replace function relay.portfolios(
    p_account_ids bigint[],
    p_versions bigint[] default null,
    p_event_seqs bigint[] default null
)
returns table (
    account_id bigint,
    version bigint,
    event_seq bigint,
    updated_at double precision,
    state text,
    positions text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
set enable_memoize = off
as $$
#variable_conflict use_column
begin
    return query
    with wanted as materialized (
        select a.account_id, a.currency, a.money_scale, a.position_mode, a.hedged_margin
        from unnest(p_account_ids, p_versions, p_event_seqs) w (account_id, version, event_seq)
        join ledger.accounts a on a.account_id = w.account_id
        join equity.account_states s on s.account_id = w.account_id
        where p_versions is null or s.version <> w.version or a.last_event_seq <> w.event_seq
    ),
    rates as materialized (
        select *
        from market.dated_conversion_rates
        where to_currency in (select currency from wanted)
    ),
    priced as (
        select
            a.account_id,
            a.money_scale,
            a.position_mode,
            a.hedged_margin,
            p.instrument_id,
            p.quantity,
            p.cost,
            i.symbol,
            i.quote_currency,
            i.margin_rate,
            p.quantity * i.contract_size as units,
            case when p.quantity > 0 then q.bid else q.ask end as price,
            market.mid(q.bid, q.ask) as mid,
            c.rate,
            least(q.event_at, c.priced_at) as priced_at,
            least(q.event_at + i.stale_after, c.fresh_until) as fresh_until
        from wanted a
        left join ledger.positions p on p.account_id = a.account_id
        left join market.instruments i on i.instrument_id = p.instrument_id
        left join market.quotes q on q.instrument_id = p.instrument_id
        left join rates c on c.from_currency = i.quote_currency and c.to_currency = a.currency
        offset 0  -- each figure is computed once
    ),
    valued as materialized (
        select
            p.*,
            p.units * p.price - p.cost as pnl_quote,
            equity.to_account_currency(p.units * p.price - p.cost, p.rate, p.money_scale) as pnl,
            equity.to_account_currency(p.units * p.mid - p.cost, p.rate, p.money_scale) as mid_pnl,
            equity.to_account_currency(
                abs(p.units) * p.mid * p.margin_rate, p.rate, p.money_scale
            ) as margin_used
        from priced p
    ),
    -- As equity.hedge_reliefs, whose join would be planned for few positions.
    hedge_reliefs as (
        select
            v.account_id,
            sum(v.margin_used) - case when v.hedged_margin = 'net'
                then equity.to_account_currency(
                    abs(sum(v.units)) * v.mid * v.margin_rate, v.rate, v.money_scale
                )
                else max(v.margin_used) end as margin_relief
        from valued v
        where v.position_mode = 'hedging'
        group by
            v.account_id, v.instrument_id, v.hedged_margin, v.mid, v.margin_rate, v.rate,
            v.money_scale
        having count(*) = 2
    ),
    by_account as (
        select
            v.account_id,
            sum(v.mid_pnl) as mid_pnl,
            sum(v.margin_used) as margin_used,
            min(v.priced_at) as priced_at,
            min(v.fresh_until) as fresh_until,
            '[' || coalesce(
                -- long before short
                string_agg(v.position, ',' order by v.symbol, v.quantity desc), ''
            ) || ']' as positions
        from (
            select
                v.account_id,
                v.symbol,
                v.quantity,
                v.mid_pnl,
                v.margin_used,
                v.priced_at,
                v.fresh_until,
                '{"symbol":' || relay.words(v.symbol)
                || ',"quote_currency":"' || v.quote_currency
                || '","side":"' || case when v.quantity > 0 then 'long' else 'short' end
                || '","quantity":' || relay.amount(abs(v.quantity))
                || ',"average_price":'
                || relay.amount(trim_scale(market.round_div(v.cost, v.units, 10)))
                || ',"price":' || relay.amount(v.price)
                || ',"unrealized_pnl":' || relay.amount(v.pnl)
                || ',"unrealized_pnl_quote":' || relay.amount(trim_scale(v.pnl_quote))
                || ',"conversion_rate":' || relay.amount(v.rate)
                || ',"margin_used":' || relay.amount(v.margin_used)
                || ',"is_priced":' || (v.pnl is not null)::text
                || ',"priced_at":' || relay.instant(v.priced_at)
                || ',"fresh_until":' || relay.instant(v.fresh_until)
                || '}' as position
            from valued v
            union all
            select account_id, null, null, null, -margin_relief, null, null, null
            from hedge_reliefs
        ) v
        group by v.account_id
    )
    select
        s.account_id,
        s.version,
        a.last_event_seq,
        extract(epoch from s.updated_at)::double precision,
        '{"account_id":' || s.account_id
        || ',"name":' || relay.words(a.name)
        || ',"currency":"' || a.currency
        || '","position_mode":"' || a.position_mode
        || '","balance":' || relay.amount(round(a.balance, a.money_scale))
        || ',"credit":' || relay.amount(round(a.credit, a.money_scale))
        || ',"unrealized_pnl":' || relay.amount(round(f.unrealized_pnl, a.money_scale))
        || ',"equity":' || relay.amount(round(f.equity, a.money_scale))
        || ',"margin_equity":' || relay.amount(round(f.margin_equity, a.money_scale))
        || ',"margin_used":' || relay.amount(round(f.margin_used, a.money_scale))
        || ',"margin_available":'
        || relay.amount(round(f.margin_equity - f.margin_used, a.money_scale))
        || ',"margin_level":'
        || relay.amount(market.round_div(f.margin_equity, nullif(f.margin_used, 0), 6))
        || ',"margin_state":' || coalesce('"' || equity.margin_state(
            f.margin_equity, f.margin_used, a.margin_call_level, a.close_out_level
        ) || '"', 'null')
        || ',"is_priced":' || (s.unpriced_positions = 0)::text
        || ',"priced_at":' || relay.instant(p.priced_at)
        || ',"fresh_until":' || relay.instant(p.fresh_until)
        || ',"net_flow":' || relay.amount(round(a.net_flow, a.money_scale))
        || ',"high_water_mark":'
        || relay.amount(round(d.high_water_mark + a.net_flow, a.money_scale))
        || ',"high_water_at":' || relay.instant(d.high_water_at)
        || ',"drawdown":'
        || relay.amount(round(d.high_water_mark - d.performance, a.money_scale))
        || ',"drawdown_pct":' || relay.amount(d.drawdown_pct)
        || ',"max_drawdown":' || relay.amount(case when d.performance is not null then round(
            greatest(c.max_drawdown, d.high_water_mark - d.performance), a.money_scale
        ) end)
        || ',"max_drawdown_pct":' || relay.amount(case when d.drawdown_pct is not null
            then greatest(c.max_drawdown_pct, d.drawdown_pct) end)
        || ',"under_water_since":' || relay.instant(
            case when d.high_water_mark > d.performance then d.high_water_at end
        )
        || ',"version":' || s.version
        || ',"updated_at":' || relay.instant(s.updated_at)
        || '}',
        p.positions
    from by_account p
    -- Not joined, which could be planned to read all accounts, and their dead versions with them.
    cross join lateral (
        select * from equity.account_states s where s.account_id = p.account_id offset 0
    ) s
    cross join lateral (
        select * from ledger.accounts a where a.account_id = p.account_id offset 0
    ) a
    cross join lateral (
        select c as curve, c.max_drawdown, c.max_drawdown_pct
        from equity.curves c where c.account_id = p.account_id
        offset 0
    ) c
    left join lateral (
        select
            s.unrealized_pnl,
            a.balance + a.credit + s.unrealized_pnl as equity,
            a.balance + a.credit + coalesce(p.mid_pnl, 0) as margin_equity,
            coalesce(p.margin_used, 0) as margin_used
        where s.unpriced_positions = 0
    ) f on true
    left join lateral equity.current_drawdown(
        c.curve, f.equity - a.net_flow, a.net_flow, s.updated_at
    ) d on true
    order by p.account_id;
end
$$;

comment on function relay.portfolios is
    'State and open positions of these accounts, as the page reads them, or of those among them '
    'that have another version or last event than these; updated_at in seconds since 1970.';
