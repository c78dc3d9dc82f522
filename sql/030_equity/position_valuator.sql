-- What a position is worth. (Component 17.3.) The bodies are bound when they are created, which is
-- why these functions pin no search_path: pinned, they could not be inlined into a statement.

-- What closing at the side price would bring, in quote currency, exact.
create or replace function equity.pnl_quote(
    p_quantity numeric, p_cost numeric, p_contract_size numeric, p_bid numeric, p_ask numeric
) returns numeric
language sql immutable parallel safe
return p_quantity * p_contract_size * case when p_quantity > 0 then p_bid else p_ask end - p_cost;

comment on function equity.pnl_quote is
    'Unrealized P&L in quote currency: a long is worth its bid, a short its ask; '
    'null without a price.';

-- The same in account currency: one of the four places where Tidemark rounds.
create or replace function equity.to_account_currency(
    p_amount_quote numeric, p_rate numeric, p_money_scale int
) returns numeric
language sql immutable parallel safe
return round(p_amount_quote * p_rate, p_money_scale);

comment on function equity.to_account_currency is
    'Amount in account currency at its money scale, half away from zero; null without a rate.';

grant execute on function equity.pnl_quote, equity.to_account_currency to public;

-- Every open position with its figures by the quotes and rates as they are now. Price P&L is the
-- P&L at the conversion rate that the position was opened at; what the rate has done since to it,
-- conversion P&L, is the rest.
create or replace view equity.position_values as
select
    p.account_id,
    p.instrument_id,
    p.position_side,
    p.quantity,
    p.cost,
    i.contract_size,
    case when p.quantity > 0 then q.bid else q.ask end as price,
    least(q.event_at, c.priced_at) as priced_at,
    c.rate as conversion_rate,
    equity.pnl_quote(p.quantity, p.cost, i.contract_size, q.bid, q.ask) as unrealized_pnl_quote,
    equity.to_account_currency(
        equity.pnl_quote(p.quantity, p.cost, i.contract_size, q.bid, q.ask), c.rate, a.money_scale
    ) as unrealized_pnl,
    equity.to_account_currency(
        p.quantity * i.contract_size * market.mid(q.bid, q.ask) - p.cost, c.rate, a.money_scale
    ) as mid_unrealized_pnl,
    equity.to_account_currency(
        abs(p.quantity) * i.contract_size * market.mid(q.bid, q.ask) * i.margin_rate,
        c.rate, a.money_scale
    ) as margin_used,
    p.quantity * i.contract_size as units,
    market.mid(q.bid, q.ask) as mid,
    i.margin_rate,
    i.base_currency,
    i.quote_currency,
    a.money_scale,
    a.hedged_margin,
    case when c.rate is not null then market.round_div(
        equity.pnl_quote(p.quantity, p.cost, i.contract_size, q.bid, q.ask) * p.converted_cost,
        nullif(p.cost, 0), a.money_scale
    ) end as price_pnl,
    least(q.event_at + i.stale_after, c.fresh_until) as fresh_until
from ledger.positions p
join ledger.accounts a on a.account_id = p.account_id
join market.instruments i on i.instrument_id = p.instrument_id
join market.quotes q on q.instrument_id = p.instrument_id
left join market.dated_conversion_rates c
    on c.from_currency = i.quote_currency and c.to_currency = a.currency;

comment on view equity.position_values is
    'Open positions with price, conversion rate, unrealized P&L (side price and mid) '
    'and margin used; null where a price or rate is unknown.';
