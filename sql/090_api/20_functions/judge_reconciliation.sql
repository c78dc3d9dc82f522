-- The dead-man's switch, and escalation; tidemark watch calls this once a second, and anybody may.
-- Raises one alert while accounts that are to be reconciled have not been looked at, one for each
-- broker that does not answer, and ends them; escalates what nobody has acknowledged.
-- Locks: one advisory lock (whoever comes while another judges finds nothing changed); where there
-- is something to tell the prices (shared), then the accounts' rows in the order of their ids.
-- Notifies: tidemark_account. Raises: TM141 isolation level.
create or replace function api.judge_reconciliation() returns setof api.alerts
language plpgsql
security definer  -- callers may judge, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_settings recon.settings;
    v_due record;
    v_changed bigint[] := array[]::bigint[];
begin
    if not pg_try_advisory_xact_lock(hashtextextended('tidemark reconciliation alerts', 0)) then
        return;
    end if;
    select * into strict v_settings from recon.settings;

    for v_due in
        with looked_after as (
            select
                a.account_id, a.broker,
                greatest(a.opened_at, r.enabled_at, r.last_run_at)
                    < v_now - v_settings.stopped_after as is_left_out,
                greatest(r.failing_since, r.last_answer_at)
                    < v_now - v_settings.stopped_after and r.failing_since is not null
                    as is_unanswered,
                r.failure
            from ledger.accounts a
            left join recon.accounts r using (account_id)
            where a.account_id in (select w.account_id from api.accounts_to_reconcile w)
        ),
        wanted as (
            select
                'reconciliation_stopped' as kind, 'reconciliation_stopped' as subject,
                array_agg(l.account_id order by l.account_id) as account_ids,
                'Reconciliation has stopped' as title,
                format(
                    '%s accounts have not been compared with their broker for %s.',
                    count(*), v_settings.stopped_after
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
                    '%s accounts have had no answer for %s: %s', count(*),
                    v_settings.stopped_after, min(l.failure)
                )
            from looked_after l
            where l.is_unanswered and not l.is_left_out
            group by l.broker
        )
        select w.*, k.alert_id, coalesce(w.account_ids, k.account_ids) as concerned
        from wanted w
        full join (
            select * from recon.alerts o
            where o.resolved_at is null
              and o.kind in ('reconciliation_stopped', 'broker_unreachable')
        ) k on k.subject = w.subject
        where w.subject is null or k.subject is null
        order by coalesce(w.subject, k.subject)
    loop
        perform ledger.lock_account(id) from unnest(v_due.concerned) id order by id;
        if v_due.alert_id is null then
            v_changed := v_changed || (
                select r.alert_id from recon.raise_alert(
                    v_due.kind, v_due.subject, 'critical', v_due.title, v_due.message,
                    v_due.account_ids, null, v_now
                ) r
            );
        else
            perform recon.resolve_alert(v_due.alert_id, v_now);
            v_changed := v_changed || v_due.alert_id;
        end if;
    end loop;

    for v_due in
        select d.account_id, d.discrepancy_id
        from recon.discrepancies d
        where d.status = 'open' and d.escalated_at is null
          and d.opened_at < v_now - v_settings.escalate_after
        order by d.account_id, d.discrepancy_id
    loop
        perform ledger.lock_account(v_due.account_id);
        v_changed := v_changed || recon.escalate_discrepancy(v_due.discrepancy_id, v_now);
    end loop;

    return query select a.* from api.alerts a where a.alert_id = any (v_changed) order by 1;
end
$$;

comment on function api.judge_reconciliation is
    'Raises, escalates and ends the alerts that time brings, and returns those as they stand in '
    'api.alerts.';

grant execute on function api.judge_reconciliation
    to tidemark_watch, tidemark_reconcile, tidemark_trading;
