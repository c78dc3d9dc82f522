-- Makes an account's closed bars from p_from to p_to what they would have been, had all come in
-- time, and on to the end where what follows depends on it. Null means every account.
-- Locks, to commit: the curve (nobody closes bars meanwhile). Raises: TM101 unknown account, TM172
-- p_from not before p_to.
create or replace function api.rebuild_curve(
    p_account_id bigint,
    p_from timestamptz default '-infinity',
    p_to timestamptz default 'infinity'
) returns bigint
language plpgsql
security definer  -- callers may rebuild bars, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_mark_ids bigint[];
    v_bars bigint;
begin
    if p_from is null or p_to is null or p_from >= p_to then
        raise exception 'there is no time to rebuild'
            using errcode = 'TM172', detail = format('from: %s, to: %s', p_from, p_to),
                  hint = 'Pass a p_from that is before p_to.';
    end if;
    if p_account_id is not null
        and not exists (select from ledger.accounts where account_id = p_account_id) then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', p_account_id),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;

    perform equity.lock_curve();
    -- A mark is committed with what has come late. One that comes from now on may not be seen to.
    v_mark_ids := array(
        select mark_id
        from equity.curve_marks
        where (p_account_id is null or account_id = p_account_id)
          and from_at >= date_trunc('second', p_from)
          and least(to_at, (select closed_to from equity.curve_clock)) <= p_to
    );
    v_bars := equity.rebuild(
        array(
            select account_id from ledger.accounts
            where p_account_id is null or account_id = p_account_id
        ),
        p_from, p_to
    );
    delete from equity.curve_marks where mark_id = any (v_mark_ids);
    return v_bars;
end
$$;

comment on function api.rebuild_curve is
    'Closes an account''s bars anew (null: every account''s) and returns how many there are; '
    'marks in that stretch are gone then.';

-- The mark that has been left in peace longest, with those of its account that overlap.
-- Locks, to commit: the curve.
create or replace function api.rebuild_marked(p_left_for interval default '5 seconds')
returns bigint
language plpgsql
security definer  -- callers may rebuild bars, but not write the table
set search_path = pg_catalog, pg_temp
as $$
declare
    v_mark equity.curve_marks;
begin
    select m.account_id, min(m.from_at) as from_at, max(m.to_at) as to_at
    into v_mark.account_id, v_mark.from_at, v_mark.to_at
    from equity.curve_marks m
    group by m.account_id
    having max(m.marked_at) < clock_timestamp() - p_left_for
    order by min(m.marked_at)
    limit 1;
    if not found or not equity.try_lock_curve() then
        return null;
    end if;
    return api.rebuild_curve(v_mark.account_id, v_mark.from_at, v_mark.to_at);
end
$$;

comment on function api.rebuild_marked is
    'Rebuilds the marked stretch of one account, or of all, that nothing late has come to for '
    'p_left_for, and returns how many bars there are; null when there is nothing to do.';

grant execute on function api.rebuild_curve, api.rebuild_marked
    to tidemark_watch, tidemark_trading;
