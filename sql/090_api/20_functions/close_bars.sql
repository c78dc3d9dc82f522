-- Closes all bars up to p_to, or as far as event time has passed, each stretch in a transaction of
-- its own, and rolls them up: so it is called outside of one, and can neither run as its owner nor
-- pin its search_path: what it calls does. Whoever comes while another closes has nothing to do.
-- Locks: the curve, then equity.rollup_clock; tick statements and prices for a moment.
-- Raises: TM171 p_to not usable.
create or replace procedure api.close_bars(p_to timestamptz default null)
language plpgsql
as $$
declare
    v_width interval := interval '1 second';
    v_began_at timestamptz;
begin
    if api.announce_closing(p_to) then
        commit;
        while v_width is not null loop
            v_began_at := clock_timestamp();
            v_width := api.close_next_bars(v_width);
            commit;
            while api.roll_up_next_bars() loop
                commit;
            end loop;
            -- who is behind with bars leaves a third of the time to ticks and bookings
            if v_width is not null then
                perform pg_sleep_for((clock_timestamp() - v_began_at) / 2);
            end if;
        end loop;
    end if;
end
$$;

comment on procedure api.close_bars is
    'Closes the bars of the equity curves up to p_to, by default as far as event time has passed.';

-- Locks, to commit: the curve, tick statements, prices. Raises: TM171.
create or replace function api.announce_closing(p_to timestamptz default null) returns boolean
language plpgsql
security definer  -- callers may close bars, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_to > clock_timestamp() then
        raise exception 'bars cannot be closed before their time has passed'
            using errcode = 'TM171', detail = format('p_to: %s', p_to),
                  hint = 'Pass a moment that has passed, or none for as far as may be.';
    end if;
    return equity.announce_closing(p_to);
end
$$;

comment on function api.announce_closing is
    'Says up to where bars will be closed, in a transaction that commits at once; false while '
    'another closes. api.close_bars calls it.';

-- Locks, to commit: the curve.
create or replace function api.close_next_bars(p_width interval) returns interval
language plpgsql
security definer  -- callers may close bars, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_began_at constant timestamptz := clock_timestamp();
    v_is_done boolean := equity.close_stretch(p_width);
begin
    return case when not v_is_done
        then equity.next_width(p_width, clock_timestamp() - v_began_at) end;
end
$$;

comment on function api.close_next_bars is
    'Closes the next bars that were announced, of p_width at the most, and returns the width for '
    'the ones after them; null when all are closed. api.close_bars calls it.';

-- Locks, to commit: equity.rollup_clock, which keeps writers of bars out; waits for none of them.
create or replace function api.roll_up_next_bars() returns boolean
language plpgsql
security definer  -- callers may have bars rolled up, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
begin
    return equity.edition() = 'apache' and equity.roll_up_next();
end
$$;

comment on function api.roll_up_next_bars is
    'Rolls up the buckets of one grain that are full, on the Apache edition; false when none is. '
    'api.close_bars calls it.';

grant execute on procedure api.close_bars to tidemark_ingest, tidemark_watch, tidemark_trading;
grant execute on function api.announce_closing, api.close_next_bars, api.roll_up_next_bars
    to tidemark_ingest, tidemark_watch, tidemark_trading;
