-- Sets how an account's margin is judged.
-- Locks, to commit: the prices (shared), then the account's row. Notifies: tidemark_account.
-- Raises: TM101 unknown account, TM102 closed account, TM106 terms not usable, TM141.
create or replace function api.set_margin_terms(
    p_account_id bigint,
    p_hedged_margin text default 'larger_side',
    p_margin_call_level numeric default 1,
    p_close_out_level numeric default 0.5
) returns api.accounts
language plpgsql
security definer  -- callers may set terms, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts := ledger.lock_account(p_account_id);
    v_problem text := case
        when p_hedged_margin is null or p_hedged_margin not in ('larger_side', 'net')
            then 'the hedged margin is larger_side or net'
        when p_close_out_level is null or not (p_close_out_level >= 0)
            then 'the close-out level is a fraction from 0'
        when p_margin_call_level is null or not (p_margin_call_level <= 100)
            then 'the margin call level is a fraction up to 100'
        when p_close_out_level > p_margin_call_level
            then 'the close-out level is not above the margin call level'
    end;
    v_result api.accounts;
begin
    perform ledger.refuse_closed(v_account);
    if v_problem is not null then
        raise exception 'margin terms are not usable'
            using errcode = 'TM106',
                  detail = format(
                      'hedged margin: %s, margin call level: %s, close-out level: %s',
                      p_hedged_margin, p_margin_call_level, p_close_out_level
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;

    update ledger.accounts
    set hedged_margin = p_hedged_margin, margin_call_level = p_margin_call_level,
        close_out_level = p_close_out_level
    where account_id = p_account_id;
    perform equity.touch_states(array[p_account_id]);

    select * into strict v_result from api.accounts where account_id = p_account_id;
    return v_result;
end
$$;

comment on function api.set_margin_terms is
    'Sets the margin of hedged positions (larger_side or net) and the margin levels, as fractions, '
    'from which an account is in margin_call and in close_out; returns it as in api.accounts.';

grant execute on function api.set_margin_terms to tidemark_trading;
