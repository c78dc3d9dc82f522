-- The life of a discrepancy: open → acknowledged → resolved, or open → resolved. While it lasts
-- its account and subject have one row; one that comes again is a new row.

create or replace function recon.severity_of(p_cause text) returns text
language sql immutable parallel safe
return case
    when p_cause in ('missing_fill', 'extra_fill', 'quantity') then 'critical'
    when p_cause in ('price_side', 'stale_price') then 'info'
    else 'warning'
end;

comment on function recon.severity_of is
    'How much a discrepancy of a cause matters: what changes positions most, what prices explain '
    'least.';

create or replace function recon.severity_above(p_severity text) returns text
language sql immutable parallel safe
return case p_severity when 'info' then 'warning' else 'critical' end;

comment on function recon.severity_above is 'The next severity: info, warning, critical.';

create or replace function recon.severity_rank(p_severity text) returns int
language sql immutable parallel safe
return array_position(array['info', 'warning', 'critical'], p_severity);

comment on function recon.severity_rank is 'Severities in order, from 1.';

grant execute on function recon.severity_of, recon.severity_above, recon.severity_rank to public;

-- As the page reads it.
create or replace function recon.discrepancy_json(p_discrepancy recon.discrepancies) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'discrepancy_id', p_discrepancy.discrepancy_id,
        'cause', p_discrepancy.cause,
        'severity', p_discrepancy.severity,
        'symbol', p_discrepancy.symbol,
        'field', p_discrepancy.field,
        'ours', trim_scale(p_discrepancy.ours)::text,
        'theirs', trim_scale(p_discrepancy.theirs)::text,
        'difference', trim_scale(p_discrepancy.difference)::text,
        'unit', p_discrepancy.unit,
        'status', p_discrepancy.status,
        'opened_at', recon.iso(p_discrepancy.opened_at),
        'last_seen_at', recon.iso(p_discrepancy.last_seen_at),
        'acknowledged_at', recon.iso(p_discrepancy.acknowledged_at),
        'acknowledged_by', p_discrepancy.acknowledged_by,
        'note', p_discrepancy.note,
        'resolved_at', recon.iso(p_discrepancy.resolved_at),
        'message', p_discrepancy.message
    );
$$;

comment on function recon.discrepancy_json is 'A discrepancy as the page reads it.';

-- Locks, to commit: the prices (shared), then the account's row. Notifies: tidemark_account.
create or replace function recon.post_discrepancy(p_discrepancy_id bigint) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    select ledger.post_event(
        d.account_id, 'discrepancy', d.discrepancy_id, d.status <> 'resolved',
        recon.discrepancy_json(d)
    )
    from recon.discrepancies d
    where d.discrepancy_id = p_discrepancy_id;
$$;

comment on function recon.post_discrepancy is 'Posts a discrepancy, as it stands, as an event.';

-- Opens what was seen before and is older than the grace time, notes what lasts, and resolves what
-- is seen no more. What could not be judged stays as it is.
-- The caller holds the row of recon.accounts and the account's lock.
create or replace function recon.keep_discrepancies(
    p_account ledger.accounts, p_found recon.differences[], p_now timestamptz
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_grace interval;
    v_found recon.differences;
    v_kept recon.discrepancies;
    v_is_news boolean;
begin
    select grace into strict v_grace from recon.settings;

    for v_found in
        select * from unnest(p_found) f where f.cause is not null and not f.is_young
        order by f.subject
    loop
        select * into v_kept
        from recon.discrepancies
        where account_id = p_account.account_id and subject = v_found.subject
          and resolved_at is null
        for update;
        if found then
            v_is_news := (v_kept.cause, v_kept.field, v_kept.ours, v_kept.theirs)
                is distinct from (v_found.cause, v_found.field, v_found.ours, v_found.theirs)
                -- figures that move with every price are news when their cause changes
                and (v_kept.cause <> v_found.cause or v_found.field not in (
                    'unrealized_pnl', 'equity', 'margin_used'
                ));
            update recon.discrepancies
            set cause = v_found.cause, field = v_found.field, ours = v_found.ours,
                theirs = v_found.theirs, difference = v_found.difference,
                message = v_found.message, evidence = v_found.evidence, last_seen_at = p_now
            where discrepancy_id = v_kept.discrepancy_id;
            if v_is_news then
                perform recon.post_discrepancy(v_kept.discrepancy_id);
            end if;
        elsif exists (
            select from recon.sightings s
            where s.account_id = p_account.account_id and s.subject = v_found.subject
              and s.first_seen_at < p_now and s.first_seen_at <= p_now - v_grace
        ) then
            insert into recon.discrepancies (
                account_id, subject, cause, severity, field, symbol, ours, theirs, difference,
                unit, message, evidence, opened_at, last_seen_at
            ) values (
                p_account.account_id, v_found.subject, v_found.cause,
                recon.severity_of(v_found.cause), v_found.field, v_found.symbol, v_found.ours,
                v_found.theirs, v_found.difference, v_found.unit, v_found.message,
                v_found.evidence, p_now, p_now
            ) returning * into v_kept;
            perform recon.post_discrepancy(v_kept.discrepancy_id);
            perform recon.raise_alert(
                'discrepancy', format('discrepancy %s', v_kept.discrepancy_id), v_kept.severity,
                format('%s: %s', p_account.name, replace(v_kept.cause, '_', ' ')),
                v_kept.message, array[p_account.account_id], v_kept.discrepancy_id, p_now
            );
        else
            insert into recon.sightings (account_id, subject, first_seen_at)
            values (p_account.account_id, v_found.subject, p_now)
            on conflict do nothing;
        end if;
    end loop;

    delete from recon.sightings s
    where s.account_id = p_account.account_id
      and not exists (
          select from unnest(p_found) f where f.subject = s.subject and not f.is_young
      );
    perform recon.resolve_discrepancy(d.discrepancy_id, 'the two sides agree', p_now)
    from (
        select k.discrepancy_id
        from recon.discrepancies k
        where k.account_id = p_account.account_id and k.resolved_at is null
          and not exists (select from unnest(p_found) f where f.subject = k.subject)
        order by k.discrepancy_id
    ) d;
end
$$;

comment on function recon.keep_discrepancies is
    'Opens, keeps and resolves the discrepancies of an account by what a look has found.';

create or replace function recon.resolve_discrepancy(
    p_discrepancy_id bigint, p_resolution text, p_now timestamptz
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update recon.discrepancies
    set status = 'resolved', resolved_at = p_now,
        resolution = case when evidence ? 'repaired_as'
            then format('repaired: booked as %s', evidence ->> 'repaired_as')
            else p_resolution end
    where discrepancy_id = p_discrepancy_id and resolved_at is null;
    if not found then
        return array[]::bigint[];
    end if;
    perform recon.post_discrepancy(p_discrepancy_id);
    return array(
        select r.alert_id
        from recon.alerts a
        cross join lateral recon.resolve_alert(a.alert_id, p_now) r
        where a.discrepancy_id = p_discrepancy_id and a.resolved_at is null
    );
end
$$;

comment on function recon.resolve_discrepancy is
    'Ends a discrepancy and its alert, and returns the ids of the alerts.';

-- Raises the severity of a discrepancy that nobody has acknowledged, once, and of its alert.
-- The caller holds the account's lock. Returns the alerts that have changed.
create or replace function recon.escalate_discrepancy(
    p_discrepancy_id bigint, p_now timestamptz
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_severity text;
begin
    update recon.discrepancies
    set severity = recon.severity_above(severity), escalated_at = p_now
    where discrepancy_id = p_discrepancy_id and status = 'open' and escalated_at is null
    returning severity into v_severity;
    if not found then
        return array[]::bigint[];
    end if;
    perform recon.post_discrepancy(p_discrepancy_id);
    return array(
        select e.alert_id
        from recon.alerts a
        cross join lateral recon.escalate_alert(a.alert_id, v_severity, p_now) e
        where a.discrepancy_id = p_discrepancy_id and a.status = 'raised'
    );
end
$$;

comment on function recon.escalate_discrepancy is
    'Raises the severity of a discrepancy and its alert, and returns the ids of the alerts.';

comment on table recon.sightings is
    'Differences that are not discrepancies yet: seen once, or younger than the grace time.';
comment on table recon.discrepancies is
    'What differs between broker and ledger, each with a life: open, acknowledged, resolved. '
    'There is one that lasts for an account and subject at the most.';
comment on column recon.discrepancies.subject is
    'What it is about: a transaction, or a figure of the account or of a position.';
comment on type recon.bookings is
    'A booking of the broker, of the ledger, or both beside each other; quantities are signed.';
comment on type recon.valuations is
    'A position of the broker, valued by our quotes of its moment.';
comment on type recon.differences is
    'Something that differs; without a cause, something that could not be judged.';
