-- The broker's positions as the ledger keeps them: one a symbol, or in a hedging account two.
create or replace function recon.their_positions(p_account ledger.accounts, p_snapshot jsonb)
returns table (
    symbol text, position_side text, quantity numeric, average_price numeric,
    unrealized_pnl numeric
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select
        p.symbol,
        case when p_account.position_mode = 'netting' then 'net' else p.side end,
        sum(case p.side when 'long' then p.quantity else -p.quantity end),
        case when count(*) = 1 then min(p.average_price) end,
        case when count(p.unrealized_pnl) = count(*) then sum(p.unrealized_pnl) end
    from jsonb_to_recordset(p_snapshot -> 'positions') p (
        symbol text, side text, quantity numeric, average_price numeric, unrealized_pnl numeric
    )
    group by 1, 2;
end
$$;

comment on function recon.their_positions is
    'The positions of a snapshot, signed, as a netting or hedging account keeps them.';

-- Quantity and average price of each position of both sides. What bookings explain is taken off
-- the quantity; average prices are judged where no booking is amiss or ahead of the snapshot.
-- cost_gap is what the other average price is worth in account currency.
create or replace function recon.compared_positions(
    p_account ledger.accounts, p_tolerances jsonb, p_snapshot jsonb, p_bookings recon.bookings[]
)
returns table (
    symbol text, position_side text, base_currency text, quote_currency text,
    their_quantity numeric, quantity_gap numeric, has_other_quantity boolean,
    our_price numeric, their_price numeric, is_price_judged boolean, has_other_price boolean,
    cost_gap numeric, cost_slack numeric
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    with moves as (
        select
            b.symbol, b.position_side,
            coalesce(sum(b.their_quantity) filter (where b.is_ahead), 0) as ahead,
            sum(b.their_quantity - b.our_quantity) as explained,
            bool_or(b.is_ahead or b.is_amiss) as is_unclear
        from unnest(p_bookings) b
        where b.kind = 'fill'
        group by b.symbol, b.position_side
    ),
    ours as (
        select i.symbol, p.position_side, p.quantity,
               market.round_div(p.cost, p.quantity * i.contract_size, 10) as average_price
        from ledger.positions p join market.instruments i using (instrument_id)
        where p.account_id = p_account.account_id
    ),
    told as (
        select * from recon.their_positions(p_account, p_snapshot)
    ),
    beside as (
        select
            s.symbol, s.position_side,
            coalesce(t.quantity, 0) + coalesce(m.ahead, 0) as their_quantity,
            coalesce(t.quantity, 0) + coalesce(m.ahead, 0) - coalesce(m.explained, 0)
                - coalesce(o.quantity, 0) as quantity_gap,
            o.quantity as our_quantity,
            o.average_price as our_price,
            t.average_price as their_price,
            coalesce(m.is_unclear, false) as is_unclear
        from (
            select t.symbol, t.position_side from told t
            union
            select o.symbol, o.position_side from ours o
            union
            select m.symbol, m.position_side from moves m
        ) s
        left join told t using (symbol, position_side)
        left join ours o using (symbol, position_side)
        left join moves m using (symbol, position_side)
    )
    select
        b.symbol, b.position_side, coalesce(i.base_currency, b.symbol), i.quote_currency,
        b.their_quantity, b.quantity_gap, q.differs,
        b.our_price, b.their_price, j.is_judged,
        j.is_judged and abs(b.their_price - b.our_price) > a.price_allowed,
        case when j.is_judged
            then (b.their_price - b.our_price) * b.our_quantity * i.contract_size * c.rate end,
        case when j.is_judged
            then a.price_allowed * abs(b.our_quantity) * i.contract_size * c.rate end
    from beside b
    left join market.instruments i on i.symbol = b.symbol
    left join market.conversion_rates c
        on c.from_currency = i.quote_currency and c.to_currency = p_account.currency
    cross join lateral (
        select
            recon.allowance(p_tolerances, 'quantity', b.symbol, b.their_quantity)
                as quantity_allowed,
            recon.allowance(p_tolerances, 'average_price', b.symbol, b.their_price)
                as price_allowed
    ) a
    cross join lateral (
        select abs(b.quantity_gap) > a.quantity_allowed as differs
    ) q
    cross join lateral (
        select not b.is_unclear and not q.differs
            and b.our_price is not null and b.their_price is not null as is_judged
    ) j;
end
$$;

comment on function recon.compared_positions is
    'Quantity and average price of each position of both sides, less what bookings explain.';

-- How far balances differ, in parts: what bookings that are amiss explain (a trade that one side
-- lacks also changes what later trades in the instrument realize, so all of these count), what
-- other conversion rates made of realized P&L, and the rest.
create or replace function recon.compared_balances(
    p_account ledger.accounts, p_tolerances jsonb, p_snapshot jsonb, p_bookings recon.bookings[],
    out theirs numeric, out explained numeric, out converted numeric, out rest numeric,
    out converted_fills jsonb, out allowed numeric
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    with amiss as (
        select distinct b.symbol from unnest(p_bookings) b where b.kind = 'fill' and b.is_amiss
    ),
    counted as (
        select
            b.their_amount, b.our_amount, b.is_ahead, b.fill_id,
            b.their_realized_pnl - b.our_realized_pnl as realized_gap,
            case b.kind when 'fill' then a.symbol is not null else b.is_amiss end as is_amiss,
            i.quote_currency <> p_account.currency and b.standing = 'matched'
                and abs(b.their_realized_pnl - b.our_realized_pnl) <= 0.1 * abs(b.our_realized_pnl)
                as is_converted
        from unnest(p_bookings) b
        left join amiss a on a.symbol = b.symbol
        left join market.instruments i on i.symbol = b.symbol
        where b.entry_kind is distinct from 'credit'
    )
    select
        (p_snapshot ->> 'balance')::numeric
            + coalesce(sum(their_amount) filter (where is_ahead), 0),
        coalesce(sum(their_amount - our_amount) filter (where is_amiss), 0),
        coalesce(sum(realized_gap) filter (where is_converted and not is_amiss), 0),
        coalesce(jsonb_agg(fill_id order by fill_id) filter (
            where is_converted and not is_amiss and realized_gap <> 0
        ), '[]')
    into theirs, explained, converted, converted_fills
    from counted;

    allowed := recon.money_allowance(p_tolerances, 'balance', p_account.money_scale, theirs);
    rest := theirs - p_account.balance - explained - converted;
    if abs(rest + converted) <= allowed then
        rest := 0;
        converted := 0;
    elsif abs(converted) <= allowed then
        rest := rest + converted;
        converted := 0;
    elsif abs(rest) <= allowed then
        converted := rest + converted;
        rest := 0;
    end if;
end
$$;

comment on function recon.compared_balances is
    'By how much the broker''s balance differs from the ledger''s, in parts; parts within the '
    'tolerance are zero.';

-- Balance, quantities and average prices. Another average price that is worth what the balance
-- differs by belongs to that difference: both sides then realized the same trades in another order.
-- Rows with a null cause name what could not be judged this time.
create or replace function recon.total_differences(
    p_account ledger.accounts, p_tolerances jsonb, p_snapshot jsonb, p_bookings recon.bookings[]
) returns setof recon.differences
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    with positions as materialized (
        select * from recon.compared_positions(p_account, p_tolerances, p_snapshot, p_bookings)
    ),
    costs as (
        select
            coalesce(sum(p.cost_gap), 0) as gap, coalesce(sum(p.cost_slack), 0) as slack,
            jsonb_agg(jsonb_build_object(
                'symbol', p.symbol, 'ours', p.our_price::text, 'theirs', p.their_price::text
            )) as prices
        from positions p
        where p.has_other_price
    ),
    cash as (
        select
            b.*, c.prices,
            b.rest <> 0 and c.gap <> 0 and abs(b.rest - c.gap) <= b.allowed + c.slack
                as is_other_order
        from recon.compared_balances(p_account, p_tolerances, p_snapshot, p_bookings) b
        cross join costs c
    ),
    found as (
        select
            'conversion' as subject, 'conversion' as cause, 'balance' as field,
            null::text as symbol, theirs - converted as ours, theirs, converted as difference,
            p_account.currency as unit,
            format(
                'The broker converted realized P&L at other rates: its balance differs by %s %s.',
                trim_scale(converted), p_account.currency
            ) as message,
            jsonb_build_object(
                'balance', p_account.balance::text, 'explained', explained::text,
                'fills', converted_fills
            ) as evidence
        from cash
        where converted <> 0
        union all
        select
            'balance', 'balance', 'balance', null, theirs - rest, theirs, rest,
            p_account.currency,
            format(
                'The broker''s balance differs by %s %s that no transaction explains%s.',
                trim_scale(rest), p_account.currency, case when is_other_order
                    then ', but average prices do: trades were booked in another order' else '' end
            ),
            jsonb_build_object(
                'balance', p_account.balance::text, 'explained', explained::text
            ) || case when is_other_order
                then jsonb_build_object('average_prices', prices) else '{}' end
        from cash
        where rest <> 0
        union all
        select
            format('quantity %s %s', p.symbol, p.position_side), 'quantity', 'quantity', p.symbol,
            p.their_quantity - p.quantity_gap, p.their_quantity, p.quantity_gap, p.base_currency,
            format(
                'The broker holds %s %s where the ledger has %s.', trim_scale(p.their_quantity),
                p.symbol, trim_scale(p.their_quantity - p.quantity_gap)
            ),
            '{}'
        from positions p
        where p.has_other_quantity
        union all
        select
            format('average_price %s %s', p.symbol, p.position_side),
            case when p.is_price_judged then 'average_price' end, 'average_price', p.symbol,
            p.our_price, p.their_price, p.their_price - p.our_price, p.quote_currency,
            format(
                'The average price of %s is %s at the broker and %s in the ledger.', p.symbol,
                trim_scale(p.their_price), trim_scale(p.our_price)
            ),
            '{}'
        from positions p cross join cash c
        where p.has_other_price and not c.is_other_order
           or not p.is_price_judged and num_nulls(p.our_price, p.their_price) = 0
    )
    select f.subject, f.cause, f.field, f.symbol, f.ours, f.theirs, f.difference, f.unit,
           f.message, f.evidence, false
    from found f
    union all
    -- a booking in flight hides what is beside it
    select n.*
    from unnest(array['balance', 'conversion']) s
    cross join lateral recon.not_judged(s) n
    where exists (select from unnest(p_bookings) b where b.is_amiss and b.is_young);
end
$$;

comment on function recon.total_differences is
    'Differences of balance, quantities and average prices that no transaction explains.';
