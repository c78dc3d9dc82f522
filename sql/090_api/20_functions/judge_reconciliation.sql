-- The dead-man's switch, and escalation; tidemark watch calls this once a second, and anybody may.
-- Raises one alert while accounts that are to be reconciled have not been looked at, one for each
-- broker that does not answer, and ends them; escalates what nobody has acknowledged, and ends what
-- no look can end any more.
-- Locks: one advisory lock (whoever comes while another judges finds nothing changed); where there
-- is something to tell the prices (shared), then all accounts concerned in the order of their ids.
-- Notifies: tidemark_account. Raises: TM141 isolation level.
create or replace function api.judge_reconciliation() returns setof api.alerts
language plpgsql
security definer  -- callers may judge, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_settings recon.settings;
    v_changes jsonb;
    v_due record;
    v_changed bigint[] := array[]::bigint[];
begin
    if not pg_try_advisory_xact_lock(hashtextextended('tidemark reconciliation alerts', 0)) then
        return;
    end if;
    select * into strict v_settings from recon.settings;

    with looked_after as (
        select
            a.account_id, a.broker, r.failure,
            greatest(a.opened_at, r.enabled_at, r.last_run_at)
                < v_now - v_settings.stopped_after as is_left_out,
            r.failing_since is not null and greatest(r.failing_since, r.last_answer_at)
                < v_now - v_settings.stopped_after as is_unanswered
        from ledger.accounts a
        join api.accounts_to_reconcile w using (account_id)
        left join recon.accounts r using (account_id)
    ),
    wanted as (
        select
            'reconciliation_stopped' as kind, 'reconciliation_stopped' as subject,
            array_agg(l.account_id order by l.account_id) as account_ids,
            'Reconciliation has stopped' as title,
            format(
                'Accounts that have not been compared with their broker for %s: %s.',
                v_settings.stopped_after, count(*)
            ) as message
        from looked_after l
        where l.is_left_out
        having count(*) > 0
        union all
        select
            'broker_unreachable', 'broker_unreachable ' || l.broker,
            array_agg(l.account_id order by l.account_id),
            format('Broker %s does not answer', l.broker),
            format(
                'Accounts without an answer for %s: %s. %s',
                v_settings.stopped_after, count(*), min(l.failure)
            )
        from looked_after l
        where l.is_unanswered and not l.is_left_out
        group by l.broker
    ),
    changes as (
        select w.kind, w.subject, w.title, w.message, o.alert_id, null::bigint as discrepancy_id,
               null::boolean as is_over, coalesce(w.account_ids, o.account_ids) as account_ids
        from wanted w
        full join (
            select * from recon.alerts
            where resolved_at is null and kind in ('reconciliation_stopped', 'broker_unreachable')
        ) o on o.subject = w.subject
        where w.subject is null or o.subject is null
        union all
        select null, null, null, null, null, d.discrepancy_id, w.account_id is null,
               array[d.account_id]
        from recon.discrepancies d
        left join api.accounts_to_reconcile w using (account_id)
        where d.resolved_at is null and (
            w.account_id is null
            or d.status = 'open' and d.escalated_at is null
                and d.opened_at < v_now - v_settings.escalate_after
        )
    )
    select jsonb_agg(to_jsonb(c) order by c.discrepancy_id nulls first, c.alert_id nulls last)
    into v_changes
    from changes c;
    if v_changes is null then
        return;
    end if;

    perform ledger.lock_account(a.account_id)
    from (
        select distinct id::bigint as account_id
        from jsonb_array_elements(v_changes) c
        cross join jsonb_array_elements_text(c -> 'account_ids') id
        order by account_id
    ) a;
    for v_due in
        select *
        from jsonb_to_recordset(v_changes) c (
            kind text, subject text, title text, message text, alert_id bigint,
            discrepancy_id bigint, is_over boolean, account_ids bigint[]
        )
    loop
        v_changed := v_changed || case
            when v_due.is_over
                then recon.resolve_discrepancy(
                    v_due.discrepancy_id, 'the account is not reconciled any more', v_now
                )
            when v_due.discrepancy_id is not null
                then recon.escalate_discrepancy(v_due.discrepancy_id, v_now)
            when v_due.alert_id is not null
                then array[(recon.resolve_alert(v_due.alert_id, v_now)).alert_id]
            else array[(recon.raise_alert(
                v_due.kind, v_due.subject, 'critical', v_due.title, v_due.message,
                v_due.account_ids, null, v_now
            )).alert_id]
        end;
    end loop;

    return query select a.* from api.alerts a where a.alert_id = any (v_changed) order by 1;
end
$$;

comment on function api.judge_reconciliation is
    'Raises, escalates and ends the alerts that time brings, and returns those as they stand in '
    'api.alerts.';

grant execute on function api.judge_reconciliation
    to tidemark_watch, tidemark_reconcile, tidemark_trading;
