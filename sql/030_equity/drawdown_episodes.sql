-- Episodes of drawdown: from a peak through a trough to the recovery.

-- What episodes are found from. Where the high-water mark is not reached all day, or all hour, one
-- bar of the day or hour stands for its minutes; only the time of its low remains to be found.
create or replace function equity.episode_bars(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    bucket_at timestamptz, width interval,
    open numeric, high numeric, low numeric, close numeric, fall numeric,
    index_open numeric, index_high numeric, index_low numeric, index_close numeric,
    fall_pct numeric, is_indexed boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- with constants whole chunks are left out
as $$
declare
    v_account_id bigint := p_account_ids[1];
    v_first timestamptz := date_trunc('day', p_from, 'UTC');
    v_last timestamptz := date_trunc('day', p_to, 'UTC');
    v_peak numeric;
    v_days timestamptz[];
    v_hours timestamptz[];
begin
    v_first := case when v_first < p_from then v_first + interval '24 hours' else v_first end;
    if p_currency is not null or p_bucket <> interval '1 minute' or v_first >= v_last
        or exists (
            select from equity.unfunded_to(v_account_id, p_from, p_to) u
            where u.funded_at is not null
        ) then
        return query select
            b.bucket_at, p_bucket, b.open, b.high, b.low, b.close, b.fall,
            b.index_open, b.index_high, b.index_low, b.index_close, b.fall_pct, b.is_indexed
        from equity.curve_buckets(p_account_ids, p_currency, p_from, p_to, p_bucket) b;
        return;
    end if;
    return query select
        b.bucket_at, p_bucket, b.open, b.high, b.low, b.close, b.fall,
        b.index_open, b.index_high, b.index_low, b.index_close, b.fall_pct, b.is_indexed
    from equity.account_bars(v_account_id, v_last, p_to, p_bucket, true) b
    where v_last < p_to;
    if p_from < v_first then
        return query select
            b.bucket_at, p_bucket, b.open, b.high, b.low, b.close, b.fall,
            b.index_open, b.index_high, b.index_low, b.index_close, b.fall_pct, b.is_indexed
        from equity.account_bars(v_account_id, p_from, v_first, p_bucket, true) b;
        select greatest(public.first(b.open, b.bucket_at), max(b.high)) into v_peak
        from equity.account_bars(v_account_id, p_from, v_first, interval '1 day', true) b;
    end if;

    select coalesce(array_agg(d.bucket_at) filter (where d.is_reaching), '{}') into v_days
    from (
        select c.bucket_at,
            (c.high >= greatest(v_peak, max(c.high) over before)) is not false
                or lag(c.bucket_at) over w is null or lead(c.bucket_at) over w is null
                as is_reaching
        from equity.curve_1d c
        where c.account_id = v_account_id and c.bucket_at >= v_first and c.bucket_at < v_last
        window
            w as (order by c.bucket_at),
            before as (order by c.bucket_at rows between unbounded preceding and 1 preceding)
    ) d;
    select coalesce(array_agg(h.bucket_at) filter (where h.is_reaching), '{}') into v_hours
    from (
        select c.bucket_at,
            (c.high >= greatest(v_peak, max(c.high) over before)) is not false
                or lag(c.bucket_at) over w is null or lead(c.bucket_at) over w is null
                as is_reaching
        from equity.curve_1h c
        where c.account_id = v_account_id and c.bucket_at >= v_first and c.bucket_at < v_last
          and date_trunc('day', c.bucket_at, 'UTC') = any (v_days)
        window
            w as (order by c.bucket_at),
            before as (order by c.bucket_at rows between unbounded preceding and 1 preceding)
    ) h;
    return query select
        c.bucket_at, interval '24 hours', c.open, c.high, c.low, c.close, c.fall,
        c.index_open, c.index_high, c.index_low, c.index_close, c.fall_pct, c.is_indexed
    from equity.curve_1d c
    where c.account_id = v_account_id and c.bucket_at >= v_first and c.bucket_at < v_last
      and c.bucket_at <> all (v_days);
    return query select
        c.bucket_at, interval '1 hour', c.open, c.high, c.low, c.close, c.fall,
        c.index_open, c.index_high, c.index_low, c.index_close, c.fall_pct, c.is_indexed
    from equity.curve_1h c
    where c.account_id = v_account_id and c.bucket_at >= v_first and c.bucket_at < v_last
      and date_trunc('day', c.bucket_at, 'UTC') = any (v_days) and c.bucket_at <> all (v_hours);
    return query select
        c.bucket_at, p_bucket, c.open, c.high, c.low, c.close, c.fall,
        c.index_open, c.index_high, c.index_low, c.index_close, c.fall_pct, c.is_indexed
    from equity.curve_1m c
    where c.account_id = v_account_id and c.bucket_at >= v_first and c.bucket_at < v_last
      and date_trunc('hour', c.bucket_at, 'UTC') = any (v_hours);
end
$$;

comment on function equity.episode_bars is
    'The buckets of a range, those that cannot begin or end an episode put together.';

-- A bucket that reaches the high-water mark ends an episode and begins the next one. If its low is
-- further below the old peak than anything fell inside it, the low came before the recovery.
create or replace function equity.episodes(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    peak_at timestamptz, trough_at timestamptz, recovered_at timestamptz,
    depth numeric, depth_pct numeric, length interval, time_to_recover interval, is_open boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
    return query
    with peaked as (
        select
            b.bucket_at, b.width, b.open, b.high, b.low, b.close, b.fall,
            b.index_open, b.index_high, b.index_low, b.index_close, b.fall_pct, b.is_indexed,
            greatest(first_value(b.open) over w, max(b.high) over before) as peak
        from equity.episode_bars(p_account_ids, p_currency, p_from, p_to, p_bucket) b
        window
            w as (order by b.bucket_at),
            before as (order by b.bucket_at rows between unbounded preceding and 1 preceding)
    ),
    marked as (
        select
            p.*, r.is_peak,
            r.is_peak and p.peak - p.low > p.fall as is_low_first,
            r.is_peak and p.fall > 0 and p.close = p.high and p.peak - p.low <= p.fall as is_within
        from peaked p
        cross join lateral (
            -- one that only opened at the mark has not come back to it
            select p.high is not null and coalesce(
                p.high > p.peak or p.high = p.peak and (
                    p.open is null or p.open < p.peak or p.fall > 0 and p.close = p.high
                ), true
            ) as is_peak
        ) r
    ),
    numbered as materialized (
        select m.*, count(*) filter (where m.is_peak) over (order by m.bucket_at) as number
        from marked m
    ),
    gathered as (
        select
            n.number,
            min(n.bucket_at) as peak_at,
            max(n.bucket_at) as last_at,
            max(n.peak - n.low) filter (where not n.is_peak) as fall,
            public.first(n.bucket_at, n.low order by n.bucket_at)
                filter (where not n.is_peak and n.low is not null) as low_at,
            public.first(n.width, n.low order by n.bucket_at)
                filter (where not n.is_peak and n.low is not null) as low_width,
            min(n.low) filter (where not n.is_peak) as low,
            max(case when n.is_low_first then n.high - n.close else n.fall end)
                filter (where n.is_peak and not n.is_within) as own_fall,
            max(n.peak - n.low) filter (where n.is_low_first) as fall_before,
            bool_and(n.is_indexed) as is_indexed,
            bool_and(n.is_indexed) filter (where n.is_peak) as is_peak_indexed,
            coalesce(
                max(n.index_high) filter (where n.is_peak),
                public.first(n.index_open, n.bucket_at)
            ) as index_peak,
            max(n.index_high) filter (where not n.is_peak) as index_high,
            min(n.index_low) filter (where not n.is_peak) as index_low,
            max(n.fall_pct) filter (where not n.is_peak) as fall_pct,
            max(case when n.is_low_first then market.round_div(
                n.index_high - n.index_close, nullif(n.index_high, 0), 12
            ) else n.fall_pct end) filter (where n.is_peak and not n.is_within) as own_fall_pct,
            max(n.index_low) filter (where n.is_low_first) as index_low_before
        from numbered n
        group by n.number
    ),
    -- the index passed its peak while performance had not come back: money went out meanwhile
    passed as (
        select f.number, max(market.round_div(f.peak - f.index_low, nullif(f.peak, 0), 12)) as fall
        from (
            select
                n.number, n.is_peak, n.index_low,
                max(n.index_high) over (
                    partition by n.number order by n.bucket_at
                    rows between unbounded preceding and 1 preceding
                ) as peak
            from numbered n
            join gathered g on g.number = n.number and g.index_high > g.index_peak
        ) f
        where not f.is_peak
        group by f.number
    ),
    followed as (
        select
            g.*,
            lead(g.peak_at) over w as recovered_at,
            lead(g.fall_before) over w as later_fall,
            lead(g.index_low_before) over w as later_index_low,
            lead(g.fall_before is null or g.is_peak_indexed) over w as is_later_indexed,
            greatest(g.index_peak, g.index_high) as last_index_peak,
            max(g.last_at) over () as end_at
        from gathered g
        window w as (order by g.number)
    ),
    whole as (
        select
            f.peak_at,
            case
                when f.own_fall >= greatest(f.own_fall, f.fall, f.later_fall) then f.peak_at
                when f.fall >= greatest(f.fall, f.later_fall) then case
                    when f.low_width = p_bucket then f.low_at
                    else (
                        select min(c.bucket_at) from equity.curve_1m c
                        where c.account_id = p_account_ids[1] and c.bucket_at >= f.low_at
                          and c.bucket_at < f.low_at + f.low_width and c.low = f.low
                    ) end
                else f.recovered_at
            end as trough_at,
            f.recovered_at,
            greatest(f.own_fall, f.fall, f.later_fall) as depth,
            case when f.is_indexed and f.is_later_indexed is not false then greatest(
                f.own_fall_pct, f.fall_pct,
                case when p.number is not null then p.fall else market.round_div(
                    f.index_peak - f.index_low, nullif(f.index_peak, 0), 12
                ) end,
                market.round_div(
                    f.last_index_peak - f.later_index_low, nullif(f.last_index_peak, 0), 12
                )
            ) end as depth_pct,
            f.end_at
        from followed f
        left join passed p on p.number = f.number
        union all
        select
            n.bucket_at, n.bucket_at, n.bucket_at, n.fall,
            case when n.is_indexed then n.fall_pct end, n.bucket_at
        from numbered n
        where n.is_within
    )
    select
        w.peak_at, w.trough_at, w.recovered_at, w.depth, w.depth_pct,
        coalesce(w.recovered_at, w.end_at) - w.peak_at,
        w.recovered_at - w.trough_at,
        w.recovered_at is null
    from whole w
    where w.depth > 0
    order by w.peak_at, w.recovered_at, w.trough_at;
end
$$;

comment on function equity.episodes is 'Falls below the high-water mark since p_from, in order.';
