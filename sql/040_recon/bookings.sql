-- The bookings of both sides, beside each other, as far as they have not been settled: the broker's
-- transactions and the ledger's fills and entries that each is without the other or with it.
--
--   matched      both have it, by the broker's id; or, where the ledger has no such id, by content
--   missing      the broker has it, the ledger does not
--   reversed     both have it, but the ledger took it back
--   extra        the ledger has it, the broker does not
--   void         the ledger took back what the broker does not have
--   uncompared   the ledger has it, and it counts in the totals alone: the broker booked it before
--                all transactions were known, or we by hand to make balances agree
--
-- What a reversal booked counts with the fill that it takes back. A booking is amiss if it has no
-- counterpart, or one with another content.
create or replace function recon.bookings_beside(
    p_account ledger.accounts, p_terms recon.accounts, p_tolerances jsonb, p_snapshot jsonb,
    p_now timestamptz
) returns setof recon.bookings
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_nestloop = off  -- one plan serves few rows and, at a first answer, many
as $$
declare
    v_taken_at timestamptz := (p_snapshot ->> 'taken_at')::timestamptz;
    v_grace interval;
begin
    select grace into strict v_grace from recon.settings;
    return query
    with recent_fills as (
        select * from ledger.fills
        where account_id = p_account.account_id and event_seq > p_terms.settled_event_seq
    ),
    recent_entries as (
        select * from ledger.entries
        where account_id = p_account.account_id and entry_id > p_terms.settled_entry_id
          and fill_id is null
    ),
    our_fills as (
        select f.*, i.symbol, r.fill_id is not null as is_reversed,
               f.event_seq as from_number,
               f.realized_pnl + coalesce(r.realized_pnl, 0) as realized_sum,
               f.realized_pnl - f.commission + coalesce(r.realized_pnl - r.commission, 0)
                   as amount_sum
        from recent_fills f
        join market.instruments i using (instrument_id)
        left join recent_fills r on r.reverses_fill_id = f.fill_id
        where f.reverses_fill_id is null
        union all
        select f.*, i.symbol, true, r.event_seq,
               r.realized_pnl, r.realized_pnl - r.commission
        from recent_fills r
        join ledger.fills f
            on f.fill_id = r.reverses_fill_id and f.event_seq <= p_terms.settled_event_seq
        join market.instruments i on i.instrument_id = f.instrument_id
    ),
    our_entries as (
        select e.*, r.entry_id is not null as is_reversed,
               e.amount + coalesce(r.amount, 0) as amount_sum, e.entry_id as from_number
        from recent_entries e
        left join recent_entries r
            on r.reverses_entry_id = e.entry_id and r.external_id is null
        where e.reverses_entry_id is null or e.external_id is not null
        union all
        select e.*, true, r.amount, r.entry_id
        from recent_entries r
        join ledger.entries e
            on e.entry_id = r.reverses_entry_id and e.entry_id <= p_terms.settled_entry_id
        where r.external_id is null
    ),
    ours as (
        select 'fill' as kind, null as entry_kind, fill_id as id, fill_id,
               null::bigint as entry_id, from_number, external_id, event_at, recorded_at,
               symbol, position_side, price,
               quantity_change as signed_quantity, realized_sum, amount_sum, is_reversed,
               concat_ws('|', symbol, side, trim_scale(quantity), trim_scale(price)) as content
        from our_fills
        union all
        select 'entry', kind, entry_id, null, entry_id, from_number, external_id, event_at,
               recorded_at, null, null, null, null, null, amount_sum, is_reversed,
               concat_ws('|', kind, trim_scale(amount))
        from our_entries
    ),
    -- the transaction that each is, also one that was settled before; not of a fill or entry that
    -- was taken back and recorded again
    known as (
        select o.*, t.external_id as their_id, coalesce(t.is_settled, false) as was_settled
        from ours o
        left join lateral (
            select s.external_id, s.is_settled
            from recon.broker_transactions s
            where s.account_id = p_account.account_id and s.kind = o.kind
              and s.external_id = o.external_id
              and not (o.is_reversed and coalesce(s.fill_id, s.entry_id, o.id) <> o.id)
            union all
            select s.external_id, s.is_settled
            from recon.broker_transactions s
            where s.fill_id = o.fill_id or s.entry_id = o.entry_id
            limit 1
        ) t on true
    ),
    theirs as (
        select t.*, t.realized_pnl as realized_sum, t.amount as amount_sum
        from recon.broker_transactions t
        where t.account_id = p_account.account_id and not t.is_settled
        union all
        select t.*, 0, 0  -- its amounts were settled
        from known k
        join recon.broker_transactions t
            on t.account_id = p_account.account_id and t.external_id = k.their_id
        where k.was_settled and k.is_reversed
    ),
    open_theirs as (
        select
            t.kind, t.entry_kind, t.external_id, t.event_at, t.symbol, t.price,
            t.realized_sum, t.amount_sum,
            t.event_at > p_now - v_grace as is_young,
            recon.comes_after(
                t.transaction_id, p_snapshot ->> 'transaction_id', t.event_at > v_taken_at
            ) as is_ahead,
            case
                when t.kind = 'entry' then null
                when p_account.position_mode = 'netting' then 'net'
                when (t.side = 'buy') = (t.opened_quantity > 0) then 'long'
                else 'short'
            end as position_side,
            case t.side when 'buy' then t.quantity when 'sell' then -t.quantity end
                as signed_quantity,
            case t.kind
                when 'fill' then
                    concat_ws('|', t.symbol, t.side, trim_scale(t.quantity), trim_scale(t.price))
                else concat_ws(
                    '|', t.entry_kind, trim_scale(round(t.amount, p_account.money_scale))
                )
            end as content,
            k.their_id is not null as is_known
        from theirs t
        left join known k
            on k.kind = t.kind and k.their_id = t.external_id and not k.is_reversed
    ),
    unknown_ours as (
        select kind, content, id,
               row_number() over (partition by kind, content order by event_at) as place
        from known
        where their_id is null and not is_reversed and event_at >= p_terms.compared_from
    ),
    unknown_theirs as (
        select kind, content, external_id,
               row_number() over (partition by kind, content order by event_at) as place
        from open_theirs
        where not is_known
    ),
    alike as (
        select o.kind, o.id, t.external_id
        from unknown_ours o join unknown_theirs t using (kind, content, place)
    ),
    paired as (
        select
            k.*,
            case when k.is_reversed and again.id is not null then null
                else coalesce(k.their_id, a.external_id) end as paired_id
        from known k
        left join alike a on a.kind = k.kind and a.id = k.id
        left join alike again on again.kind = k.kind and again.external_id = k.their_id
    )
    select
        s.standing,
        coalesce(p.kind, t.kind),
        coalesce(p.entry_kind, t.entry_kind),
        coalesce(t.external_id, p.paired_id, p.external_id),
        coalesce(t.symbol, p.symbol),
        coalesce(t.position_side, p.position_side),
        coalesce(t.is_ahead, false),
        case when t.kind is null then p.recorded_at > v_taken_at - v_grace else t.is_young end,
        case
            when s.standing in ('void', 'uncompared') then false
            when s.standing <> 'matched' then true
            when t.kind = 'fill'
                then (t.signed_quantity, t.price) is distinct from (p.signed_quantity, p.price)
            else abs(t.amount_sum - coalesce(p.amount_sum, 0))
                > recon.money_allowance(
                    p_tolerances, 'balance', p_account.money_scale, t.amount_sum
                )
        end,
        coalesce(t.signed_quantity, 0),
        t.price,
        coalesce(t.realized_sum, 0),
        coalesce(t.amount_sum, 0),
        p.fill_id,
        p.entry_id,
        p.from_number,
        case when p.is_reversed or s.standing = 'uncompared' then 0
            else coalesce(p.signed_quantity, 0) end,
        p.price,
        case when s.standing = 'uncompared' then 0 else coalesce(p.realized_sum, 0) end,
        case when s.standing = 'uncompared' then 0 else coalesce(p.amount_sum, 0) end
    from (select * from paired where not (was_settled and not is_reversed)) p
    full join open_theirs t on t.kind = p.kind and t.external_id = p.paired_id
    cross join lateral (
        select case
            when p.kind is null then case
                when t.kind = 'entry' and round(t.amount_sum, p_account.money_scale) = 0
                    then 'matched'
                else 'missing'
            end
            when p.paired_id is null then case
                -- the broker never tells of what it had by then, however late we booked it
                when p.event_at < p_terms.compared_from
                    or not recon.comes_after(
                        split_part(p.external_id, '/', 1), p_terms.compared_after_id, true
                    )
                    or p.entry_kind = 'adjustment' and p.external_id is null
                    then 'uncompared'
                when p.is_reversed then 'void'
                else 'extra'
            end
            when p.is_reversed then 'reversed'
            else 'matched'
        end as standing
    ) s
    -- if the ledger had it first, the broker may yet tell of it: it is not settled at once
    where s.standing <> 'uncompared'
       or p.recorded_at > v_taken_at - v_grace - interval '1 minute';
end
$$;

comment on function recon.bookings_beside is
    'The bookings of broker and ledger that have not been settled, each beside its counterpart.';
