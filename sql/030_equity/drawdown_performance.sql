-- The figures of a whole range.

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
        from equity.curve_buckets(p_account_ids, p_currency, p_from, p_to, '1 day') b
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
