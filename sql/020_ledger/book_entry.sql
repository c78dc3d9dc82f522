-- Books an amount that has been checked on an account whose row the caller has locked.
-- Locks: ledger.accounts (one row, already held). Notifies: through the trigger on ledger.entries.
create or replace function ledger.book_entry(
    p_account_id bigint,
    p_kind text,
    p_amount numeric,
    p_event_at timestamptz,
    p_external_id text default null,
    p_note text default null,
    p_fill_id bigint default null,
    p_conversion_rate numeric default null
) returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    with account as (
        update ledger.accounts
        set balance = balance + case when p_kind = 'credit' then 0 else p_amount end,
            credit = credit + case when p_kind = 'credit' then p_amount else 0 end
        where account_id = p_account_id
        returning balance
    )
    insert into ledger.entries (
        account_id, kind, amount, balance_after, event_at, external_id, note,
        fill_id, conversion_rate
    )
    select p_account_id, p_kind, p_amount, balance, p_event_at, p_external_id, p_note,
           p_fill_id, p_conversion_rate
    from account
    returning entry_id;
$$;

comment on function ledger.book_entry is
    'Writes one entry and moves the balance (or, for kind credit, the credit) by it.';
