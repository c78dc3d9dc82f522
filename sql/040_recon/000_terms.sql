-- How accounts are compared: settings, what is tolerated, and which accounts.

-- Most specific first: account and instrument, account, instrument, and the one for all. A row of
-- nulls withdraws what was set before.
create or replace function recon.tolerance_at(
    p_kind text, p_account_id bigint, p_instrument_id bigint, p_at timestamptz,
    out absolute numeric, out relative numeric
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    select t.absolute, t.relative into absolute, relative
    from (
        select distinct on (s.account_id, s.instrument_id) s.*
        from recon.tolerances s
        where s.kind = p_kind and s.set_at <= p_at
          and (s.account_id is null or s.account_id = p_account_id)
          and (s.instrument_id is null or s.instrument_id = p_instrument_id)
        order by s.account_id, s.instrument_id, s.tolerance_id desc
    ) t
    where t.absolute is not null
    order by t.account_id nulls last, t.instrument_id nulls last
    limit 1;
end
$$;

comment on function recon.tolerance_at is
    'The tolerance of a kind that was in force at a moment for an account and an instrument.';

-- What was set for an account in one place, for those who read a run.
create or replace function recon.tolerances_at(p_account_id bigint, p_at timestamptz) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_object_agg(
        k.kind || coalesce(' ' || i.symbol, ''),
        jsonb_build_object('absolute', t.absolute::text, 'relative', t.relative::text)
    )
    from (
        select distinct s.kind, s.instrument_id
        from recon.tolerances s
        where s.set_at <= p_at and (s.account_id is null or s.account_id = p_account_id)
    ) k
    left join market.instruments i using (instrument_id)
    cross join lateral recon.tolerance_at(k.kind, p_account_id, k.instrument_id, p_at) t;
$$;

comment on function recon.tolerances_at is
    'All tolerances that were in force at a moment for an account, by kind and symbol.';

create or replace function recon.allowance(
    p_kind text, p_account_id bigint, p_instrument_id bigint, p_value numeric
) returns numeric
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select greatest(t.absolute, t.relative * abs(p_value))
    from recon.tolerance_at(p_kind, p_account_id, p_instrument_id, 'infinity') t;
$$;

comment on function recon.allowance is
    'By how much a value of the broker''s may differ now: the larger of the absolute tolerance and '
    'the relative one.';

create or replace function recon.money_allowance(
    p_kind text, p_account ledger.accounts, p_instrument_id bigint, p_value numeric
) returns numeric
language sql stable
set search_path = pg_catalog, pg_temp
return greatest(
    recon.allowance(p_kind, p_account.account_id, p_instrument_id, p_value),
    ('1e-' || p_account.money_scale)::numeric
);

comment on function recon.money_allowance is
    'By how much an amount of the broker''s may differ: at least by one minor unit.';

comment on table recon.settings is 'One row: the times that reconciliation goes by.';
comment on column recon.settings.grace is
    'Age from which a difference is one, if the next look still sees it.';
comment on column recon.settings.price_window is
    'How far around the broker''s moment our quotes are taken into account.';
comment on column recon.settings.stopped_after is
    'Time without a run, or without an answer, after which there is an alert.';
comment on column recon.settings.escalate_after is
    'Time after which an open discrepancy that nobody has acknowledged is escalated.';
comment on table recon.tolerances is
    'By how much figures may differ, as it was set; append-only, a later row replaces an earlier.';
comment on table recon.accounts is
    'For each account that was ever compared: its terms, how far it has been read and settled, and '
    'the broker''s last figures. The row is held by who compares the account.';
comment on column recon.accounts.compared_from is
    'From when on all transactions of the broker are known; null before the first answer.';
comment on column recon.accounts.settled_event_seq is
    'Fills up to this number were found to agree with the broker''s.';
comment on column recon.accounts.settled_entry_id is
    'Entries up to this one were found to agree with the broker''s.';
