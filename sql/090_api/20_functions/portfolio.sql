-- Everything that a page needs to start, from one snapshot of the database.
create or replace function api.portfolio_snapshot(p_account_ids bigint[]) returns jsonb
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
begin
    return relay.snapshot(p_account_ids, '{}', '{}', '{}', null)::jsonb - 'type';
end
$$;

comment on function api.portfolio_snapshot is
    'Everything that a page needs to start, of these accounts: state, open positions, the last 50 '
    'fills and the last events; amounts are decimal strings.';

grant execute on function api.portfolio_snapshot
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- What differs from what the relay holds of these accounts: a row for each account with another
-- version or event number, with the events after the one held, oldest first. One snapshot of the
-- database. A number below the one held says that the database was set back: a crash takes commits
-- with it that did not wait for the disk.
create or replace function api.portfolio_changes(
    p_account_ids bigint[], p_versions bigint[], p_event_seqs bigint[]
)
returns table (
    account_id bigint,
    version bigint,
    event_seq bigint,
    updated_at double precision,
    state text,
    positions text,
    events text[]
)
language plpgsql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    select
        p.account_id,
        p.version,
        p.event_seq,
        p.updated_at,
        p.state,
        p.positions,
        case when p.event_seq > held.event_seq
            then relay.events_after(p.account_id, held.event_seq) end
    from relay.portfolios(p_account_ids, p_versions, p_event_seqs) p
    join unnest(p_account_ids, p_event_seqs) held (account_id, event_seq)
        on held.account_id = p.account_id;
end
$$;

comment on function api.portfolio_changes is
    'State, positions and new events, as JSON texts, '
    'of those accounts whose version or last event is not the one held.';

grant execute on function api.portfolio_changes to tidemark_relay;
