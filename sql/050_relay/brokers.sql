-- What an account's broker said last, and how the comparison stands, as the page reads it: the
-- figures of api.reconciliation_status, which a test compares, but without ours. Amounts keep their
-- digits. null where the account is not compared, as api.accounts_to_reconcile has it.
create or replace function relay.broker_json(
    p_account ledger.accounts, p_terms recon.accounts, p_stopped_after interval,
    p_open_discrepancies bigint
) returns text
language sql stable
return case
    when p_account.broker is not null and p_account.broker_account_id is not null
        and p_account.closed_at is null and coalesce(p_terms.is_enabled, true)
    then '{"balance":' || relay.amount(relay.whole(p_terms.balance, p_account.money_scale))
        || ',"equity":' || relay.amount(relay.whole(p_terms.equity, p_account.money_scale))
        || ',"unrealized_pnl":'
        || relay.amount(relay.whole(p_terms.unrealized_pnl, p_account.money_scale))
        || ',"margin_used":'
        || relay.amount(relay.whole(p_terms.margin_used, p_account.money_scale))
        || ',"answered_at":' || relay.instant(p_terms.last_answer_at)
        || ',"consistent_since":' || relay.instant(p_terms.consistent_since)
        || ',"last_run_at":' || relay.instant(p_terms.last_run_at)
        || ',"overdue_at":' || relay.instant(greatest(
            p_account.opened_at, p_terms.enabled_at, p_terms.last_run_at
        ) + p_stopped_after)
        || ',"failing_since":' || relay.instant(p_terms.failing_since)
        || ',"failure":' || relay.words(p_terms.failure)
        || ',"open_discrepancies":' || p_open_discrepancies
        || '}'
    else 'null'
end;

comment on function relay.broker_json is
    'The broker''s last figures and how the comparison stands, as the page reads it; null where '
    'the account is not compared.';

-- Those of these accounts that are not as the hashes say.
create or replace function relay.brokers(p_account_ids bigint[], p_hashes text[])
returns table (account_id bigint, broker text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
    return query
    select b.account_id, b.broker
    from (
        select h.account_id, h.hash, relay.broker_json(a, r, s.stopped_after, (
            select count(*) from recon.discrepancies d
            where d.account_id = h.account_id and d.resolved_at is null
        )) as broker
        from unnest(p_account_ids, p_hashes) h (account_id, hash)
        join ledger.accounts a on a.account_id = h.account_id
        left join recon.accounts r on r.account_id = h.account_id
        cross join recon.settings s
        offset 0  -- each is written once
    ) b
    where md5(b.broker) is distinct from b.hash;
end
$$;

comment on function relay.brokers is
    'What brokers said last, as the page reads it, of those accounts where the MD5 of that is '
    'another one.';
