-- Stretches of curves that something with this event time makes wrong, if bars are closed there.
create or replace function equity.mark_bookings(
    p_account_ids bigint[], p_event_at timestamptz[], p_reason text
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.curve_marks (account_id, from_at, to_at, reason)
    select b.account_id, date_trunc('second', min(b.event_at)), 'infinity', p_reason
    from unnest(p_account_ids, p_event_at) b (account_id, event_at)
    where b.event_at < (select announced_to from equity.curve_clock)
    group by b.account_id;
end
$$;

comment on function equity.mark_bookings is
    'Marks the curves of accounts from late bookings on.';

-- A late tick counts until the next one of its instrument.
create or replace function equity.mark_ticks(
    p_instrument_ids bigint[], p_event_at timestamptz[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.curve_marks (from_at, to_at, reason)
    select date_trunc('second', min(l.event_at)),
           date_trunc('second', max(coalesce(n.event_at, c.announced_to))) + interval '1 second',
           'late tick'
    from unnest(p_instrument_ids, p_event_at) l (instrument_id, event_at)
    join equity.curve_clock c on l.event_at < c.announced_to
    left join lateral (
        select k.event_at
        from market.ticks k
        where k.instrument_id = l.instrument_id and k.event_at > l.event_at
        order by k.event_at
        limit 1
    ) n on true
    having count(*) > 0;
end
$$;

comment on function equity.mark_ticks is 'Marks the curves from late ticks on.';

comment on table equity.curve_marks is
    'Stretches of curves (of every account where account_id is null) that something late has made '
    'wrong, until they are rebuilt.';
