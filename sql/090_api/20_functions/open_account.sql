-- Opens an account; the same broker account again is answered with the account that it has.
-- Raises: TM103 account not usable, TM104 broker account has another account.
create or replace function api.open_account(
    p_name text,
    p_currency text,
    p_position_mode text default 'netting',
    p_broker text default null,
    p_broker_account_id text default null,
    p_conversion_markup numeric default 0,
    p_money_scale int default 2
) returns api.accounts
language plpgsql
security definer  -- callers may open accounts, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when p_name is null or p_name !~ '[^[:space:]]' or length(p_name) > 200
            then 'the name is not blank and has at most 200 characters'
        when p_currency is null or p_currency !~ '^[A-Z][A-Z0-9]{2,11}$'
            then 'the currency is a code such as USD'
        when p_position_mode is null or p_position_mode not in ('netting', 'hedging')
            then 'the position mode is netting or hedging'
        when p_broker is null and p_broker_account_id is not null
            then 'a broker account id comes with its broker'
        when '' in (p_broker, p_broker_account_id)
            then 'broker and broker account id are null or not empty'
        when p_conversion_markup is null
            or not (p_conversion_markup >= 0 and p_conversion_markup < 1)
            then 'the conversion mark-up is a fraction from 0 to below 1'
        when p_money_scale is null or p_money_scale not between 0 and 8
            then 'the money scale is from 0 to 8'
    end;
    v_account_id bigint;
    v_account api.accounts;
begin
    if v_problem is not null then
        raise exception 'account cannot be opened so'
            using errcode = 'TM103',
                  detail = format(
                      'name: %s, currency: %s, position mode: %s, broker: %s, broker account: %s, '
                      'mark-up: %s, money scale: %s',
                      p_name, p_currency, p_position_mode, p_broker, p_broker_account_id,
                      p_conversion_markup, p_money_scale
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;

    insert into ledger.accounts (
        name, currency, position_mode, broker, broker_account_id, conversion_markup, money_scale
    ) values (
        p_name, p_currency, p_position_mode, p_broker, p_broker_account_id,
        p_conversion_markup, p_money_scale
    )
    on conflict (broker, broker_account_id) do nothing
    returning account_id into v_account_id;

    if v_account_id is null then
        select * into strict v_account
        from api.accounts
        where broker = p_broker and broker_account_id = p_broker_account_id;
        if (v_account.currency, v_account.position_mode,
            v_account.conversion_markup, v_account.money_scale)
            is distinct from (p_currency, p_position_mode, p_conversion_markup, p_money_scale) then
            raise exception 'broker account already has another account'
                using errcode = 'TM104',
                      detail = format(
                          'account_id: %s, currency: %s, position mode: %s',
                          v_account.account_id, v_account.currency, v_account.position_mode
                      ),
                      hint = 'api.accounts lists it.';
        end if;
        return v_account;
    end if;

    select * into strict v_account from api.accounts where account_id = v_account_id;
    return v_account;
end
$$;

comment on function api.open_account is
    'Opens an account and returns it as it stands in api.accounts; '
    'the same broker and broker account again return the first.';

grant execute on function api.open_account to tidemark_trading;
