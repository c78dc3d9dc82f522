-- Whether an account is reconciled, and whether transactions that the ledger lacks are booked.
-- Locks: the account's row of recon.accounts.
-- Raises: TM101 unknown account, TM406 no broker account.
create or replace function api.set_reconciliation_terms(
    p_account_id bigint, p_repair boolean default null, p_is_enabled boolean default null
) returns api.reconciliation_status
language plpgsql
security definer  -- callers may set terms, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts;
    v_result api.reconciliation_status;
begin
    select * into v_account from ledger.accounts where account_id = p_account_id;
    if not found then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', p_account_id),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;
    if v_account.broker_account_id is null then
        raise exception 'account has no broker account'
            using errcode = 'TM406', detail = format('account_id: %s', p_account_id),
                  hint = 'api.open_account takes the broker and the account there.';
    end if;
    insert into recon.accounts (account_id) values (p_account_id) on conflict do nothing;
    update recon.accounts
    set repair = coalesce(p_repair, repair),
        is_enabled = coalesce(p_is_enabled, is_enabled),
        enabled_at = case when p_is_enabled and not is_enabled then clock_timestamp()
            else enabled_at end
    where account_id = p_account_id;
    select * into strict v_result
    from api.reconciliation_status where account_id = p_account_id;
    return v_result;
end
$$;

comment on function api.set_reconciliation_terms is
    'Sets whether an account is reconciled, and whether the broker''s transactions that the ledger '
    'lacks are booked (at first not); null leaves as it is. Returns its reconciliation_status.';

-- By how much figures of a kind may differ from now on: for an account, an instrument, both, all.
-- Nulls withdraw what was set for the same account and instrument.
-- Raises: TM101 unknown account, TM120 unknown instrument, TM405 tolerance not usable.
create or replace function api.set_tolerance(
    p_kind text,
    p_absolute numeric,
    p_relative numeric default 0,
    p_account_id bigint default null,
    p_symbol text default null
) returns api.tolerances
language plpgsql
security definer  -- callers may set tolerances, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when p_kind is null or p_kind not in (
            'balance', 'quantity', 'average_price', 'price', 'conversion',
            'unrealized_pnl', 'equity', 'margin_used'
        ) then 'the kind is balance, quantity, average_price, price, conversion, unrealized_pnl, '
               'equity or margin_used'
        when p_symbol is not null and p_kind in ('balance', 'equity', 'margin_used')
            then format('a tolerance of %s has no symbol', p_kind)
        when p_absolute is null and p_relative is null and p_account_id is null
            and p_symbol is null then 'the tolerance for all is never withdrawn'
        when num_nulls(p_absolute, p_relative) = 1
            then 'both are numbers, or both are null'
        when not (p_absolute >= 0 and p_absolute < 1e15)
            then 'the absolute tolerance is from 0 to below 10^15'
        when not (p_relative between 0 and 1) then 'the relative tolerance is from 0 to 1'
    end;
    v_instrument_id bigint;
    v_result api.tolerances;
begin
    if v_problem is not null then
        raise exception 'tolerance is not usable'
            using errcode = 'TM405',
                  detail = format(
                      'kind: %s, absolute: %s, relative: %s, account_id: %s, symbol: %s',
                      p_kind, p_absolute, p_relative, p_account_id, p_symbol
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;
    if p_account_id is not null
        and not exists (select from ledger.accounts where account_id = p_account_id) then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', p_account_id),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;
    if p_symbol is not null then
        select instrument_id into v_instrument_id
        from market.instruments where symbol = p_symbol;
        if not found then
            raise exception 'instrument does not exist'
                using errcode = 'TM120', detail = format('symbol: %s', p_symbol),
                      hint = 'api.instruments lists the instruments.';
        end if;
    end if;

    insert into recon.tolerances (kind, account_id, instrument_id, absolute, relative)
    values (p_kind, p_account_id, v_instrument_id, p_absolute, p_relative);
    select * into strict v_result
    from api.tolerances
    where kind = p_kind and account_id is not distinct from p_account_id
      and symbol is not distinct from p_symbol;
    return v_result;
end
$$;

comment on function api.set_tolerance is
    'Sets by how much figures of a kind may differ (the larger of p_absolute and p_relative × the '
    'broker''s value) and returns it as it stands in api.tolerances; nulls withdraw it.';

-- Raises: TM412 settings not usable.
create or replace function api.set_reconciliation_settings(
    p_grace interval default null,
    p_price_window interval default null,
    p_stopped_after interval default null,
    p_escalate_after interval default null
) returns api.reconciliation_settings
language plpgsql
security definer  -- callers may change settings, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when p_grace not between interval '0' and interval '1 hour'
            then 'the grace time is from 0 to 1 hour'
        when p_price_window not between interval '0' and interval '1 minute'
            then 'the price window is from 0 to 1 minute'
        when p_stopped_after <= interval '0' then 'stopped after is positive'
        when p_escalate_after <= interval '0' then 'escalate after is positive'
    end;
    v_result api.reconciliation_settings;
begin
    if v_problem is not null then
        raise exception 'settings are not usable'
            using errcode = 'TM412',
                  detail = format(
                      'grace: %s, price window: %s, stopped after: %s, escalate after: %s',
                      p_grace, p_price_window, p_stopped_after, p_escalate_after
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;
    update recon.settings
    set grace = coalesce(p_grace, grace),
        price_window = coalesce(p_price_window, price_window),
        stopped_after = coalesce(p_stopped_after, stopped_after),
        escalate_after = coalesce(p_escalate_after, escalate_after);
    select * into strict v_result from api.reconciliation_settings;
    return v_result;
end
$$;

comment on function api.set_reconciliation_settings is
    'Changes the times that reconciliation goes by and returns them; null leaves as it is.';

-- Drops runs and answers that are older, whole chunks of them (days of runs, six hours of answers),
-- and returns how many. Transactions, discrepancies and alerts stay.
-- Locks: the dropped chunks. Raises: TM413 ages not usable.
create or replace function api.drop_old_reconciliations(
    p_older_than interval default interval '30 days',
    p_answers_older_than interval default interval '2 days'
) returns int
language plpgsql
security definer  -- callers may have old runs dropped, but drop nothing else
set search_path = pg_catalog, pg_temp
as $$
begin
    if not coalesce(
        p_older_than > interval '0' and p_answers_older_than > interval '0', false
    ) then
        raise exception 'ages are not usable'
            using errcode = 'TM413',
                  detail = format(
                      'older than: %s, answers older than: %s', p_older_than, p_answers_older_than
                  ),
                  hint = 'Pass positive intervals.';
    end if;
    return (
        select count(*) from public.drop_chunks('recon.runs', now() - p_older_than)
    ) + (
        select count(*)
        from public.drop_chunks('recon.broker_snapshots', now() - p_answers_older_than)
    );
end
$$;

comment on function api.drop_old_reconciliations is
    'Drops runs and, earlier, the raw answers of brokers, and returns how many chunks.';

grant execute on function
    api.set_reconciliation_terms, api.set_tolerance, api.set_reconciliation_settings
    to tidemark_trading, tidemark_reconcile;
grant execute on function api.drop_old_reconciliations to tidemark_reconcile, tidemark_watch;
