-- For transactions that book on several accounts: two that take them in opposite orders would
-- deadlock, so each takes all of its accounts first, here, in the order of their ids.
-- Locks, to commit: the prices (shared), then the accounts' rows. Raises: TM101 unknown account,
-- TM141 isolation level.
create or replace function api.lock_accounts(p_account_ids bigint[]) returns void
language plpgsql
security definer  -- callers may lock accounts, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_id bigint;
begin
    for v_account_id in select distinct unnest(p_account_ids) order by 1 loop
        perform ledger.lock_account(v_account_id);
    end loop;
end
$$;

comment on function api.lock_accounts is
    'Locks these accounts to the end of the transaction, in the order of their ids: call it first '
    'in a transaction that books on more than one, and it can not deadlock.';

grant execute on function api.lock_accounts to tidemark_trading, tidemark_reconcile;
