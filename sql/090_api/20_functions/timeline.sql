-- What the relay asks on each new connection: whether all that it has read is still true.
create or replace function api.timeline_id() returns text
language sql
security definer  -- the relay may note a new timeline, but not write the table
set search_path = pg_catalog, pg_temp
as $$
    select relay.timeline_id();
$$;

comment on function api.timeline_id is
    'Another text than before where commits may have been lost: after a crash, or a failover.';

grant execute on function api.timeline_id to tidemark_relay;
