-- Alerts: one when something begins, one when nobody has looked at it for long, one when it ends.
-- Each is due once on every channel that takes its severity, and stays due until it was delivered.
--
--   raised → escalated → resolved, or raised → resolved
--
-- In a channel's quiet hours alerts wait until they end, but critical ones do not wait.

create or replace function recon.alert_json(p_alert recon.alerts) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'alert_id', p_alert.alert_id,
        'kind', p_alert.kind,
        'severity', p_alert.severity,
        'status', p_alert.status,
        'title', p_alert.title,
        'message', p_alert.message,
        'raised_at', recon.iso(p_alert.raised_at),
        'resolved_at', recon.iso(p_alert.resolved_at),
        'discrepancy_id', p_alert.discrepancy_id
    );
$$;

comment on function recon.alert_json is 'An alert as the page reads it.';

-- Posts the alert, as it stands, on its accounts, and makes it due on the channels that take it;
-- its end is told to those that were told its beginning.
-- Locks, to commit: the prices (shared), then the accounts' rows. Notifies: tidemark_account.
create or replace function recon.tell_alert(p_alert recon.alerts, p_now timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_id bigint;
begin
    for v_account_id in select id from unnest(p_alert.account_ids) id order by id loop
        perform ledger.post_event(
            v_account_id, 'alert', p_alert.alert_id, p_alert.status <> 'resolved',
            recon.alert_json(p_alert)
        );
    end loop;
    insert into recon.alert_deliveries (alert_id, channel_id, occasion, severity, due_at)
    select p_alert.alert_id, c.channel_id, p_alert.status, p_alert.severity, p_now
    from recon.alert_channels c
    where c.is_enabled
      and case p_alert.status
          when 'resolved' then exists (
              select from recon.alert_deliveries d
              where d.alert_id = p_alert.alert_id and d.channel_id = c.channel_id
          )
          else recon.severity_rank(p_alert.severity) >= recon.severity_rank(c.min_severity)
      end
    order by c.channel_id;
end
$$;

comment on function recon.tell_alert is
    'Posts an alert as events and makes it due on the channels that take it.';

create or replace function recon.raise_alert(
    p_kind text, p_subject text, p_severity text, p_title text, p_message text,
    p_account_ids bigint[], p_discrepancy_id bigint, p_now timestamptz
) returns recon.alerts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert recon.alerts;
begin
    insert into recon.alerts (
        kind, subject, severity, title, message, account_ids, discrepancy_id, raised_at
    ) values (
        p_kind, p_subject, p_severity, p_title, p_message, p_account_ids, p_discrepancy_id, p_now
    ) returning * into v_alert;
    perform recon.tell_alert(v_alert, p_now);
    return v_alert;
end
$$;

comment on function recon.raise_alert is 'Raises an alert and tells it.';

create or replace function recon.escalate_alert(
    p_alert_id bigint, p_severity text, p_now timestamptz
) returns recon.alerts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert recon.alerts;
begin
    update recon.alerts
    set status = 'escalated', severity = p_severity, escalated_at = p_now
    where alert_id = p_alert_id and status = 'raised'
    returning * into v_alert;
    if found then
        perform recon.tell_alert(v_alert, p_now);
    end if;
    return v_alert;
end
$$;

comment on function recon.escalate_alert is 'Raises an alert''s severity and tells it again.';

create or replace function recon.resolve_alert(p_alert_id bigint, p_now timestamptz)
returns recon.alerts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert recon.alerts;
begin
    update recon.alerts set status = 'resolved', resolved_at = p_now
    where alert_id = p_alert_id and status <> 'resolved'
    returning * into v_alert;
    if found then
        perform recon.tell_alert(v_alert, p_now);
    end if;
    return v_alert;
end
$$;

comment on function recon.resolve_alert is 'Ends an alert and tells it.';

-- Over midnight, if the end is the earlier.
create or replace function recon.is_quiet(p_channel recon.alert_channels, p_now timestamptz)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_time time := (p_now at time zone p_channel.time_zone)::time;
begin
    return coalesce(case
        when p_channel.quiet_from < p_channel.quiet_to
            then v_time >= p_channel.quiet_from and v_time < p_channel.quiet_to
        else v_time >= p_channel.quiet_from or v_time < p_channel.quiet_to
    end, false);
end
$$;

comment on function recon.is_quiet is 'Whether a moment is in the quiet hours of a channel.';

create or replace function recon.retry_delay(p_attempts int) returns interval
language sql immutable parallel safe
return least(interval '1 hour', interval '30 seconds' * 2 ^ least(p_attempts - 1, 12));

comment on function recon.retry_delay is
    'How long after a failed attempt the next one is due: 30 s, 1 min, 2 min … 1 h.';

grant execute on function recon.retry_delay to public;

comment on table recon.alerts is
    'What somebody should know, each with a life: raised, escalated, resolved. There is one that '
    'lasts for a subject at the most.';
comment on table recon.alert_channels is
    'Where alerts are delivered to, from which severity, and when not to be disturbed.';
comment on column recon.alert_channels.target is
    'What the sender makes of it: an address, or the name of a secret that holds it.';
comment on table recon.alert_deliveries is
    'The outbox: what is to be told on each channel, once for each occasion, until it was.';
comment on column recon.alert_deliveries.due_at is
    'From when it may be sent; who takes it moves this on, as a lease and as the delay to the next '
    'attempt.';
