-- The invariants, each one statement over one snapshot: no rows when all is well.
create or replace function api.verify_equity()
returns table (account_id bigint, item text, stored numeric, expected numeric)
language sql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
    select account_id, item, stored, expected from equity.broken_invariants;
$$;

comment on function api.verify_equity is
    'Account states, conversion rates and quotes that differ from a valuation recomputed '
    'from fills, entries and quotes; no rows when all is well.';

create or replace function api.verify_ledger()
returns table (account_id bigint, item text, stored numeric, expected numeric)
language sql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
    select account_id, item, stored, expected from ledger.broken_invariants;
$$;

comment on function api.verify_ledger is
    'Entries, balances, fills and positions that contradict each other; no rows when all is well.';

grant execute on function api.verify_equity, api.verify_ledger
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
