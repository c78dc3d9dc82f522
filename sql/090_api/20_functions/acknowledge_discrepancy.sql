-- Says that somebody looks after a discrepancy: it is escalated no more. Doing it again, or for
-- one that has been resolved meanwhile, changes nothing.
-- Locks, to commit: the prices (shared), then the account's row, then the discrepancy.
-- Notifies: tidemark_account. Raises: TM407 unknown discrepancy, TM408 nobody, TM141 isolation.
create or replace function api.acknowledge_discrepancy(
    p_discrepancy_id bigint, p_by text, p_note text default null
) returns api.discrepancies
language plpgsql
security definer  -- callers may acknowledge, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_id bigint;
    v_result api.discrepancies;
begin
    if coalesce(p_by, '') !~ '[^[:space:]]' or length(p_by) > 200 or length(p_note) > 2000 then
        raise exception 'discrepancy is acknowledged by somebody'
            using errcode = 'TM408', detail = format('by: %L', left(p_by, 200)),
                  hint = 'Pass who looks after it, of at most 200 characters, and a note of at '
                         'most 2000, or none.';
    end if;
    select account_id into v_account_id
    from recon.discrepancies where discrepancy_id = p_discrepancy_id;
    if not found then
        raise exception 'discrepancy does not exist'
            using errcode = 'TM407', detail = format('discrepancy_id: %s', p_discrepancy_id),
                  hint = 'api.discrepancies lists them.';
    end if;

    perform ledger.lock_account(v_account_id);
    update recon.discrepancies
    set status = 'acknowledged', acknowledged_at = clock_timestamp(), acknowledged_by = p_by,
        note = p_note
    where discrepancy_id = p_discrepancy_id and status = 'open';
    if found then
        perform recon.post_discrepancy(p_discrepancy_id);
    end if;
    select * into strict v_result
    from api.discrepancies where discrepancy_id = p_discrepancy_id;
    return v_result;
end
$$;

comment on function api.acknowledge_discrepancy is
    'Says who looks after a discrepancy, with a note, and returns it as it stands in '
    'api.discrepancies.';

grant execute on function api.acknowledge_discrepancy to tidemark_trading, tidemark_reconcile;
