create or replace view api.booking_sessions as
select l.pid, a.usename as user_name, a.application_name, a.state,
       a.xact_start as transaction_began_at, l.granted as holds_prices
from pg_catalog.pg_locks l
join pg_catalog.pg_stat_activity a using (pid)
cross join hashtextextended('tidemark prices', 0) as prices
where l.locktype = 'advisory' and l.mode = 'ShareLock' and l.objsubid = 1
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
  and (l.classid::bigint << 32 | l.objid::bigint) = prices;

comment on view api.booking_sessions is
    'Sessions that book and have not committed, the oldest first to blame when ticks stand still: '
    'prices do not move until they end (pg_terminate_backend ends one).';
comment on column api.booking_sessions.state is
    '"idle in transaction" for one that waits for its client; null where it may not be seen.';
comment on column api.booking_sessions.holds_prices is 'False for one that waits for a tick.';

grant select on api.booking_sessions
    to tidemark_trading, tidemark_reconcile, tidemark_readonly, tidemark_ingest, tidemark_watch;
