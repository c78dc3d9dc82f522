-- From positions to accounts.

-- Recomputes the state of these accounts from their positions and today's quotes.
-- Locks: equity.account_states of these accounts in id order, first, so that the statement that
-- recomputes sees all that was committed before it.
create or replace function equity.value_accounts(p_account_ids bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from equity.account_states
    where account_id = any (p_account_ids)
    order by account_id
    for no key update;

    update equity.account_states s
    set unrealized_pnl = n.unrealized_pnl, unpriced_positions = n.unpriced_positions,
        version = s.version + 1, updated_at = clock_timestamp()
    from (
        select account_id, coalesce(sum(v.unrealized_pnl), 0) as unrealized_pnl,
               count(*) filter (
                   where v.account_id is not null and v.unrealized_pnl is null
               ) as unpriced_positions
        from unnest(p_account_ids) wanted (account_id)
        left join equity.position_values v using (account_id)
        group by account_id
    ) n
    where s.account_id = n.account_id;
end
$$;

comment on function equity.value_accounts is
    'Brings the stored valuation of these accounts up to quotes and positions.';

-- Accounts with a position in one of these instruments, or in one that one of these pairs converts.
create or replace function equity.accounts_moved_by(
    p_instrument_ids bigint[], p_from_currencies text[], p_to_currencies text[]
) returns bigint[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select array_agg(account_id) from (
        select p.account_id
        from ledger.positions p
        where p.instrument_id = any (p_instrument_ids)
        union
        select p.account_id
        from unnest(p_from_currencies, p_to_currencies) moved (from_currency, to_currency)
        join market.instruments i on i.quote_currency = moved.from_currency
        join ledger.positions p on p.instrument_id = i.instrument_id
        join ledger.accounts a on a.account_id = p.account_id and a.currency = moved.to_currency
    ) holders;
$$;

comment on function equity.accounts_moved_by is
    'Ids of the accounts whose value these instruments and conversion pairs can move; '
    'null when there are none.';

comment on table equity.account_states is
    'The hot row of each account: what a tick, a fill or an entry moves. '
    'What can be derived is derived where it is read.';
comment on column equity.account_states.unrealized_pnl is
    'Sum of the priced positions'' rounded unrealized P&L, in account currency.';
comment on column equity.account_states.unpriced_positions is
    'Positions without a price or conversion rate; '
    'while there are any, the account''s unrealized P&L is unknown.';
comment on column equity.account_states.version is
    'Grows with every change, and orders the states of an account.';
