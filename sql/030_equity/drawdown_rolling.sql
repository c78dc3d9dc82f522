-- The deepest fall within a trailing window.

-- Time is cut into blocks as long as the window, so that each window is the tail of one block and
-- the head of the next: falls inside each are running maxima, and between them high less low.
create or replace function equity.rolling_falls(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz,
    p_window interval, p_bucket interval
) returns table (
    bucket_at timestamptz, max_drawdown numeric, max_drawdown_pct numeric,
    is_priced boolean, is_thinned boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_width bigint := extract(epoch from p_bucket);
    v_before bigint := extract(epoch from p_window) / v_width - 1;
    v_from timestamptz := case when isfinite(p_from)
        then public.time_bucket(p_bucket, p_from) else p_from end;
begin
    return query
    with placed as (
        select
            b.*, n.number, n.number - mod(n.number, v_before + 1) as block
        from equity.curve_buckets(
            p_account_ids, p_currency,
            v_from - v_before * v_width * interval '1 second', p_to, p_bucket
        ) b
        cross join lateral (
            select (extract(epoch from b.bucket_at)::bigint + 100000000000000) / v_width as number
        ) n
    ),
    peaked as (
        select
            p.*,
            max(p.high) over earlier as peak, min(p.low) over later as trough,
            max(p.index_high) over earlier as index_peak,
            min(p.index_low) over later as index_trough
        from placed p
        window
            earlier as (
                partition by p.block order by p.number
                rows between unbounded preceding and 1 preceding
            ),
            later as (
                partition by p.block order by p.number
                rows between 1 following and unbounded following
            )
    ),
    run as (
        select
            p.bucket_at, p.number, p.block, p.is_priced, p.is_indexed, p.is_thinned,
            min(p.low) over head as head_low,
            max(greatest(p.fall, p.peak - p.low)) over head as head_fall,
            min(p.index_low) over head as head_index_low,
            max(greatest(p.fall_pct, market.round_div(
                p.index_peak - p.index_low, nullif(p.index_peak, 0), 12
            ))) over head as head_fall_pct,
            max(p.high) over tail as tail_high,
            max(greatest(p.fall, p.high - p.trough)) over tail as tail_fall,
            max(p.index_high) over tail as tail_index_high,
            max(greatest(p.fall_pct, market.round_div(
                p.index_high - p.index_trough, nullif(p.index_high, 0), 12
            ))) over tail as tail_fall_pct
        from peaked p
        window
            head as (partition by p.block order by p.number),
            tail as (partition by p.block order by p.number desc)
    ),
    joined as (
        select
            r.*,
            first_value(r.block) over windowed < r.block as has_tail,
            first_value(r.tail_high) over windowed as high,
            first_value(r.tail_fall) over windowed as fall,
            first_value(r.tail_index_high) over windowed as index_high,
            first_value(r.tail_fall_pct) over windowed as fall_pct,
            bool_and(r.is_priced) over windowed as all_priced,
            sum((not r.is_indexed)::int) over windowed = 0 as all_indexed,
            sum(r.is_thinned::int) over windowed > 0 as any_thinned
        from run r
        window windowed as (
            order by r.number range between v_before preceding and current row
        )
    )
    select
        j.bucket_at,
        case when j.has_tail then greatest(j.fall, j.head_fall, j.high - j.head_low)
            else j.head_fall end,
        case when not j.all_indexed then null
            when j.has_tail then greatest(
                j.fall_pct, j.head_fall_pct, market.round_div(
                    j.index_high - j.head_index_low, nullif(j.index_high, 0), 12
                )
            )
            else j.head_fall_pct end,
        j.all_priced, j.any_thinned
    from joined j
    where j.bucket_at >= v_from
    order by j.bucket_at;
end
$$;

comment on function equity.rolling_falls is
    'Deepest fall in the window that ends with each bucket; the window is a multiple of it.';

-- The width of buckets for a window: the coarsest bars that divide it twenty times or more.
create or replace function equity.rolling_bucket(p_window interval) returns interval
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select max(b.bucket)
    from unnest('{00:00:01,00:01:00,01:00:00,24:00:00}'::interval[]) b (bucket)
    where b.bucket = interval '1 second'
       or extract(epoch from p_window) % extract(epoch from b.bucket) = 0
      and extract(epoch from p_window) / extract(epoch from b.bucket) >= 20
$$;

comment on function equity.rolling_bucket is
    'A second, a minute, an hour or a day: the widest that divides a window at least 20 times.';
