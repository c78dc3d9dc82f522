-- What the relay asks on each new connection: whether all that it has read is still true.
-- A crash takes commits with it that did not wait for the disk, a failover those that had not been
-- copied. What comes after gets their numbers, so numbers alone do not tell that something is gone.
-- But an unlogged table is empty after both, and a database that was copied has another oid.
create or replace function api.timeline_id() returns text
language plpgsql
security definer  -- the relay may note a new timeline, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_timeline_id uuid;
begin
    if pg_is_in_recovery() then
        return 'a copy';  -- whose unlogged tables cannot be read
    end if;
    select timeline_id into v_timeline_id from relay.timeline;
    if not found then
        insert into relay.timeline default values on conflict do nothing;
        select timeline_id into strict v_timeline_id from relay.timeline;
    end if;
    return v_timeline_id || ' ' || (
        select oid from pg_database where datname = current_database()
    );
end
$$;

comment on function api.timeline_id is
    'Another text than before where commits may have been lost: after a crash, or a failover.';
comment on table relay.timeline is
    'One row, unlogged: it is lost, and made anew, where commits may have been lost.';

grant execute on function api.timeline_id to tidemark_relay;
