-- The curve of an account in buckets of any width, UTC: what the bars that begin in [p_from, p_to)
-- come to. A bucket without bars has no row.
-- Raises: TM101 unknown account, TM160 empty range, TM161 bucket.
create or replace function api.equity_curve(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    bucket_at timestamptz, open numeric, high numeric, low numeric, close numeric,
    balance numeric, net_flow numeric, performance numeric, growth_index numeric,
    is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- with constants whole chunks are left out
as $$
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, p_bucket
    );
    if p_bucket = interval '1 second' and not exists (
        select from equity.curve_bars b
        where b.account_id = p_account_id and b.bucket_at >= p_from and b.bucket_at < p_to
          and b.part > 0
    ) then  -- the bars as they are
        return query
        select
            c.bucket_at, c.equity_open, c.equity_high, c.equity_low, c.equity_close,
            c.balance, c.net_flow, c.close, c.index_close, c.is_priced, c.is_thinned
        from equity.curve_1s c
        where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to
        order by c.bucket_at;
        return;
    end if;
    return query
    select
        b.bucket_at, b.equity_open, b.equity_high, b.equity_low, b.equity_close,
        b.balance, b.net_flow, b.close, b.index_close, b.is_priced, b.is_thinned
    from equity.account_bars(p_account_id, p_from, p_to, p_bucket, false) b
    order by b.bucket_at;
end
$$;

comment on function api.equity_curve(bigint, timestamptz, timestamptz, interval) is
    'Equity of an account from p_from until before p_to in buckets: open, high, low and close, '
    'with balance, net flows, performance (equity less net flows) and growth index at the close.';

grant execute on function api.equity_curve(bigint, timestamptz, timestamptz, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- The same of several accounts (null: all open ones) together, in one currency.
-- Raises: TM101, TM160 and TM161 as the one above, TM123 currency, TM132 no conversion path.
create or replace function api.equity_curve(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz,
    p_bucket interval
) returns table (
    bucket_at timestamptz, open numeric, high numeric, low numeric, close numeric,
    balance numeric, net_flow numeric, performance numeric, growth_index numeric,
    is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_ids bigint[] := equity.accounts_of_set(p_account_ids);
begin
    perform equity.check_curve_request(
        v_account_ids, true, p_currency, p_from, p_to, p_bucket
    );
    return query
    select
        b.bucket_at, b.equity_open, b.equity_high, b.equity_low, b.equity_close,
        b.balance, b.net_flow, b.close, b.index_close, b.is_priced, b.is_thinned
    from equity.set_bars(v_account_ids, p_currency, p_from, p_to, p_bucket) b
    order by b.bucket_at;
end
$$;

comment on function api.equity_curve(bigint[], text, timestamptz, timestamptz, interval) is
    'Equity of several accounts together in one currency, at the end of each bucket in which one '
    'of them moved.';

grant execute on function api.equity_curve(bigint[], text, timestamptz, timestamptz, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- The same in at most p_points buckets, the narrowest usual width that does it: for a chart, which
-- loses no extreme, since each bucket has its high and low.
-- Raises: TM101 unknown account, TM160 empty range, TM163 number of points.
create or replace function api.equity_curve_points(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_points int
) returns table (
    bucket_at timestamptz, open numeric, high numeric, low numeric, close numeric,
    balance numeric, net_flow numeric, performance numeric, growth_index numeric,
    is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bucket interval;
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, '1 day'
    );
    if p_points is null or p_points not between 2 and 100000 then
        raise exception 'number of points is not usable'
            using errcode = 'TM163', detail = format('points: %s', p_points),
                  hint = 'Pass 2 to 100000.';
    end if;
    v_bucket := equity.chart_bucket(p_account_id, p_from, p_to, p_points);
    return query
    select
        b.bucket_at, b.equity_open, b.equity_high, b.equity_low, b.equity_close,
        b.balance, b.net_flow, b.close, b.index_close, b.is_priced, b.is_thinned
    from equity.account_bars(p_account_id, p_from, p_to, v_bucket, false) b
    order by b.bucket_at;
end
$$;

comment on function api.equity_curve_points is
    'The equity curve of an account in at most p_points buckets, with their extremes, for a chart.';

grant execute on function api.equity_curve_points
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
