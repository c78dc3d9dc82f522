-- Holds the prices still, takes the account's lock and returns its row. Whoever books holds both to
-- commit, so that entries and fills of an account are numbered in the order of their commits.
-- Raises: TM101, TM141.
create or replace function ledger.lock_account(p_account_id bigint) returns ledger.accounts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts;
begin
    perform market.lock_prices_to_book();
    select * into v_account from ledger.accounts where account_id = p_account_id for no key update;
    if not found then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', p_account_id),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;
    return v_account;
end
$$;

comment on function ledger.lock_account is
    'Locks the prices and one account to the end of the transaction and returns the account.';

-- Raises: TM102.
create or replace function ledger.refuse_closed(p_account ledger.accounts) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_account.closed_at is not null then
        raise exception 'account is closed'
            using errcode = 'TM102',
                  detail = format(
                      'account_id: %s, closed at %s', p_account.account_id, p_account.closed_at
                  ),
                  hint = 'Book on an open account; api.accounts lists them.';
    end if;
end
$$;

comment on function ledger.refuse_closed is 'Raises an error for a closed account.';

comment on table ledger.accounts is
    'Trading accounts. The row is the account''s lock: who books, holds it to commit. '
    'balance and credit are the sums of the entries.';
comment on column ledger.accounts.net_flow is
    'Sum of the deposits, withdrawals and credits.';
comment on column ledger.accounts.money_scale is
    'Decimals of every amount in the account''s currency.';
comment on column ledger.accounts.conversion_markup is
    'Fraction by which the broker worsens the rate of realized P&L: '
    'gain × (1 − x), loss × (1 + x).';
comment on column ledger.accounts.last_event_seq is
    'Number of the account''s last event; events are numbered without gaps.';
comment on column ledger.accounts.hedged_margin is
    'Margin of a long and a short position of one instrument: of the larger_side, or of the net.';
