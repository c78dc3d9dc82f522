-- Compares an account with what its broker answered, and keeps both answer and outcome. An answer
-- that is not usable is a failed run, kept with its reason; nothing is raised for it.
-- In a transaction of its own: it holds the account's row of recon.accounts to commit, and where
-- something differs the prices (shared) and the account's row. Notifies: tidemark_account.
-- Raises: TM101 unknown account, TM401 not to be reconciled, TM141 isolation level; in the row:
-- TM402 snapshot, TM403 transactions not usable, TM404 they do not follow the last ones.
create or replace function api.record_broker_answer(
    p_account_id bigint,
    p_snapshot jsonb,
    p_transactions jsonb,
    p_since_transaction_id text default null,
    p_started_at timestamptz default clock_timestamp()
) returns api.reconciliation_runs
language plpgsql
security definer  -- callers may have answers compared, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts := recon.begin_run(p_account_id);
    v_run_id bigint := nextval('recon.runs_run_id_seq');
    v_now timestamptz := clock_timestamp();
    v_started_at timestamptz := coalesce(p_started_at, v_now);
    v_new int;
    v_seen int;
    v_code text;
    v_reason text;
    v_hint text;
    v_run api.reconciliation_runs;
begin
    insert into recon.broker_snapshots (account_id, run_id, received_at, answer)
    values (
        p_account_id, v_run_id, v_now,
        jsonb_build_object('snapshot', p_snapshot, 'transactions', p_transactions)
    );
    begin
        perform recon.check_snapshot(v_account, p_snapshot);
        perform recon.check_transactions(v_account, p_transactions);
        v_new := recon.store_transactions(
            p_account_id, p_snapshot, p_transactions, p_since_transaction_id
        );
    exception when sqlstate 'TM402' or sqlstate 'TM403' or sqlstate 'TM404' then
        get stacked diagnostics v_code = returned_sqlstate, v_reason = message_text,
            v_hint = pg_exception_hint;
        perform recon.end_failed_run(
            p_account_id, v_run_id, v_started_at, v_code, format('%s: %s', v_reason, v_hint)
        );
    end;
    if v_code is null then
        v_seen := recon.check_account(p_account_id, p_snapshot, v_now, format('run %s', v_run_id));
        perform recon.end_run(
            p_account_id, v_run_id, v_started_at, p_snapshot, v_new, v_seen
        );
    end if;
    select * into strict v_run
    from api.reconciliation_runs
    where account_id = p_account_id and started_at = v_started_at and run_id = v_run_id;
    return v_run;
end
$$;

comment on function api.record_broker_answer is
    'Compares an account with its broker''s snapshot and the transactions booked there after '
    'p_since_transaction_id (null: all there are), and returns the run as it stands in '
    'api.reconciliation_runs. docs/reconciliation.md has the shapes.';

-- Keeps that a broker did not answer: the account is unknown, never flat.
-- Locks: the account's row of recon.accounts. Raises: TM101 unknown account, TM401 not to be
-- reconciled, TM411 no reason.
create or replace function api.record_broker_failure(
    p_account_id bigint,
    p_reason text,
    p_started_at timestamptz default clock_timestamp()
) returns api.reconciliation_runs
language plpgsql
security definer  -- callers may keep runs, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run_id bigint := nextval('recon.runs_run_id_seq');
    v_started_at timestamptz := coalesce(p_started_at, clock_timestamp());
    v_run api.reconciliation_runs;
begin
    perform recon.check_reason(p_reason);
    perform recon.begin_run(p_account_id);
    perform recon.end_failed_run(
        p_account_id, v_run_id, v_started_at, null, left(p_reason, 1000)
    );
    select * into strict v_run
    from api.reconciliation_runs
    where account_id = p_account_id and started_at = v_started_at and run_id = v_run_id;
    return v_run;
end
$$;

comment on function api.record_broker_failure is
    'Keeps a run that failed, with its reason, and returns it as it stands in '
    'api.reconciliation_runs.';

-- Keeps that a beat was left out, because the one before it had not ended.
-- Raises: TM411 no reason.
create or replace function api.record_skipped_beat(
    p_reason text, p_started_at timestamptz default clock_timestamp()
) returns api.reconciliation_runs
language plpgsql
security definer  -- callers may keep runs, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run_id bigint := nextval('recon.runs_run_id_seq');
    v_started_at timestamptz := coalesce(p_started_at, clock_timestamp());
    v_run api.reconciliation_runs;
begin
    perform recon.check_reason(p_reason);
    insert into recon.runs (run_id, started_at, outcome, reason)
    overriding system value
    values (v_run_id, v_started_at, 'skipped', left(p_reason, 1000));
    select * into strict v_run
    from api.reconciliation_runs
    where started_at = v_started_at and run_id = v_run_id;
    return v_run;
end
$$;

comment on function api.record_skipped_beat is
    'Keeps that a whole beat was left out and returns it as it stands in api.reconciliation_runs.';

-- One reconciler at a time: the lock is the session's, and ends with it.
create or replace function api.become_reconciler() returns boolean
language sql
set search_path = pg_catalog, pg_temp
return pg_try_advisory_lock(hashtextextended('tidemark reconcile', 0));

comment on function api.become_reconciler is
    'Makes this session the one that reconciles, until it ends; false while another one is.';

grant execute on function
    api.record_broker_answer, api.record_broker_failure, api.record_skipped_beat,
    api.become_reconciler
    to tidemark_reconcile;
