-- What happened on an account, as the page reads it.

create or replace function relay.fill_json(p_fill ledger.fills, p_symbol text) returns text
language sql stable
return '{"fill_id":' || p_fill.fill_id
    || ',"event_seq":' || p_fill.event_seq
    || ',"symbol":' || relay.words(p_symbol)
    || ',"side":"' || p_fill.side
    || '","quantity":' || relay.amount(p_fill.quantity)
    || ',"price":' || relay.amount(p_fill.price)
    || ',"effect":"' || p_fill.effect
    || '","realized_pnl":' || relay.amount(p_fill.realized_pnl)
    || ',"commission":' || relay.amount(p_fill.commission)
    || ',"event_at":' || relay.instant(p_fill.event_at)
    || ',"recorded_at":' || relay.instant(p_fill.recorded_at)
    || ',"external_id":' || relay.words(p_fill.external_id)
    || '}';

comment on function relay.fill_json is 'A fill as the page reads it.';

create or replace function relay.event_json(p_event ledger.events) returns text
language sql stable
return '{"type":"' || p_event.kind
    || '","account_id":' || p_event.account_id
    || ',"event_seq":' || p_event.event_seq
    || ',"recorded_at":' || relay.instant(p_event.recorded_at)
    || ',"' || p_event.kind || '":' || p_event.body::text
    || '}';

comment on function relay.event_json is 'A discrepancy or an alert as the message that tells it.';

-- Trades come without the state after them, which the relay adds. When they were committed is known
-- only where the server has track_commit_timestamp on.
create or replace function relay.events_after(p_account_id bigint, p_event_seq bigint)
returns text[]
language plpgsql stable  -- keeps its plan: every trade waits for this
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        select array_agg(e.message order by e.event_seq)
        from (
            select
                f.event_seq,
                '{"type":"trade","account_id":' || f.account_id
                || ',"event_seq":' || f.event_seq
                || ',"fill":' || relay.fill_json(f, i.symbol)
                || ',"committed_at":' || relay.instant(
                    case when current_setting('track_commit_timestamp') = 'on'
                        then pg_xact_commit_timestamp(f.xmin) end
                )
                || '}' as message
            from ledger.fills f
            join market.instruments i using (instrument_id)
            where f.account_id = p_account_id and f.event_seq > p_event_seq
            union all
            select v.event_seq, relay.event_json(v)
            from ledger.events v
            where v.account_id = p_account_id and v.event_seq > p_event_seq
        ) e
    );
end
$$;

comment on function relay.events_after is
    'Messages of what happened on an account after an event, oldest first.';

-- The last fills, and with them all that happened from history_from on: p_length events. Of what is
-- still open the latest event comes always.
create or replace function relay.history(p_account_id bigint, p_event_seq bigint, p_length int)
returns table (history_from bigint, fills text, events text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    history_from := greatest(1, p_event_seq - p_length + 1);
    select coalesce(
        string_agg(relay.fill_json(l.fill, i.symbol), ',' order by (l.fill).event_seq desc), ''
    ) into fills
    from (
        select f as fill
        from ledger.fills f
        where account_id = p_account_id
        order by event_seq desc
        limit p_length
    ) l
    join market.instruments i on i.instrument_id = (l.fill).instrument_id;
    select coalesce(string_agg(relay.event_json(v), ',' order by v.event_seq desc), '')
    into events
    from ledger.events v
    where v.account_id = p_account_id
      and (v.event_seq >= history_from or v.is_open and not exists (
          select from ledger.events later
          where later.account_id = v.account_id and later.kind = v.kind
            and later.subject_id = v.subject_id and later.event_seq > v.event_seq
      ));
    return next;
end
$$;

comment on function relay.history is
    'The last fills and events of an account, newest first, as the page reads them.';
