-- Closes an account for good: it takes no more fills and entries. Closing it again changes nothing.
-- Locks, to commit: the prices (shared), then the account's row.
-- Raises: TM101 unknown account, TM105 open positions, TM141 isolation level.
create or replace function api.close_account(p_account_id bigint) returns api.accounts
language plpgsql
security definer  -- callers may close accounts, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account api.accounts;
begin
    perform ledger.lock_account(p_account_id);
    if exists (select from ledger.positions where account_id = p_account_id) then
        raise exception 'account has open positions'
            using errcode = 'TM105', detail = format('account_id: %s', p_account_id),
                  hint = 'Close them first; api.positions lists them.';
    end if;

    update ledger.accounts set closed_at = now()
    where account_id = p_account_id and closed_at is null;
    select * into strict v_account from api.accounts where account_id = p_account_id;
    return v_account;
end
$$;

comment on function api.close_account is
    'Closes an account without open positions and returns it as it stands in api.accounts.';

grant execute on function api.close_account to tidemark_trading;
