-- The ledger's invariants as one statement; api.verify_ledger() hands it out.
create or replace view ledger.broken_invariants as
with
entry_chain as (
    select account_id, entry_id, balance_after,
           coalesce(lag(balance_after) over account, 0)
               + case when kind = 'credit' then 0 else amount end as expected
    from ledger.entries
    window account as (partition by account_id order by entry_id)
),
entry_sums as (
    select account_id,
           sum(amount) filter (where kind <> 'credit') as balance,
           sum(amount) filter (where kind = 'credit') as credit,
           sum(amount) filter (where kind in ('deposit', 'withdrawal', 'credit')) as net_flow
    from ledger.entries
    group by account_id
),
fill_chain as (
    select account_id, fill_id, event_seq, quantity_after, cost_after,
           coalesce(lag(quantity_after) over position, 0) + quantity_change as expected_quantity,
           coalesce(lag(cost_after) over position, 0) + cost_change as expected_cost
    from ledger.fills
    window position as (partition by account_id, instrument_id, position_side order by fill_id)
),
last_fills as (
    select distinct on (account_id, instrument_id, position_side)
           account_id, instrument_id, position_side, converted_cost_after
    from ledger.fills
    order by account_id, instrument_id, position_side, fill_id desc
),
fill_entries as (
    select fill_id, sum(amount) filter (where kind = 'realized_pnl') as realized_pnl,
           -sum(amount) filter (where kind = 'commission') as commission
    from ledger.entries
    where fill_id is not null
    group by fill_id
),
event_numbers as (
    select account_id, event_seq from ledger.fills
    union all
    select account_id, event_seq from ledger.events
),
fill_positions as (
    select account_id, instrument_id, position_side,
           sum(quantity_change) as quantity, sum(cost_change) as cost
    from ledger.fills
    group by account_id, instrument_id, position_side
    having sum(quantity_change) <> 0 or sum(cost_change) <> 0
)
select account_id, format('balance_after of entry %s', entry_id) as item,
       balance_after as stored, expected
from entry_chain
where balance_after is distinct from expected
union all
select a.account_id, 'balance', a.balance, coalesce(s.balance, 0)
from ledger.accounts a left join entry_sums s using (account_id)
where a.balance <> coalesce(s.balance, 0)
union all
select a.account_id, 'credit', a.credit, coalesce(s.credit, 0)
from ledger.accounts a left join entry_sums s using (account_id)
where a.credit <> coalesce(s.credit, 0)
union all
select a.account_id, 'net_flow', a.net_flow, coalesce(s.net_flow, 0)
from ledger.accounts a left join entry_sums s using (account_id)
where a.net_flow <> coalesce(s.net_flow, 0)
union all
select account_id, format('quantity_after of fill %s', fill_id), quantity_after, expected_quantity
from fill_chain
where quantity_after <> expected_quantity
union all
select account_id, format('cost_after of fill %s', fill_id), cost_after, expected_cost
from fill_chain
where cost_after <> expected_cost
union all
select f.account_id, format('realized_pnl of fill %s', f.fill_id),
       f.realized_pnl, coalesce(e.realized_pnl, 0)
from ledger.fills f left join fill_entries e using (fill_id)
where f.realized_pnl <> coalesce(e.realized_pnl, 0)
union all
select f.account_id, format('commission of fill %s', f.fill_id),
       f.commission, coalesce(e.commission, 0)
from ledger.fills f left join fill_entries e using (fill_id)
where f.commission <> coalesce(e.commission, 0)
union all
select account_id, format('quantity of %s, %s', i.symbol, position_side), p.quantity, f.quantity
from ledger.positions p
full join fill_positions f using (account_id, instrument_id, position_side)
join market.instruments i using (instrument_id)
where p.quantity is distinct from f.quantity
union all
select account_id, format('cost of %s, %s', i.symbol, position_side), p.cost, f.cost
from ledger.positions p
full join fill_positions f using (account_id, instrument_id, position_side)
join market.instruments i using (instrument_id)
where p.cost is distinct from f.cost
union all
select account_id, format('converted cost of %s, %s', i.symbol, position_side),
       p.converted_cost, f.converted_cost_after
from ledger.positions p
join last_fills f using (account_id, instrument_id, position_side)
join market.instruments i using (instrument_id)
where p.converted_cost is distinct from f.converted_cost_after
union all
select r.account_id, format('quantity of fill %s, which reverses', r.fill_id),
       r.quantity_change, -f.quantity_change
from ledger.fills r join ledger.fills f on f.fill_id = r.reverses_fill_id
where r.quantity_change <> -f.quantity_change or r.account_id <> f.account_id
union all
select r.account_id, format('amount of entry %s, which reverses', r.entry_id),
       r.amount, -e.amount
from ledger.entries r join ledger.entries e on e.entry_id = r.reverses_entry_id
where r.amount <> -e.amount or r.account_id <> e.account_id or r.kind <> e.kind
union all
select a.account_id, 'number of events', a.last_event_seq, count(distinct e.event_seq)
from ledger.accounts a left join event_numbers e using (account_id)
group by a.account_id
having a.last_event_seq <> count(e.event_seq)
    or a.last_event_seq <> count(distinct e.event_seq)
    or a.last_event_seq <> coalesce(max(e.event_seq), 0);

comment on view ledger.broken_invariants is
    'Rows of the ledger that contradict each other: '
    'entries and balances, fills and positions, fills and what they booked, '
    'events and their numbers.';
