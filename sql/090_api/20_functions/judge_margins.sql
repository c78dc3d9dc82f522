-- Judges every account's margin and records what has changed since the last time. An account with
-- an unknown price stays as it was judged last; a closed one comes out of its margin call.
-- tidemark watch calls this once a second.
-- Locks: one advisory lock; whoever comes while another judges finds nothing changed.
create or replace function api.judge_margins() returns setof api.margin_changes
language plpgsql
security definer  -- callers may judge, but not write the table
set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_try_advisory_xact_lock(hashtextextended('tidemark margins', 0)) then
        return;
    end if;
    return query
    with judged as (
        select
            s.account_id, f.margin_equity, m.margin_used,
            equity.margin_state(
                f.margin_equity, coalesce(m.margin_used, 0),
                a.margin_call_level, a.close_out_level
            ) as margin_state
        from equity.account_states s
        join ledger.accounts a using (account_id)
        left join equity.account_margins m using (account_id)
        cross join lateral (
            select a.balance + a.credit + coalesce(m.mid_unrealized_pnl, 0) as margin_equity
        ) f
        where s.unpriced_positions = 0
    ),
    last as (
        select distinct on (c.account_id) c.account_id, c.margin_state
        from equity.margin_changes c
        order by c.account_id, c.change_id desc
    )
    insert into equity.margin_changes as c (
        account_id, previous_state, margin_state, margin_equity, margin_used
    )
    select j.account_id, coalesce(l.margin_state, 'ok'), j.margin_state,
           j.margin_equity, coalesce(j.margin_used, 0)
    from judged j left join last l using (account_id)
    where j.margin_state <> coalesce(l.margin_state, 'ok')
    order by j.account_id
    returning c.change_id, c.account_id, c.previous_state, c.margin_state,
              c.margin_equity, c.margin_used, c.judged_at;
end
$$;

comment on function api.judge_margins is
    'Judges the margin of all accounts and returns those whose margin_state has changed '
    'since it was judged last, as they then stand in api.margin_changes.';

grant execute on function api.judge_margins to tidemark_watch;
