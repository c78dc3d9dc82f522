-- Drops the bars of a second that equity.curve_settings.keep_seconds keeps no longer, whole days of
-- them; roll-ups stay. tidemark watch calls this; on the community edition a job does the work.
-- Locks: the curve; equity.rollup_clock, which keeps writers of bars out; the dropped chunks.
create or replace function api.drop_old_bars() returns int
language plpgsql
security definer  -- callers may have old bars dropped, but drop nothing else
set search_path = pg_catalog, pg_temp
as $$
begin
    if equity.edition() = 'community' then
        return 0;
    end if;
    return equity.drop_bars();
end
$$;

comment on function api.drop_old_bars is
    'Drops bars of a second that are older than equity.curve_settings.keep_seconds, if that is '
    'set, and returns how many days of them.';

grant execute on function api.drop_old_bars to tidemark_watch;

-- Makes the roll-ups of a stretch true at once after bars in it were changed. On the community
-- edition a job does so within a minute; on the Apache edition they are true at every moment, and
-- what closing would roll up next is rolled up at once.
-- For the owner; it commits, so it is called outside of a transaction.
create or replace procedure api.refresh_rollups(
    p_from timestamptz default '-infinity', p_to timestamptz default 'infinity'
)
language plpgsql
as $$
begin
    call equity.refresh_rollups(p_from, p_to);
    while api.roll_up_next_bars() loop
        commit;
    end loop;
end
$$;

comment on procedure api.refresh_rollups is
    'Brings the roll-ups of a stretch up to its bars, as far as bars are closed.';
