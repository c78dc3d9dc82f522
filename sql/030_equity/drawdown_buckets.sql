-- Bars of one account in buckets of any width, from the stretches of drawdown_ranges.sql.

-- A fall inside a bucket is that of a bar, or from a high of an earlier bar
-- to a low of a later one. Falls are left null unless p_for_falls.
create or replace function equity.account_bars(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_bucket interval,
    p_for_falls boolean
) returns table (
    bucket_at timestamptz, open numeric, high numeric, low numeric, close numeric,
    equity_open numeric, equity_high numeric, equity_low numeric, equity_close numeric,
    balance numeric, net_flow_open numeric, net_flow numeric,
    index_open numeric, index_high numeric, index_low numeric, index_close numeric,
    fall numeric, fall_pct numeric, is_priced boolean, is_indexed boolean, is_thinned boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- with constants whole chunks are left out
as $$
declare
    v_level int := equity.curve_level(p_bucket);
    v_fits boolean;
begin
    -- buckets that are bars, as they are
    select count(*) = 1 and bool_and(p.level = v_level) into v_fits
    from equity.curve_pieces(p_from, p_to, v_level) p
    where p_bucket = ('{00:00:01,00:01:00,01:00:00,24:00:00}'::interval[])[v_level + 1];
    if v_fits and p_for_falls then
        select u.funded_at is null into v_fits
        from equity.unfunded_to(p_account_id, p_from, p_to) u;
    end if;
    if v_fits and v_level = 0 then
        v_fits := not exists (
            select from equity.curve_1s c
            where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to
              and c.part > 0
        );
    end if;
    if v_fits then
        if v_level = 0 then
            return query select
                c.bucket_at,
                case when p_for_falls then c.open end,
                case when p_for_falls then c.high end,
                case when p_for_falls then c.low end, c.close,
                c.equity_open, c.equity_high, c.equity_low, c.equity_close,
                c.balance, c.net_flow_open, c.net_flow,
                case when p_for_falls then c.index_open end,
                case when p_for_falls then c.index_high end,
                case when p_for_falls then c.index_low end, c.index_close,
                case when p_for_falls then c.fall end,
                case when p_for_falls then c.fall_pct end,
                c.is_priced, c.is_indexed, c.is_thinned
            from equity.curve_1s c
            where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to;
        elsif v_level = 1 then
            return query select
                c.bucket_at, c.open, c.high, c.low, c.close,
                c.equity_open, c.equity_high, c.equity_low, c.equity_close,
                c.balance, c.net_flow_open, c.net_flow,
                case when p_for_falls then c.index_open end,
                case when p_for_falls then c.index_high end,
                case when p_for_falls then c.index_low end, c.index_close,
                case when p_for_falls then c.fall end,
                case when p_for_falls then c.fall_pct end,
                c.is_priced, c.is_indexed, c.is_thinned
            from equity.curve_1m c
            where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to;
        elsif v_level = 2 then
            return query select
                c.bucket_at, c.open, c.high, c.low, c.close,
                c.equity_open, c.equity_high, c.equity_low, c.equity_close,
                c.balance, c.net_flow_open, c.net_flow,
                case when p_for_falls then c.index_open end,
                case when p_for_falls then c.index_high end,
                case when p_for_falls then c.index_low end, c.index_close,
                case when p_for_falls then c.fall end,
                case when p_for_falls then c.fall_pct end,
                c.is_priced, c.is_indexed, c.is_thinned
            from equity.curve_1h c
            where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to;
        elsif v_level = 3 then
            return query select
                c.bucket_at, c.open, c.high, c.low, c.close,
                c.equity_open, c.equity_high, c.equity_low, c.equity_close,
                c.balance, c.net_flow_open, c.net_flow,
                case when p_for_falls then c.index_open end,
                case when p_for_falls then c.index_high end,
                case when p_for_falls then c.index_low end, c.index_close,
                case when p_for_falls then c.fall end,
                case when p_for_falls then c.fall_pct end,
                c.is_priced, c.is_indexed, c.is_thinned
            from equity.curve_1d c
            where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to;
        end if;
        return;
    end if;

    return query
    with placed as (
        select
            public.time_bucket(p_bucket, c.bucket_at) as placed_at,
            c.bucket_at + c.part * interval '1 microsecond' as ordered_at,
            c.*
        from equity.curve_between(
            p_account_id, p_from, p_to, equity.curve_level(p_bucket), p_for_falls
        ) c
    ),
    peaked as (
        select
            p.*,
            case when p_for_falls then max(p.high) over before end as peak,
            case when p_for_falls then max(p.index_high) over before end as index_peak
        from placed p
        window before as (
            partition by p.placed_at order by p.ordered_at
            rows between unbounded preceding and 1 preceding
        )
    )
    select
        p.placed_at,
        public.first(p.open, p.ordered_at), max(p.high), min(p.low),
        public.last(p.close, p.ordered_at),
        public.first(p.equity_open, p.ordered_at), max(p.equity_high), min(p.equity_low),
        public.last(p.equity_close, p.ordered_at),
        public.last(p.balance, p.ordered_at),
        public.first(p.net_flow_open, p.ordered_at), public.last(p.net_flow, p.ordered_at),
        public.first(p.index_open, p.ordered_at),
        case when bool_and(p.is_indexed) then max(p.index_high) end,
        case when bool_and(p.is_indexed) then min(p.index_low) end,
        public.last(p.index_close, p.ordered_at),
        max(greatest(p.fall, p.peak - p.low)) filter (where p_for_falls),
        case when p_for_falls and bool_and(p.is_indexed) then max(greatest(
            p.fall_pct, case when p.index_peak > p.index_low
                then market.round_div(p.index_peak - p.index_low, p.index_peak, 12) end
        )) end,
        bool_and(p.is_priced), bool_and(p.is_indexed), bool_or(p.is_thinned)
    from peaked p
    group by p.placed_at
    order by p.placed_at;
end
$$;

comment on function equity.account_bars is
    'The bars of an account over a range in buckets of any width, in their order.';
