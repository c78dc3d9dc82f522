-- What every file after this one relies on: nobody uses a function that was not granted by name,
-- and the schemas with tables stay private. Only api is for others.
alter default privileges for role tidemark_owner revoke execute on functions from public;

-- Some versions of TimescaleDB let everybody drop or freeze anybody's chunks by these internal
-- functions. They are the extension's, so its owner takes them away: us, where we log in as such.
reset role;
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid
        from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname = '_timescaledb_functions'
          and p.proname in (
              'drop_chunk', 'drop_osm_chunk', 'freeze_chunk', 'unfreeze_chunk',
              'create_compressed_chunk', 'hypertable_osm_range_update',
              'lock_osm_chunk_dimension_slice'
          )
          and pg_catalog.pg_has_role(p.proowner, 'usage')
    loop
        execute pg_catalog.format('revoke execute on function %s from public', v_function);
    end loop;
end
$$;
set local role tidemark_owner;

grant usage on schema api to
    tidemark_trading, tidemark_ingest, tidemark_relay, tidemark_reconcile, tidemark_readonly,
    tidemark_watch;

comment on schema api is
    'The public interface of Tidemark: views to read, functions to write. '
    '\d+ api.* and \df+ api.* explain it.';
comment on schema market is
    'Instruments, ticks, quotes and conversion rates. Private: read and write through api.';
comment on schema ledger is
    'Accounts, entries, fills and positions. Private: read and write through api.';
comment on schema equity is 'The current valuation of every account. Private: read through api.';
comment on schema recon is
    'What brokers answered, how it compares with the ledger, and alerts. '
    'Private: read and write through api.';
comment on schema relay is
    'What the dashboard''s relay needs. Private: read and write through api.';
