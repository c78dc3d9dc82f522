-- Runs: begun with the account's row of recon.accounts, which keeps others from comparing the
-- account meanwhile, and ended with what came of them.

-- Raises: TM101, TM401.
create or replace function recon.begin_run(p_account_id bigint) returns ledger.accounts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts;
    v_terms recon.accounts;
begin
    perform market.refuse_old_snapshots();
    select * into v_account from ledger.accounts where account_id = p_account_id;
    if not found then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', p_account_id),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;
    insert into recon.accounts (account_id) values (p_account_id) on conflict do nothing;
    select * into strict v_terms from recon.accounts where account_id = p_account_id for update;
    if v_account.broker_account_id is null or v_account.closed_at is not null
        or not v_terms.is_enabled then
        raise exception 'account is not to be reconciled'
            using errcode = 'TM401',
                  detail = format(
                      'account_id: %s, broker account: %s, closed at: %s, enabled: %s',
                      p_account_id, v_account.broker_account_id, v_account.closed_at,
                      v_terms.is_enabled
                  ),
                  hint = 'api.accounts_to_reconcile lists the accounts that are; '
                         'api.set_reconciliation_terms enables one.';
    end if;
    return v_account;
end
$$;

comment on function recon.begin_run is
    'Locks the reconciliation of an account to the end of the transaction and returns the account.';

-- Raises: TM411.
create or replace function recon.check_reason(p_reason text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(p_reason, '') !~ '[^[:space:]]' then
        raise exception 'a run that failed has a reason'
            using errcode = 'TM411', hint = 'Pass what went wrong, in words.';
    end if;
end
$$;

comment on function recon.check_reason is 'Raises an error for a reason that is blank.';

create or replace function recon.end_run(
    p_account_id bigint, p_run_id bigint, p_started_at timestamptz, p_snapshot jsonb,
    p_transactions int, p_differences int
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_has_open boolean := exists (
        select from recon.discrepancies
        where account_id = p_account_id and resolved_at is null
    );
begin
    insert into recon.runs (
        run_id, account_id, started_at, outcome, positions, transactions, differences
    ) overriding system value values (
        p_run_id, p_account_id, p_started_at,
        case when v_has_open then 'discrepancies' else 'passed' end,
        jsonb_array_length(p_snapshot -> 'positions'), p_transactions, p_differences
    );
    update recon.accounts
    set last_run_at = clock_timestamp(),
        last_answer_at = (p_snapshot ->> 'taken_at')::timestamptz,
        failing_since = null,
        failure = null,
        consistent_since = case when not v_has_open
            then coalesce(consistent_since, p_started_at) end,
        balance = (p_snapshot ->> 'balance')::numeric,
        equity = (p_snapshot ->> 'equity')::numeric,
        unrealized_pnl = (p_snapshot ->> 'unrealized_pnl')::numeric,
        margin_used = (p_snapshot ->> 'margin_used')::numeric
    where account_id = p_account_id;
end
$$;

comment on function recon.end_run is 'Keeps a run that had an answer, and the broker''s figures.';

-- Discrepancies stay as they are: nothing is known that would end them, or make new ones.
create or replace function recon.end_failed_run(
    p_account_id bigint, p_run_id bigint, p_started_at timestamptz, p_error_code text,
    p_reason text
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    insert into recon.runs (run_id, account_id, started_at, outcome, error_code, reason)
    overriding system value
    values (p_run_id, p_account_id, p_started_at, 'failed', p_error_code, p_reason);
    update recon.accounts
    set last_run_at = clock_timestamp(), failure = p_reason,
        failing_since = coalesce(failing_since, p_started_at)
    where account_id = p_account_id;
$$;

comment on function recon.end_failed_run is 'Keeps a run without a usable answer, and why.';

comment on table recon.runs is
    'Every look at an account, also those that passed, failed or were left out.';
