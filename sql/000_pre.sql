-- What every file after this one relies on: nobody uses a function that was not granted by name,
-- and the schemas with tables stay private. Only api is for others.
alter default privileges for role tidemark_owner revoke execute on functions from public;

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
