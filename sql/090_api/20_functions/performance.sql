-- The figures of a range in one row; ratios are of daily returns (UTC), 365 a year.
-- Raises: TM101 unknown account, TM160 empty range.
create or replace function api.performance(
    p_account_id bigint, p_from timestamptz, p_to timestamptz
) returns table (
    days bigint, net_profit numeric, time_weighted_return numeric, annual_return numeric,
    volatility numeric, sharpe_ratio numeric, sortino_ratio numeric, calmar_ratio numeric,
    max_drawdown numeric, max_drawdown_pct numeric, ulcer_index numeric, recovery_factor numeric,
    best_day date, best_return numeric, worst_day date, worst_return numeric,
    longest_under_water interval, is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, '1 day'
    );
    return query
    select * from equity.range_performance(array[p_account_id], null, p_from, p_to, '1 minute');
end
$$;

comment on function api.performance(bigint, timestamptz, timestamptz) is
    'Return, volatility, Sharpe, Sortino, Calmar, Ulcer index, recovery factor, drawdown and days '
    'of an account over a range; fractions, never percent.';

grant execute on function api.performance(bigint, timestamptz, timestamptz)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- The same of several accounts (null: all open ones) together, in one currency, by closes of days.
-- Raises: TM101 unknown account, TM160 empty range, TM123 currency, TM132 no conversion path.
create or replace function api.performance(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz
) returns table (
    days bigint, net_profit numeric, time_weighted_return numeric, annual_return numeric,
    volatility numeric, sharpe_ratio numeric, sortino_ratio numeric, calmar_ratio numeric,
    max_drawdown numeric, max_drawdown_pct numeric, ulcer_index numeric, recovery_factor numeric,
    best_day date, best_return numeric, worst_day date, worst_return numeric,
    longest_under_water interval, is_priced boolean, is_thinned boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_ids bigint[] := equity.accounts_of_set(p_account_ids);
begin
    perform equity.check_curve_request(
        v_account_ids, true, p_currency, p_from, p_to, '1 day'
    );
    return query
    select * from equity.range_performance(v_account_ids, p_currency, p_from, p_to, '1 day');
end
$$;

comment on function api.performance(bigint[], text, timestamptz, timestamptz) is
    'Return, risk and drawdown of several accounts together in one currency, by closes of days.';

grant execute on function api.performance(bigint[], text, timestamptz, timestamptz)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
