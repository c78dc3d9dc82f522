-- The valuation's invariants as one statement, from fills, entries and quotes alone;
-- api.verify_equity() hands it out. It uses neither the stored positions nor the stored rates.
create or replace view equity.broken_invariants as
with
positions as (
    select account_id, instrument_id, sum(quantity_change) as quantity, sum(cost_change) as cost
    from ledger.fills
    group by account_id, instrument_id, position_side
    having sum(quantity_change) <> 0
),
valued as (
    select
        p.account_id,
        round(
            (
                p.quantity * i.contract_size * case when p.quantity > 0 then q.bid else q.ask end
                - p.cost
            ) * c.rate,
            a.money_scale
        ) as unrealized_pnl
    from positions p
    join ledger.accounts a using (account_id)
    join market.instruments i using (instrument_id)
    join market.quotes q using (instrument_id)
    left join market.computed_conversion_rates c
        on c.from_currency = i.quote_currency and c.to_currency = a.currency
),
expected as (
    select
        a.account_id,
        coalesce(sum(v.unrealized_pnl), 0) as unrealized_pnl,
        count(*) filter (
            where v.account_id is not null and v.unrealized_pnl is null
        ) as unpriced_positions
    from ledger.accounts a left join valued v using (account_id)
    group by a.account_id
),
held_legs as (
    select p.account_id, p.instrument_id, p.quantity > 0 as is_long,
           p.quantity * i.contract_size as units, p.cost,
           a.currency, a.money_scale
    from positions p
    join ledger.accounts a using (account_id)
    join market.instruments i using (instrument_id)
),
cash as (
    select account_id, sum(amount) as total from ledger.entries group by account_id
)
select account_id, 'unrealized_pnl' as item,
       s.unrealized_pnl as stored, e.unrealized_pnl as expected
from expected e full join equity.account_states s using (account_id)
where s.unrealized_pnl is distinct from e.unrealized_pnl
union all
select account_id, 'unpriced_positions', s.unpriced_positions, e.unpriced_positions
from expected e full join equity.account_states s using (account_id)
where s.unpriced_positions is distinct from e.unpriced_positions
union all
select a.account_id, 'balance + credit', a.balance + a.credit, coalesce(c.total, 0)
from ledger.accounts a left join cash c using (account_id)
where a.balance + a.credit <> coalesce(c.total, 0)
union all
select account_id, format('units of the leg of instrument %s', instrument_id), l.units, h.units
from held_legs h full join equity.legs l using (account_id, instrument_id, is_long)
where l.units is distinct from h.units or l.units_float <> l.units::float8
union all
select account_id, format('cost of the leg of instrument %s', instrument_id), l.cost, h.cost
from held_legs h full join equity.legs l using (account_id, instrument_id, is_long)
where l.cost is distinct from h.cost or l.cost_float <> l.cost::float8
union all
select account_id, format('class of the leg of instrument %s', l.instrument_id), c.class_id, null
from held_legs h
join equity.legs l using (account_id, instrument_id, is_long)
join equity.leg_classes c using (class_id)
where (c.instrument_id, c.is_long, c.currency, c.money_scale)
        is distinct from (h.instrument_id, h.is_long, h.currency, h.money_scale)
   or abs(h.units) >= ('1e' || c.units_magnitude)::numeric
   or abs(h.cost) >= ('1e' || c.cost_magnitude)::numeric
union all
select null, format('conversion rate %s to %s', from_currency, to_currency), stored_rate, rate
from market.computed_conversion_rates
where stored_rate is distinct from rate
union all
select null, format('quote of %s: tick_id', i.symbol), q.tick_id, t.tick_id
from market.quotes q
join market.instruments i using (instrument_id)
cross join lateral (
    select event_at, tick_id
    from market.ticks
    where instrument_id = q.instrument_id
    order by event_at desc, tick_id desc
    limit 1
) t
where (q.event_at, q.tick_id) is distinct from (t.event_at, t.tick_id)
  and (q.event_at is null or (t.event_at, t.tick_id) > (q.event_at, q.tick_id));

comment on view equity.broken_invariants is
    'Account states, conversion rates and quotes that differ from what fills, entries and ticks '
    'say.';
