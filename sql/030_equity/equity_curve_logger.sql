-- The curve logger: closes the bars of a stretch of time. (Component 17.4.) What a bar is stands in
-- docs/equity-curve.md. Most accounts have been moved by ticks alone, and curve_bars_by_ticks.sql
-- computes their bars; curve_bars_of_accounts.sql those of the others.

-- Stores bars, of which an account''s follow its curve, and moves its extremes and index on.
-- Locks: equity.curves.
create or replace function equity.store_bars(p_bars equity.curve_bars[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.curve_bars  -- without what equity.whole_bars knows
    select account_id, bucket_at, part, open,
           nullif(high, greatest(open, close)), nullif(low, least(open, close)), close,
           balance, net_flow, base_index, base_equity,
           nullif(fall, high - low),
           nullif(fall_pct, market.round_div(fall, nullif(high + net_flow, 0), 12)),
           is_priced, is_thinned
    from unnest(p_bars)
    order by bucket_at, account_id, part;

    with bars as (
        select account_id, bucket_at, part, high, low, close, fall, fall_pct,
               base_index, base_equity,
               market.round_div(base_index * (high + net_flow), base_equity, 12) as index_high,
               market.round_div(base_index * (low + net_flow), base_equity, 12) as index_low
        from unnest(p_bars)
    ),
    followed as (
        select *,
               max(high) over before as high_before,
               max(index_high) over before as index_high_before,
               lead(bucket_at) over before is null as is_last
        from bars
        window before as (
            partition by account_id order by bucket_at, part
            rows between unbounded preceding and 1 preceding
        )
    ),
    reached as (
        select account_id,
               max(f.high) as high,
               max(f.bucket_at) filter (
                   where f.high > f.high_before or f.high_before is null and f.high is not null
               ) as high_at,
               max(greatest(
                   f.fall, greatest(c.high_water_mark, f.high_before) - f.low
               )) as max_drawdown,
               bool_and(f.base_index is not null) as is_indexed,
               max(f.index_high) as index_high,
               max(greatest(f.fall_pct, market.round_div(
                   greatest(c.index_high, f.index_high_before) - f.index_low,
                   greatest(c.index_high, f.index_high_before), 12
               ))) as max_drawdown_pct,
               max(f.close) filter (where f.is_last) as close,
               max(f.base_index) filter (where f.is_last) as base_index,
               max(f.base_equity) filter (where f.is_last) as base_equity
        from followed f join equity.curves c using (account_id)
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
        select b.bars, b.left_out into v_bars, v_account_ids
        from equity.bars_by_ticks(p_from, v_paths) b;
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

comment on table equity.curve_settings is 'How curves are made: one row.';
comment on column equity.curve_settings.max_instants is
    'Instants with ticks of an instrument in a second up to which all of them count.';
comment on column equity.curve_settings.grace is
    'How long after its end, in event time, a second is closed.';
comment on table equity.curves is
    'Where the curve of each account stands at its last closed bar, and its extremes so far.';
comment on column equity.curves.performance is
    'Equity less net flows, of the positions that have a price.';
comment on column equity.curves.high_water_mark is 'Highest performance so far.';
comment on column equity.curves.index_high is
    'Highest growth index so far; null from where the index was unknown.';
