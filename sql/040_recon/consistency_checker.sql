-- Compares an account with its broker's answer. (Component 17.5.) One look is one statement, so
-- that both sides are seen at one moment. The first is taken without the account's lock; where
-- something is to be opened, kept, resolved or repaired, a second one under the lock decides.

-- All that one look sees.
create or replace function recon.look(
    p_account_id bigint, p_snapshot jsonb, p_now timestamptz,
    out bookings recon.bookings[], out differences recon.differences[],
    out last_event_seq bigint, out last_entry_id bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select
        b.bookings,
        array(
            select f.d
            from (
                select distinct on ((d).subject) d
                from (
                    select d from recon.transaction_differences(a, b.bookings) d
                    union all
                    select d from recon.total_differences(a, k.tolerances, p_snapshot, b.bookings) d
                    union all
                    select d
                    from recon.valuation_differences(a, k.tolerances, p_snapshot, b.bookings) d
                ) all_found
                -- other conversion rates show in the balance and in unrealized P&L
                order by (d).subject, (d).cause is null, (d).field
            ) f
        ),
        a.last_event_seq,
        (
            select coalesce(max(e.entry_id), 0)
            from ledger.entries e where e.account_id = p_account_id
        )
    into bookings, differences, last_event_seq, last_entry_id
    from ledger.accounts a
    join recon.accounts t using (account_id)
    cross join lateral (
        select recon.tolerances_at(p_account_id, p_now) as tolerances offset 0
    ) k
    cross join lateral (
        select array(
            select b from recon.bookings_beside(a, t, k.tolerances, p_snapshot, p_now) b
        ) as bookings
        offset 0
    ) b
    where a.account_id = p_account_id;
end
$$;

comment on function recon.look is
    'The bookings of an account beside the broker''s, what differs, and how far its numbers '
    'reached, at one moment.';

-- Bookings that are each other's counterpart are done with, and later looks begin after them: all
-- where nothing that was booked differs, else those whose amounts are equal to the last digit. The
-- others may explain what differs. So may, for a while, what counts in the totals alone.
create or replace function recon.settle(
    p_account_id bigint, p_bookings recon.bookings[], p_differences recon.differences[],
    p_last_event_seq bigint, p_last_entry_id bigint
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_agree boolean := not exists (
        select from unnest(p_differences) f
        where f.cause is not null and not f.is_young
          and f.field in ('fill', 'entry', 'balance', 'quantity', 'average_price')
    );
    v_unclear text[] := array(
        select distinct b.symbol from unnest(p_bookings) b where b.is_amiss and b.symbol is not null
    );
begin
    update recon.broker_transactions t
    set is_settled = true, fill_id = b.fill_id, entry_id = b.entry_id
    from unnest(p_bookings) b
    where t.account_id = p_account_id and t.external_id = b.external_id
      and b.standing = 'matched' and not b.is_amiss and not b.is_ahead and not b.is_young
      and (v_agree or b.their_amount = b.our_amount)
      and coalesce(b.symbol <> all (v_unclear), true);
    update recon.accounts
    set settled_event_seq = greatest(settled_event_seq, s.event_seq),
        settled_entry_id = greatest(settled_entry_id, s.entry_id)
    from (
        select
            coalesce(
                min(b.from_number) filter (where b.kind = 'fill') - 1, p_last_event_seq
            ) as event_seq,
            coalesce(
                min(b.from_number) filter (where b.kind = 'entry') - 1, p_last_entry_id
            ) as entry_id
        from unnest(p_bookings) b
        left join recon.broker_transactions t
            on t.account_id = p_account_id and t.external_id = b.external_id
        where (b.is_amiss or not coalesce(t.is_settled, false))
          and not (b.standing in ('void', 'uncompared') and v_agree)
    ) s
    where account_id = p_account_id
      and (s.event_seq > settled_event_seq or s.entry_id > settled_entry_id);
end
$$;

comment on function recon.settle is
    'Marks bookings that agree, so that later looks begin after them.';

-- Decides and records what differs, and repairs it where the account allows it. Returns the number
-- of differences seen, those in flight included.
-- Locks, to commit, if there is something to write: the prices (shared), then the account's row.
-- Notifies: tidemark_account. The caller holds the row of recon.accounts.
create or replace function recon.check_account(
    p_account_id bigint, p_snapshot jsonb, p_now timestamptz, p_run text
) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_look record;
    v_account ledger.accounts;
    v_repair boolean;
    v_compared_from timestamptz;
begin
    select repair, compared_from into strict v_repair, v_compared_from
    from recon.accounts where account_id = p_account_id;
    v_look := recon.look(p_account_id, p_snapshot, p_now);
    if exists (
            select from unnest(v_look.differences) f where f.cause is not null and not f.is_young
        )
        or exists (select from recon.sightings where account_id = p_account_id)
        or exists (
            select from recon.discrepancies
            where account_id = p_account_id and resolved_at is null
        ) then
        v_account := ledger.lock_account(p_account_id);
        v_look := recon.look(p_account_id, p_snapshot, p_now);
        perform recon.keep_discrepancies(v_account, v_look.differences, p_now);
        if v_repair and recon.repair(v_account, v_look.bookings, p_run) > 0 then
            v_look := recon.look(p_account_id, p_snapshot, p_now);
            perform recon.keep_discrepancies(v_account, v_look.differences, p_now);
        end if;
    end if;
    -- a first answer is older than the moment by which it is dated: a booking from between the two
    -- counts as one from before, but the broker tells of it in its next answer
    if v_compared_from < (p_snapshot ->> 'taken_at')::timestamptz then
        perform recon.settle(
            p_account_id, v_look.bookings, v_look.differences,
            v_look.last_event_seq, v_look.last_entry_id
        );
    end if;
    return (select count(*) from unnest(v_look.differences) f where f.cause is not null);
end
$$;

comment on function recon.check_account is
    'Compares an account with a snapshot of its broker, decides, records and repairs.';
