-- Episodes of drawdown, and the figures of a whole range.

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
as $$
begin
    return query
    with peaked as (
        select
            b.bucket_at, b.open, b.high, b.low, b.close, b.fall,
            b.index_open, b.index_high, b.index_low, b.index_close, b.fall_pct, b.is_indexed,
            greatest(first_value(b.open) over w, max(b.high) over before) as peak
        from equity.curve_buckets(p_account_ids, p_currency, p_from, p_to, p_bucket, true) b
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
                when f.fall >= greatest(f.fall, f.later_fall) then f.low_at
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

-- Daily returns are of UTC days, from the first bar's to the last one's; a day without a bar
-- returns nothing, one without a known close has no return.
create or replace function equity.range_performance(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    days bigint, net_profit numeric, time_weighted_return numeric, annual_return numeric,
    volatility numeric, sharpe_ratio numeric, sortino_ratio numeric, calmar_ratio numeric,
    max_drawdown numeric, max_drawdown_pct numeric, ulcer_index numeric, recovery_factor numeric,
    best_day date, best_return numeric, worst_day date, worst_return numeric,
    longest_under_water interval, is_priced boolean, is_thinned boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with bars as materialized (
        select
            b.*,
            (b.bucket_at at time zone 'UTC')::date as day,
            greatest(first_value(b.open) over upto, max(b.high) over before) as peak,
            max(b.index_high) over before as index_peak
        from equity.curve_buckets(p_account_ids, p_currency, p_from, p_to, '1 day', true) b
        window
            upto as (order by b.bucket_at rows unbounded preceding),
            before as (order by b.bucket_at rows between unbounded preceding and 1 preceding)
    ),
    whole as (
        select
            public.first(b.open, b.bucket_at) as open,
            public.last(b.close, b.bucket_at) as close,
            public.first(b.index_open, b.bucket_at) as index_open,
            public.last(b.index_close, b.bucket_at) as index_close,
            max(greatest(b.fall, b.peak - b.low)) as fall,
            max(greatest(b.fall_pct, market.round_div(
                b.index_peak - b.index_low, nullif(b.index_peak, 0), 12
            ))) as fall_pct,
            max(b.day) - min(b.day) + 1 as days,
            coalesce(bool_and(b.is_priced), true) as is_priced,
            coalesce(bool_and(b.is_indexed), false) as is_indexed,
            coalesce(bool_or(b.is_thinned), false) as is_thinned
        from bars b
    ),
    closes as (
        select
            b.day, b.index_close,
            coalesce(
                lag(b.index_close) over w,
                case when row_number() over w = 1 then w.index_open end
            ) as index_before,
            greatest(w.index_open, max(b.index_close) over w) as index_peak,
            coalesce(lead(b.day) over w, b.day + 1) - b.day - 1 as idle_days
        from bars b cross join whole w
        where w.is_indexed and b.index_close is not null
        window w as (order by b.day)
    ),
    returns as (
        select c.day, market.round_div(
            c.index_close - c.index_before, nullif(c.index_before, 0), 12
        ) as return, market.round_div(
            c.index_peak - c.index_close, nullif(c.index_peak, 0), 12
        ) as drawdown
        from closes c
        union all
        select c.day + idle.number, 0, market.round_div(
            c.index_peak - c.index_close, nullif(c.index_peak, 0), 12
        )
        from closes c
        cross join lateral generate_series(1, c.idle_days) idle (number)
        where not exists (select from bars b where b.day = c.day + idle.number)
    ),
    daily as (
        select
            avg(r.return) as mean,
            stddev_samp(r.return) as deviation,
            sqrt(avg(least(r.return, 0) * least(r.return, 0))) as downside,
            sqrt(avg(r.drawdown * r.drawdown)) as ulcer,
            public.first(r.day, -r.return order by r.day) as best_day,
            max(r.return) as best_return,
            public.first(r.day, r.return order by r.day) as worst_day,
            min(r.return) as worst_return
        from returns r
        where r.return is not null
    ),
    figures as (
        select
            w.*,
            market.round_div(w.index_close - w.index_open, nullif(w.index_open, 0), 12) as growth,
            case when w.is_indexed then w.fall_pct end as known_fall_pct,
            case when w.is_indexed and w.index_open > 0
                then power(w.index_close / w.index_open, 365.0 / w.days) - 1 end as annual_return
        from whole w
    )
    select
        coalesce(f.days, 0)::bigint,
        case when f.days is null then 0 else f.close - f.open end,
        case when f.is_indexed then f.growth end,
        round(f.annual_return, 12),
        round(d.deviation * sqrt(365::numeric), 12),
        round(d.mean / nullif(d.deviation, 0) * sqrt(365::numeric), 12),
        round(d.mean / nullif(d.downside, 0) * sqrt(365::numeric), 12),
        round(f.annual_return / nullif(f.known_fall_pct, 0), 12),
        case when f.days is null then 0 else f.fall end,
        f.known_fall_pct,
        round(d.ulcer, 12),
        market.round_div(f.close - f.open, nullif(f.fall, 0), 12),
        d.best_day, d.best_return, d.worst_day, d.worst_return,
        coalesce((
            select max(e.length)
            from equity.episodes(p_account_ids, p_currency, p_from, p_to, p_bucket) e
        ), interval '0'),
        f.is_priced, f.is_thinned
    from figures f
    cross join daily d;
end
$$;

comment on function equity.range_performance is
    'The figures of a range; ratios are of daily returns.';
