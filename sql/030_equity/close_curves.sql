-- When a second is closed, and that nothing can slip in beside it.
-- Lock order: the curve's lock → tick statements → prices.

-- Up to where seconds may be closed now: by the clock, less what ticks take to arrive; by the
-- newest tick, when it arrived so long after its event time that others are on their way. Before
-- the first tick no second is closed: it may be one of long ago.
create or replace function equity.closable_to() returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_newest market.quotes;
    v_now constant timestamptz := clock_timestamp();
begin
    select * into v_newest
    from market.quotes
    where event_at is not null
    order by event_at desc
    limit 1;
    return date_trunc('second', case
        when v_newest.received_at - v_newest.event_at < interval '1 minute'
            then v_now - greatest(v_newest.received_at - v_newest.event_at, interval '0')
        else v_newest.event_at
    end - (select grace from equity.curve_settings));
end
$$;

comment on function equity.closable_to is 'Up to where event time has passed, less the grace.';

create or replace function equity.next_event_at(p_from timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return least(
        (select min(event_at) from ledger.fills where event_at >= p_from),
        (select min(event_at) from ledger.entries where event_at >= p_from),
        (
            select min(t.event_at)
            from market.instruments i
            cross join lateral (
                select k.event_at
                from market.ticks k
                where k.instrument_id = i.instrument_id and k.event_at >= p_from
                order by k.event_at
                limit 1
            ) t
        )
    );
end
$$;

comment on function equity.next_event_at is
    'Event time of the first tick, fill or entry from a moment on.';

-- Who closes or rebuilds holds the curve's lock to commit.
create or replace function equity.lock_curve() returns void
language sql
set search_path = pg_catalog, pg_temp
return pg_advisory_xact_lock(hashtextextended('tidemark curve', 0));

comment on function equity.lock_curve is 'Waits until nobody closes or rebuilds curves.';

create or replace function equity.try_lock_curve() returns boolean
language sql
set search_path = pg_catalog, pg_temp
return pg_try_advisory_xact_lock(hashtextextended('tidemark curve', 0));

comment on function equity.try_lock_curve is 'Whether nobody else closes or rebuilds curves.';

-- Says how far bars will be closed. Whatever is not committed by now and happened before is late,
-- and marks what it makes wrong: so nothing can slip in beside the closing without a trace.
-- Locks: the curve, tick statements, prices: for a moment.
create or replace function equity.announce_closing(p_to timestamptz) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_to constant timestamptz := coalesce(date_trunc('second', p_to), equity.closable_to());
begin
    if not equity.try_lock_curve() then
        return false;
    end if;
    if v_to > (select announced_to from equity.curve_clock) then
        perform market.lock_tick_statements();
        perform market.lock_prices_to_move();
        perform equity.classify_legs();
        update equity.curve_clock set announced_to = v_to;
    end if;
    return true;
end
$$;

comment on function equity.announce_closing is
    'Announces up to where bars will be closed (null: as far as may be); false while others do.';

-- Closes the next bars, of at most p_width. Locks: the curve.
create or replace function equity.close_stretch(p_width interval, out is_done boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_clock equity.curve_clock;
    v_from timestamptz;
    v_to timestamptz;
begin
    is_done := true;
    if not equity.try_lock_curve() then
        return;
    end if;
    select * into v_clock from equity.curve_clock;
    if v_clock.closed_to >= v_clock.announced_to then
        return;
    end if;
    -- nothing moves before the first booking, and not while nothing happens
    v_from := equity.next_event_at(greatest(v_clock.closed_to, least(
        (select min(event_at) from ledger.fills), (select min(event_at) from ledger.entries)
    )));
    v_from := least(date_trunc('second', v_from), v_clock.announced_to);
    v_to := least(v_from + p_width, v_clock.announced_to);
    if v_from < v_to then
        perform equity.log_bars(
            v_from, v_to, null, array(select instrument_id from market.instruments)
        );
    end if;
    update equity.curve_clock set closed_to = v_to;
    is_done := v_to >= v_clock.announced_to;
end
$$;

comment on function equity.close_stretch is
    'Closes the bars of the next p_width that were announced; is_done when all are closed.';

create or replace function equity.next_width(p_width interval, p_took interval) returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
return case
    when p_took > interval '1 second' then greatest(p_width / 4, interval '1 second')
    when p_took < interval '0.25 seconds' then least(p_width * 2, interval '1 hour')
    else p_width
end;

comment on function equity.next_width is
    'How much time to close in one statement after one that took so long.';

comment on table equity.curve_clock is
    'How far bars are closed: one row. What comes with an event time before announced_to is late.';
