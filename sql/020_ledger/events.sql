-- Writes what has happened to a discrepancy or an alert as the account's next event.
-- Locks, to commit: the prices (shared), then the account's row: who posts on several accounts
-- locks all of them first. Notifies: tidemark_account. Raises: TM101, TM141.
create or replace function ledger.post_event(
    p_account_id bigint,
    p_kind text,
    p_subject_id bigint,
    p_is_open boolean,
    p_body jsonb
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_event_seq bigint;
begin
    perform ledger.lock_account(p_account_id);
    update ledger.accounts set last_event_seq = last_event_seq + 1
    where account_id = p_account_id
    returning last_event_seq into v_event_seq;

    insert into ledger.events (account_id, event_seq, kind, subject_id, is_open, body)
    values (p_account_id, v_event_seq, p_kind, p_subject_id, p_is_open, p_body);
    perform pg_notify('tidemark_account', p_account_id::text);
    return v_event_seq;
end
$$;

comment on function ledger.post_event is
    'Writes an event of an account, as the page reads it, and returns its number.';

comment on table ledger.events is
    'What happened on accounts besides fills, append-only: each row is a discrepancy or an alert '
    'as it then stood. The numbers of an account''s fills and events have no gaps.';
comment on column ledger.events.subject_id is 'The discrepancy or alert that it is about.';
comment on column ledger.events.is_open is 'Whether the subject was open after it.';
comment on column ledger.events.body is 'The subject as the page reads it.';
