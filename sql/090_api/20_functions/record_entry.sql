-- Books a cash movement of an account and moves its balance (for kind credit, its credit) by it.
-- Locks, to commit: the prices (shared), then the account's row. Notifies: tidemark_account.
-- Raises: TM101 unknown account, TM102 closed account, TM110 amount not usable, TM111 same id with
-- another content, TM112 kind not usable, TM113 event time, TM114 external id, TM141 isolation.
create or replace function api.record_entry(
    p_account_id bigint,
    p_kind text,
    p_amount numeric,
    p_event_at timestamptz default now(),
    p_external_id text default null,
    p_note text default null
) returns api.entries
language plpgsql
security definer  -- callers may book, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts := ledger.lock_account(p_account_id);
    v_entry api.entries;
    v_entry_id bigint;
begin
    if p_amount is null or p_amount = 0 or not abs(p_amount) < 1e15
        or min_scale(p_amount) > v_account.money_scale then
        raise exception 'amount is not usable'
            using errcode = 'TM110', detail = format('amount: %s', p_amount),
                  hint = format(
                      'It must be not zero, below 10^15, and have at most %s decimals.',
                      v_account.money_scale
                  );
    end if;
    perform ledger.check_booking(p_event_at, p_external_id);
    if p_kind is null or p_kind not in (
        'deposit', 'withdrawal', 'realized_pnl', 'commission',
        'financing', 'dividend', 'credit', 'adjustment'
    ) then
        raise exception 'kind of entry does not exist'
            using errcode = 'TM112', detail = format('kind: %s', p_kind),
                  hint = 'Kinds: deposit, withdrawal, realized_pnl, commission, '
                         'financing, dividend, credit, adjustment.';
    end if;
    if (p_kind = 'deposit' and p_amount < 0)
        or (p_kind in ('withdrawal', 'commission') and p_amount > 0) then
        raise exception 'sign does not fit the kind of entry'
            using errcode = 'TM112', detail = format('kind: %s, amount: %s', p_kind, p_amount),
                  hint = 'Deposits are positive; withdrawals and commissions are negative.';
    end if;

    -- the broker may tell us twice: the same entry again is answered with what was booked
    select * into v_entry
    from api.entries
    where account_id = p_account_id and external_id = p_external_id;
    if found then
        if v_entry.reverses_entry_id is not null
            or (v_entry.kind, v_entry.amount) is distinct from (p_kind, p_amount) then
            raise exception 'external id already names another entry'
                using errcode = 'TM111',
                      detail = format(
                          'external_id: %s, booked: %s %s',
                          p_external_id, v_entry.kind, v_entry.amount
                      ),
                      hint = 'Use another external id, or book the difference as an adjustment.';
        end if;
        return v_entry;
    end if;
    perform ledger.refuse_closed(v_account);

    v_entry_id := ledger.book_entry(
        p_account_id, p_kind, round(p_amount, v_account.money_scale),
        p_event_at, p_external_id, p_note
    );
    select * into strict v_entry from api.entries where entry_id = v_entry_id;
    return v_entry;
end
$$;

comment on function api.record_entry is
    'Books a cash movement (amount in account currency, negative takes out) and returns it as it '
    'stands in api.entries; the same external id again returns the first booking.';

grant execute on function api.record_entry to tidemark_trading, tidemark_reconcile;
