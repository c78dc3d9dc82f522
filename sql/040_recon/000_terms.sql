-- How accounts are compared: settings, what is tolerated, and which accounts.

-- Most specific first: account and instrument, account, instrument, and the one for all. A row of
-- nulls withdraws what was set before.
create or replace function recon.tolerances_at(p_account_id bigint, p_at timestamptz) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        with latest as (
            select distinct on (t.kind, t.account_id, t.instrument_id) t.*
            from recon.tolerances t
            where t.set_at <= p_at and (t.account_id is null or t.account_id = p_account_id)
            order by t.kind, t.account_id, t.instrument_id, t.tolerance_id desc
        ),
        chosen as (
            select distinct on (k.kind, k.instrument_id)
                k.kind, k.instrument_id, l.absolute, l.relative
            from (
                select distinct kind, instrument_id from latest where absolute is not null
            ) k
            join latest l
                on l.kind = k.kind and l.absolute is not null
                and (l.instrument_id is null or l.instrument_id = k.instrument_id)
            order by k.kind, k.instrument_id, l.account_id nulls last, l.instrument_id nulls last
        )
        select jsonb_object_agg(
            concat_ws(' ', c.kind, i.symbol),
            jsonb_build_object('absolute', c.absolute::text, 'relative', c.relative::text)
        )
        from chosen c left join market.instruments i using (instrument_id)
    );
end
$$;

comment on function recon.tolerances_at is
    'What was tolerated at a moment for an account, by kind, and by kind and symbol where an '
    'instrument has a tolerance of its own.';

-- Bound when it is created, so that it can be inlined.
create or replace function recon.allowance(
    p_tolerances jsonb, p_kind text, p_symbol text, p_value numeric
) returns numeric
language sql immutable parallel safe
return greatest(
    (coalesce(p_tolerances -> (p_kind || ' ' || p_symbol), p_tolerances -> p_kind)
        ->> 'absolute')::numeric,
    (coalesce(p_tolerances -> (p_kind || ' ' || p_symbol), p_tolerances -> p_kind)
        ->> 'relative')::numeric * abs(p_value)
);

comment on function recon.allowance is
    'By how much a value of the broker''s may differ: the larger of the absolute tolerance and '
    'the relative one.';

grant execute on function recon.allowance to public;

create or replace function recon.money_allowance(
    p_tolerances jsonb, p_kind text, p_money_scale int, p_value numeric
) returns numeric
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return greatest(
        recon.allowance(p_tolerances, p_kind, null, p_value), ('1e-' || p_money_scale)::numeric
    );
end
$$;

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
comment on column recon.accounts.compared_after_id is
    'The id after which all transactions of the broker are known; null: all there are, or as '
    'compared_from says.';
comment on column recon.accounts.settled_event_seq is
    'Fills up to this number were found to agree with the broker''s.';
comment on column recon.accounts.settled_entry_id is
    'Entries up to this one were found to agree with the broker''s.';
