create or replace view api.accounts_to_reconcile as
select a.account_id, a.broker, a.broker_account_id, a.currency, r.last_transaction_id
from ledger.accounts a
left join recon.accounts r using (account_id)
where a.broker is not null and a.broker_account_id is not null and a.closed_at is null
  and coalesce(r.is_enabled, true);

comment on view api.accounts_to_reconcile is
    'The accounts that are compared with their broker: open, with a broker account, and enabled '
    '(api.set_reconciliation_terms).';
comment on column api.accounts_to_reconcile.last_transaction_id is
    'The broker''s last transaction that is known: ask for those after it; null before the first '
    'answer.';

-- Here, since a view below shows it.
create or replace function api.tolerances_at(
    p_account_id bigint, p_at timestamptz default clock_timestamp()
) returns jsonb
language sql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
return recon.tolerances_at(p_account_id, p_at);

comment on function api.tolerances_at is
    'What was tolerated at a moment for an account, by kind, and by kind and symbol where an '
    'instrument has a tolerance of its own.';

grant execute on function api.tolerances_at
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

create or replace view api.reconciliation_runs as
select
    r.run_id,
    r.account_id,
    r.started_at,
    r.finished_at,
    r.outcome,
    r.reason,
    r.error_code,
    r.positions,
    r.transactions,
    r.differences,
    case when r.outcome in ('passed', 'discrepancies')
        then api.tolerances_at(r.account_id, r.started_at) end as tolerances
from recon.runs r;

comment on view api.reconciliation_runs is
    'Every look at an account: balance, equity, unrealized P&L, margin, each position and each '
    'transaction of both sides were compared, or the reason says why not.';
comment on column api.reconciliation_runs.account_id is 'Null for a beat that was left out.';
comment on column api.reconciliation_runs.outcome is
    'passed: both sides agree, or differ for less than the grace time; discrepancies: some are '
    'open; failed: there was no usable answer; skipped: the beat was left out.';
comment on column api.reconciliation_runs.error_code is
    'SQLSTATE of an answer that was not usable.';
comment on column api.reconciliation_runs.positions is 'Positions of the broker.';
comment on column api.reconciliation_runs.transactions is 'Transactions that were new.';
comment on column api.reconciliation_runs.differences is
    'Differences seen, those in flight and those not seen twice yet included.';
comment on column api.reconciliation_runs.tolerances is
    'What was tolerated then, by kind and symbol.';

create or replace view api.reconciliation_status as
select
    a.account_id,
    a.broker,
    a.broker_account_id,
    a.currency,
    a.closed_at is null and coalesce(r.is_enabled, true) as is_enabled,
    coalesce(r.repair, false) as repair,
    r.consistent_since,
    r.last_run_at,
    r.last_answer_at,
    r.failing_since,
    r.failure,
    (
        select count(*) from recon.discrepancies d
        where d.account_id = a.account_id and d.resolved_at is null
    ) as open_discrepancies,
    s.balance,
    r.balance as broker_balance,
    s.equity,
    r.equity as broker_equity,
    s.unrealized_pnl,
    r.unrealized_pnl as broker_unrealized_pnl,
    s.margin_used,
    r.margin_used as broker_margin_used,
    r.last_transaction_id,
    a.name,
    case
        when r.failing_since is not null then 'failed'
        when r.consistent_since is not null then 'passed'
        when r.last_run_at is not null then 'discrepancies'
    end as outcome
from ledger.accounts a
join api.account_states s using (account_id)
left join recon.accounts r using (account_id)
where a.broker_account_id is not null;

comment on view api.reconciliation_status is
    'Where the reconciliation of each account with a broker account stands, and the broker''s last '
    'figures beside ours of now.';
comment on column api.reconciliation_status.consistent_since is
    'Start of the first of the runs, up to the last answer, that all passed; null while '
    'discrepancies are open, and before the first answer.';
comment on column api.reconciliation_status.last_run_at is 'When the last run ended.';
comment on column api.reconciliation_status.last_answer_at is
    'When the broker was last asked with success.';
comment on column api.reconciliation_status.outcome is
    'Of the last run: passed, discrepancies or failed.';
comment on column api.reconciliation_status.failure is 'Why the last run failed.';
comment on column api.reconciliation_status.failing_since is
    'Start of the first of the runs that have failed since; null when the last one did not fail.';

create or replace view api.discrepancies as
select
    discrepancy_id, account_id, cause, severity, field, symbol, ours, theirs, difference, unit,
    message, status, opened_at, last_seen_at, acknowledged_at, acknowledged_by, note,
    escalated_at, resolved_at, resolution, evidence
from recon.discrepancies;

comment on view api.discrepancies is
    'What differs, or has differed, between broker and ledger, by cause; '
    'api.acknowledge_discrepancy says that somebody looks after it.';
comment on column api.discrepancies.cause is
    'missing_fill, extra_fill, quantity, average_price, balance, financing, price_side, '
    'conversion, stale_price, margin or unknown.';
comment on column api.discrepancies.severity is 'info, warning or critical.';
comment on column api.discrepancies.field is
    'What differs: quantity, average_price, balance, equity, unrealized_pnl, margin_used, or a '
    'fill or an entry.';
comment on column api.discrepancies.ours is
    'The ledger''s value, with what other discrepancies explain taken into account.';
comment on column api.discrepancies.theirs is 'The broker''s value.';
comment on column api.discrepancies.difference is 'theirs − ours.';
comment on column api.discrepancies.unit is 'Currency, or base currency of a quantity.';
comment on column api.discrepancies.status is
    'open → acknowledged → resolved; what comes again is a new row.';
comment on column api.discrepancies.evidence is
    'Ids of the transactions, fills and entries, or the prices, that it rests on.';

create or replace view api.alerts as
select
    alert_id, kind, severity, status, title, message, account_ids, discrepancy_id, raised_at,
    escalated_at, resolved_at
from recon.alerts;

comment on view api.alerts is
    'What somebody should know: raised → escalated → resolved. Events carry each change to pages, '
    'api.take_alerts to senders.';
comment on column api.alerts.kind is
    'discrepancy, reconciliation_stopped, broker_unreachable or test.';

create or replace view api.alert_channels as
select name, target, min_severity, quiet_from, quiet_to, time_zone, is_enabled, channel_id
from recon.alert_channels;

comment on view api.alert_channels is
    'Where alerts are delivered to; api.set_alert_channel makes or changes one.';
comment on column api.alert_channels.quiet_from is
    'Local time from which alerts below critical wait until quiet_to.';

create or replace view api.alert_deliveries as
select
    d.delivery_id, d.alert_id, c.name as channel, d.occasion, d.severity, d.created_at, d.due_at,
    d.attempts, d.last_error, d.delivered_at
from recon.alert_deliveries d
join recon.alert_channels c using (channel_id);

comment on view api.alert_deliveries is
    'What was, or is to be, told on each channel; due_at is the next attempt while delivered_at '
    'is null.';

create or replace view api.tolerances as
select distinct on (t.kind, t.account_id, t.instrument_id)
    t.kind, t.account_id, i.symbol, t.absolute, t.relative, t.set_at
from recon.tolerances t
left join market.instruments i using (instrument_id)
order by t.kind, t.account_id, t.instrument_id, t.tolerance_id desc;

comment on view api.tolerances is
    'By how much figures may differ: the larger of absolute and relative × the broker''s value. '
    'The most specific counts: account and symbol, account, symbol, all.';
comment on column api.tolerances.absolute is 'Null where it was withdrawn.';

create or replace view api.reconciliation_settings as
select grace, price_window, stopped_after, escalate_after from recon.settings;

comment on view api.reconciliation_settings is
    'The times that reconciliation goes by; api.set_reconciliation_settings changes them.';

grant select on
    api.accounts_to_reconcile, api.reconciliation_runs, api.reconciliation_status,
    api.discrepancies, api.alerts, api.alert_deliveries, api.tolerances,
    api.reconciliation_settings
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
-- targets may hold secrets
grant select on api.alert_channels to tidemark_trading, tidemark_reconcile;
