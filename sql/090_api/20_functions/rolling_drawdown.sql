-- The deepest fall within the window that ends with each bucket, what lies before p_from included.
-- Buckets are the widest of 1 s, 1 m, 1 h and 1 d that divide the window 20 times.
-- Raises: TM101 unknown account, TM160 empty range, TM162 window.
create or replace function api.rolling_drawdown(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_window interval
) returns table (
    bucket_at timestamptz, max_drawdown numeric, max_drawdown_pct numeric,
    is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bucket interval := equity.rolling_bucket(p_window);
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, v_bucket
    );
    perform equity.check_window(p_window, v_bucket);
    return query
    select * from equity.rolling_falls(
        array[p_account_id], null, p_from, p_to, p_window, v_bucket
    );
end
$$;

comment on function api.rolling_drawdown(bigint, timestamptz, timestamptz, interval) is
    'Maximum drawdown within a trailing window, in money and as a fraction, for each bucket.';

grant execute on function api.rolling_drawdown(bigint, timestamptz, timestamptz, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- The same of several accounts (null: all open ones) together, in one currency.
-- Raises: TM101, TM160, TM162 as the one above, TM161 bucket, TM123 currency, TM132 no path.
create or replace function api.rolling_drawdown(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz,
    p_window interval, p_bucket interval default null
) returns table (
    bucket_at timestamptz, max_drawdown numeric, max_drawdown_pct numeric,
    is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_ids bigint[] := equity.accounts_of_set(p_account_ids);
    v_bucket interval := coalesce(p_bucket, equity.rolling_bucket(p_window));
begin
    perform equity.check_curve_request(
        v_account_ids, true, p_currency, p_from, p_to, v_bucket
    );
    perform equity.check_window(p_window, v_bucket);
    return query
    select * from equity.rolling_falls(
        v_account_ids, p_currency, p_from, p_to, p_window, v_bucket
    );
end
$$;

comment on function api.rolling_drawdown(
    bigint[], text, timestamptz, timestamptz, interval, interval
) is
    'Maximum drawdown within a trailing window of several accounts together in one currency.';

grant execute
    on function api.rolling_drawdown(bigint[], text, timestamptz, timestamptz, interval, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
