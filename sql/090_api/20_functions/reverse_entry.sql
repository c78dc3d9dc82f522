-- Takes an entry back: posts the opposite amount, of the same kind. The entry itself stays.
-- Locks, to commit: the prices (shared), then the account's row. Notifies: tidemark_account.
-- Raises: TM102 closed account, TM111 external id taken, TM113 event time, TM114 external id, TM151
-- unknown entry, TM152 a reversal, TM153 a fill's entry, TM141 isolation level.
create or replace function api.reverse_entry(
    p_entry_id bigint,
    p_event_at timestamptz default now(),
    p_external_id text default null,
    p_note text default null
) returns api.entries
language plpgsql
security definer  -- callers may book, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_reversed ledger.entries;
    v_account ledger.accounts;
    v_booked api.entries;
    v_entry_id bigint;
begin
    select * into v_reversed from ledger.entries where entry_id = p_entry_id;
    if not found then
        raise exception 'entry does not exist'
            using errcode = 'TM151', detail = format('entry_id: %s', p_entry_id),
                  hint = 'api.entries lists the entries.';
    end if;
    if v_reversed.fill_id is not null then
        raise exception 'the entry belongs to a fill'
            using errcode = 'TM153',
                  detail = format('entry_id: %s, fill_id: %s', p_entry_id, v_reversed.fill_id),
                  hint = 'Reverse the fill with api.reverse_fill.';
    end if;
    v_account := ledger.lock_account(v_reversed.account_id);

    -- asked again, it answers with what was booked
    select * into v_booked from api.entries where reverses_entry_id = p_entry_id;
    if found then
        return v_booked;
    end if;
    perform ledger.check_booking(p_event_at, p_external_id);
    perform ledger.refuse_closed(v_account);
    if v_reversed.reverses_entry_id is not null then
        raise exception 'a reversal is not reversed'
            using errcode = 'TM152',
                  detail = format(
                      'entry_id: %s, it reverses: %s', p_entry_id, v_reversed.reverses_entry_id
                  ),
                  hint = 'Record the entry again.';
    end if;
    if exists (
        select from ledger.entries
        where account_id = v_reversed.account_id and external_id = p_external_id
    ) then
        raise exception 'external id already names another entry'
            using errcode = 'TM111', detail = format('external_id: %s', p_external_id),
                  hint = 'Use another external id.';
    end if;

    v_entry_id := ledger.book_entry(
        v_reversed.account_id, v_reversed.kind, -v_reversed.amount, p_event_at,
        p_external_id, p_note, p_reverses_entry_id => p_entry_id
    );
    select * into strict v_booked from api.entries where entry_id = v_entry_id;
    return v_booked;
end
$$;

comment on function api.reverse_entry is
    'Takes an entry back by one of the opposite amount and returns that as it stands in '
    'api.entries; the same entry again returns the first reversal.';

grant execute on function api.reverse_entry to tidemark_trading, tidemark_reconcile;
