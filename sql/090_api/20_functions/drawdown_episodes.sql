-- Each fall below the highest performance since p_from until it is reached again. Times are those
-- of minutes; a fall that a minute made good again inside has length 0.
-- Raises: TM101 unknown account, TM160 empty range.
create or replace function api.drawdown_episodes(
    p_account_id bigint, p_from timestamptz, p_to timestamptz
) returns table (
    peak_at timestamptz, trough_at timestamptz, recovered_at timestamptz,
    depth numeric, depth_pct numeric, length interval, time_to_recover interval, is_open boolean
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, '1 minute'
    );
    return query
    select * from equity.episodes(array[p_account_id], null, p_from, p_to, '1 minute');
end
$$;

comment on function api.drawdown_episodes(bigint, timestamptz, timestamptz) is
    'Drawdowns from peak to recovery, in order of the peak; is_open for one not recovered yet.';

grant execute on function api.drawdown_episodes(bigint, timestamptz, timestamptz)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- The same of several accounts (null: all open ones) together, in one currency.
-- Raises: TM101 and TM160 as the one above, TM161 bucket, TM123 currency, TM132 no conversion path.
create or replace function api.drawdown_episodes(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz,
    p_bucket interval default '1 hour'
) returns table (
    peak_at timestamptz, trough_at timestamptz, recovered_at timestamptz,
    depth numeric, depth_pct numeric, length interval, time_to_recover interval, is_open boolean
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
    select * from equity.episodes(v_account_ids, p_currency, p_from, p_to, p_bucket);
end
$$;

comment on function api.drawdown_episodes(bigint[], text, timestamptz, timestamptz, interval) is
    'Drawdowns of several accounts together in one currency, in order of the peak.';

grant execute on function api.drawdown_episodes(bigint[], text, timestamptz, timestamptz, interval)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
