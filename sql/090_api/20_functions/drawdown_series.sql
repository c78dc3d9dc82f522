-- How far an account is below the highest performance since p_from, the first bar's open included.
-- Raises: TM101 unknown account, TM160 empty range, TM161 bucket.
create or replace function api.drawdown_series(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    bucket_at timestamptz, high_water_mark numeric, drawdown numeric, drawdown_pct numeric,
    deepest numeric, deepest_pct numeric, is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, p_bucket
    );
    return query
    select
        u.bucket_at, u.high_water_mark, u.drawdown, u.drawdown_pct, u.deepest, u.deepest_pct,
        u.is_priced, u.is_thinned
    from equity.underwater(array[p_account_id], null, p_from, p_to, p_bucket) u;
end
$$;

comment on function api.drawdown_series(bigint, timestamptz, timestamptz, interval) is
    'Drawdown from the peak since p_from, for each bucket at its close and where it was deepest; '
    'in money of performance, in percent of the growth index, as a fraction.';

grant execute on function api.drawdown_series(bigint, timestamptz, timestamptz, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- The same of several accounts (null: all open ones) together, in one currency.
-- Raises: TM101, TM160 and TM161 as the one above, TM123 currency, TM132 no conversion path.
create or replace function api.drawdown_series(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz,
    p_bucket interval
) returns table (
    bucket_at timestamptz, high_water_mark numeric, drawdown numeric, drawdown_pct numeric,
    deepest numeric, deepest_pct numeric, is_priced boolean, is_thinned boolean
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
        u.bucket_at, u.high_water_mark, u.drawdown, u.drawdown_pct, u.deepest, u.deepest_pct,
        u.is_priced, u.is_thinned
    from equity.underwater(v_account_ids, p_currency, p_from, p_to, p_bucket) u;
end
$$;

comment on function api.drawdown_series(bigint[], text, timestamptz, timestamptz, interval) is
    'Drawdown of several accounts together in one currency, at the end of buckets.';

grant execute on function api.drawdown_series(bigint[], text, timestamptz, timestamptz, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
