-- What every booking has: when it happened, and the broker's id or null for none. An empty text
-- would be the same id every time, and all bookings but the first would be taken for repeats.
-- Raises: TM113, TM114.
create or replace function ledger.check_booking(p_event_at timestamptz, p_external_id text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_event_at is null or p_event_at not between '1970-01-01' and '9999-01-01' then
        raise exception 'event time is not usable'
            using errcode = 'TM113', detail = format('event_at: %s', p_event_at),
                  hint = 'It must be an instant from 1970 to 9998.';
    end if;
    if p_external_id !~ '[^[:space:]]' or length(p_external_id) > 200 then
        raise exception 'external id is not usable'
            using errcode = 'TM114', detail = format('external_id: %L', left(p_external_id, 200)),
                  hint = 'It must not be blank, of at most 200 characters; null is no id.';
    end if;
end
$$;

comment on function ledger.check_booking is
    'Raises an error for an event time or external id that no booking may have.';

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
    p_conversion_rate numeric default null,
    p_reverses_entry_id bigint default null
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_balance numeric;
    v_entry_id bigint;
begin
    update ledger.accounts
    set balance = balance + case when p_kind = 'credit' then 0 else p_amount end,
        credit = credit + case when p_kind = 'credit' then p_amount else 0 end,
        net_flow = net_flow
            + case when p_kind in ('deposit', 'withdrawal', 'credit') then p_amount else 0 end
    where account_id = p_account_id
    returning balance into v_balance;

    insert into ledger.entries (
        account_id, kind, amount, balance_after, event_at, external_id, note,
        fill_id, conversion_rate, reverses_entry_id
    ) values (
        p_account_id, p_kind, p_amount, v_balance, p_event_at, p_external_id, p_note,
        p_fill_id, p_conversion_rate, p_reverses_entry_id
    ) returning entry_id into v_entry_id;
    return v_entry_id;
end
$$;

comment on function ledger.book_entry is
    'Writes one entry and moves the balance (or, for kind credit, the credit) by it.';
