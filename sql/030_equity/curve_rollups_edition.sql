-- What differs by the edition of TimescaleDB that runs here is set up by one function.

-- Drops whole days of bars, as far as settings and roll-ups allow, and notes from where there are
-- bars now: roll-ups before that can no longer be made anew. Not while a rebuilding may be at them,
-- nor a refresh, and none whose roll-ups have yet to follow them.
-- Locks: the curve; the roll-ups; equity.rollup_clock, which keeps writers of bars out; the dropped
-- chunks.
create or replace function equity.drop_bars() returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before timestamptz;
    v_dropped int;
begin
    select date_trunc('day', least(k.closed_to, clock_timestamp()) - s.keep_seconds, 'UTC')
    into v_before
    from equity.curve_settings s, equity.curve_clock k;
    if v_before is null or v_before = '-infinity'
        or not equity.try_lock_curve()
        or not pg_try_advisory_xact_lock(hashtextextended('tidemark rollups', 0)) then
        return 0;
    end if;

    update equity.rollup_clock c
    set kept_from = v_before
    where c.kept_from < v_before
      and (equity.edition() = 'community' or c.to_1d >= v_before)
      and not exists (select from equity.rebuilt_stretches where from_at < v_before);
    if not found then
        return 0;
    end if;
    select count(*) into v_dropped from public.drop_chunks('equity.curve_bars', v_before);
    return v_dropped;
end
$$;

comment on function equity.drop_bars is
    'Drops the days of bars that are older than equity.curve_settings.keep_seconds; how many: none '
    'while others close or rebuild.';

-- Whatever has been set up stays as it is, so that this may run again at any time.
create or replace function equity.set_up_edition() returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_role text := current_setting('role');
begin
    perform set_config('role', 'tidemark_owner', true);
    if equity.edition() = 'community' then
        perform equity.set_up_community();
        perform set_config('role', 'none', true);
        perform equity.set_up_job();
    else
        perform equity.set_up_apache();
    end if;
    perform set_config('role', v_role, true);
    return equity.edition();
end
$$;

comment on function equity.set_up_edition is
    'Sets up what the edition of TimescaleDB that runs here can do, and says which one it is.';

-- Here and not at the end of sql/: later files need the views that it makes.
select equity.set_up_edition();
