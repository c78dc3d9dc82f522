-- The totals of these accounts, as the page reads them. A currency that cannot be converted makes
-- every figure unknown and is named: instruments may be defined later, and the page goes on.
create or replace function relay.totals(p_account_ids bigint[], p_currency text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unlinked text;
    v_totals record;
begin
    select min(a.currency) into v_unlinked
    from ledger.accounts a
    left join market.conversion_rates r
        on r.from_currency = a.currency and r.to_currency = p_currency
    where a.account_id = any (p_account_ids) and a.currency <> p_currency
      and r.from_currency is null;
    if v_unlinked is null then
        select * into v_totals from api.portfolio_totals(p_account_ids, p_currency);
    else
        select
            cardinality(p_account_ids) as accounts, null::numeric as balance,
            null::numeric as credit, null::numeric as unrealized_pnl, null::numeric as equity,
            null::numeric as margin_equity, null::numeric as margin_used,
            null::numeric as margin_available, null::numeric as margin_level,
            false as is_priced, false as is_stale, null::timestamptz as priced_at
        into v_totals;
    end if;
    return '{"currency":"' || p_currency
        || '","accounts":' || v_totals.accounts
        || ',"balance":' || relay.amount(v_totals.balance)
        || ',"credit":' || relay.amount(v_totals.credit)
        || ',"unrealized_pnl":' || relay.amount(v_totals.unrealized_pnl)
        || ',"equity":' || relay.amount(v_totals.equity)
        || ',"margin_equity":' || relay.amount(v_totals.margin_equity)
        || ',"margin_used":' || relay.amount(v_totals.margin_used)
        || ',"margin_available":' || relay.amount(v_totals.margin_available)
        || ',"margin_level":' || relay.amount(v_totals.margin_level)
        || ',"is_priced":' || v_totals.is_priced::text
        || ',"is_stale":' || v_totals.is_stale::text
        || ',"priced_at":' || relay.instant(v_totals.priced_at)
        || ',"unlinked_currency":' || relay.words(v_unlinked)
        || '}';
end
$$;

comment on function relay.totals is
    'The figures of several accounts together, as the page reads them.';

-- The message of a snapshot: these accounts with their history since the events named, and, where
-- a currency is given, the totals of those. A history has 50 events of an account at the least and
-- 500 at the most, and beyond the 50 it has 5,000 of all accounts: where more were asked for, each
-- gets its share.
create or replace function relay.snapshot(
    p_account_ids bigint[],
    p_since_account_ids bigint[],
    p_since_event_seqs bigint[],
    p_total_account_ids bigint[],
    p_currency text
) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return '{"type":"snapshot","as_of":' || relay.instant(clock_timestamp())
        || ',"accounts":[' || (
            select coalesce(string_agg(
                '{"account_id":' || p.account_id
                || ',"event_seq":' || p.event_seq
                || ',"history_from":' || h.history_from
                || ',"state":' || p.state
                || ',"positions":' || p.positions
                || ',"fills":[' || h.fills
                || '],"events":[' || h.events
                || '],"broker":' || relay.broker_json(a, r, s.stopped_after, (
                    select count(*) from recon.discrepancies d
                    where d.account_id = p.account_id and d.resolved_at is null
                ))
                || '}',
                ',' order by p.account_id
            ), '')
            from (
                select p.*, w.wanted, sum(w.wanted) over () as wanted_of_all
                from relay.portfolios(p_account_ids) p
                left join unnest(p_since_account_ids, p_since_event_seqs)
                    since (account_id, event_seq) using (account_id)
                cross join lateral (
                    select greatest(0, least(
                        450, p.event_seq - coalesce(since.event_seq, p.event_seq) - 50
                    )) as wanted
                ) w
            ) p
            join ledger.accounts a on a.account_id = p.account_id
            left join recon.accounts r on r.account_id = p.account_id
            cross join recon.settings s
            cross join lateral relay.history(
                p.account_id, p.event_seq,
                50 + floor(p.wanted * least(1, 5000 / greatest(1, p.wanted_of_all)))::int
            ) h
        )
        || '],"totals":' || case when p_currency is null then 'null'
            else relay.totals(p_total_account_ids, p_currency) end
        || '}';
end
$$;

comment on function relay.snapshot is 'The message that brings all that a page shows.';
