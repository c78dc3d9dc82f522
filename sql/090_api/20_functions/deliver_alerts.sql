-- Takes deliveries that are due, the oldest first, and leases them: each is due again after the
-- lease, later each time (30 s, 1 min, 2 min … 1 h), until it was reported as delivered. So each is
-- delivered at least once. In a channel's quiet hours what is not critical waits for their end.
-- Locks, to commit: the deliveries taken; others' are left out. Raises: TM414 arguments not usable.
create or replace function api.take_alerts(
    p_limit int default 100, p_lease interval default interval '1 minute'
)
returns table (
    delivery_id bigint, alert_id bigint, channel text, target text, occasion text, attempt int,
    body jsonb
)
language plpgsql
security definer  -- callers may deliver, but not write the table
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
begin
    if not coalesce(p_limit > 0 and p_lease > interval '0', false) then
        raise exception 'deliveries cannot be taken so'
            using errcode = 'TM414', detail = format('limit: %s, lease: %s', p_limit, p_lease),
                  hint = 'Pass a positive limit and a positive lease.';
    end if;
    return query
    with due as (
        select d.delivery_id
        from recon.alert_deliveries d
        join recon.alert_channels c using (channel_id)
        where d.delivered_at is null and d.due_at <= v_now and c.is_enabled
          and (d.severity = 'critical' or not recon.is_quiet(c, v_now))
        order by d.due_at, d.delivery_id
        limit p_limit
        for update of d skip locked
    ),
    taken as (
        update recon.alert_deliveries d
        set attempts = d.attempts + 1,
            due_at = v_now + greatest(p_lease, recon.retry_delay(d.attempts + 1))
        from due
        where d.delivery_id = due.delivery_id
        returning d.*
    )
    select
        t.delivery_id, t.alert_id, c.name, c.target, t.occasion, t.attempts,
        recon.alert_json(a) || jsonb_build_object(
            'status', t.occasion,
            'severity', t.severity,
            'accounts', (
                select jsonb_agg(jsonb_build_object(
                    'account_id', n.account_id, 'name', n.name
                ) order by n.account_id)
                from ledger.accounts n
                where n.account_id = any (a.account_ids)
            )
        )
    from taken t
    join recon.alert_channels c using (channel_id)
    join recon.alerts a using (alert_id)
    order by t.delivery_id;
end
$$;

comment on function api.take_alerts is
    'Takes up to p_limit deliveries that are due, for at least p_lease; body is the alert as it '
    'was on that occasion, with its accounts. api.report_alert_delivery says how it went.';

-- Says how a delivery went; one that failed is due again, later each time.
-- Raises: TM410 unknown delivery.
create or replace function api.report_alert_delivery(
    p_delivery_id bigint, p_ok boolean, p_error text default null
) returns api.alert_deliveries
language plpgsql
security definer  -- callers may report, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_result api.alert_deliveries;
begin
    update recon.alert_deliveries
    set delivered_at = case when p_ok then v_now end,
        due_at = case when p_ok then due_at else v_now + recon.retry_delay(attempts) end,
        last_error = case when not p_ok then left(coalesce(p_error, 'unknown'), 1000)
            else last_error end
    where delivery_id = p_delivery_id and delivered_at is null;
    select * into v_result from api.alert_deliveries where delivery_id = p_delivery_id;
    if not found then
        raise exception 'delivery does not exist'
            using errcode = 'TM410', detail = format('delivery_id: %s', p_delivery_id),
                  hint = 'api.take_alerts hands them out; api.alert_deliveries lists them.';
    end if;
    return v_result;
end
$$;

comment on function api.report_alert_delivery is
    'Says whether a delivery went well, and if not why, and returns it as it stands in '
    'api.alert_deliveries; one that was delivered stays so.';

-- Makes a channel, or changes it; what is due on one that is disabled is dropped. Quiet hours are
-- from and to a local time of its zone, over midnight if to is the earlier.
-- Raises: TM409 channel not usable.
create or replace function api.set_alert_channel(
    p_name text,
    p_target text,
    p_min_severity text default 'info',
    p_quiet_from time default null,
    p_quiet_to time default null,
    p_time_zone text default 'UTC',
    p_is_enabled boolean default true
) returns api.alert_channels
language plpgsql
security definer  -- callers may set channels, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when coalesce(p_name, '') !~ '[^[:space:]]' or length(p_name) > 200
            then 'the name is not blank and has at most 200 characters'
        when coalesce(p_target, '') !~ '[^[:space:]]' or length(p_target) > 2000
            then 'the target is not blank and has at most 2000 characters'
        when p_min_severity is null or p_min_severity not in ('info', 'warning', 'critical')
            then 'the least severity is info, warning or critical'
        when num_nulls(p_quiet_from, p_quiet_to) = 1 or p_quiet_from = p_quiet_to
            then 'quiet hours have two ends that differ, or none'
        when not exists (select from pg_catalog.pg_timezone_names where name = p_time_zone)
            then 'the time zone is a name such as Europe/London'
        when p_is_enabled is null then 'it is enabled or not'
    end;
    v_result api.alert_channels;
begin
    if v_problem is not null then
        raise exception 'channel is not usable'
            using errcode = 'TM409',
                  detail = format(
                      'name: %s, least severity: %s, quiet from: %s, to: %s, time zone: %s',
                      p_name, p_min_severity, p_quiet_from, p_quiet_to, p_time_zone
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;
    insert into recon.alert_channels (
        name, target, min_severity, quiet_from, quiet_to, time_zone, is_enabled
    ) values (
        p_name, p_target, p_min_severity, p_quiet_from, p_quiet_to, p_time_zone, p_is_enabled
    )
    on conflict (name) do update
    set target = excluded.target, min_severity = excluded.min_severity,
        quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to,
        time_zone = excluded.time_zone, is_enabled = excluded.is_enabled;
    if not p_is_enabled then
        delete from recon.alert_deliveries d
        using recon.alert_channels c
        where c.name = p_name and d.channel_id = c.channel_id and d.delivered_at is null;
    end if;
    select * into strict v_result from api.alert_channels where name = p_name;
    return v_result;
end
$$;

comment on function api.set_alert_channel is
    'Makes or changes a channel of alerts and returns it; from p_quiet_from to p_quiet_to, local '
    'time of p_time_zone, alerts below critical wait.';

-- Raises: TM409 no such channel that is enabled.
create or replace function api.send_test_alert(p_channel text default null) returns api.alerts
language plpgsql
security definer  -- callers may test channels, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_alert_id bigint;
    v_result api.alerts;
begin
    if not exists (
        select from recon.alert_channels
        where is_enabled and (p_channel is null or name = p_channel)
    ) then
        raise exception 'there is no such channel that is enabled'
            using errcode = 'TM409', detail = format('channel: %s', p_channel),
                  hint = 'api.alert_channels lists them; api.set_alert_channel makes one.';
    end if;
    insert into recon.alerts (
        kind, subject, severity, status, title, message, account_ids, raised_at, resolved_at
    ) values (
        'test', 'test', 'info', 'resolved', 'Test alert',
        'This is a test of the way that alerts take. Nothing has happened.', '{}', v_now, v_now
    ) returning alert_id into v_alert_id;
    insert into recon.alert_deliveries (alert_id, channel_id, occasion, severity, due_at)
    select v_alert_id, channel_id, 'raised', 'critical', v_now
    from recon.alert_channels
    where is_enabled and (p_channel is null or name = p_channel)
    order by channel_id;
    select * into strict v_result from api.alerts where alert_id = v_alert_id;
    return v_result;
end
$$;

comment on function api.send_test_alert is
    'Makes an alert due on a channel, or on all that are enabled, whatever their severity and '
    'quiet hours, and returns it as it stands in api.alerts. It is not open, and no event.';

-- both send: that reconciliation has stopped must be told when its process is gone
grant execute on function api.take_alerts, api.report_alert_delivery
    to tidemark_reconcile, tidemark_watch;
grant execute on function api.set_alert_channel, api.send_test_alert
    to tidemark_trading, tidemark_reconcile;
