create or replace view api.positions as
select
    v.account_id,
    i.symbol,
    case when v.quantity > 0 then 'long' else 'short' end as side,
    abs(v.quantity) as quantity,
    trim_scale(market.round_div(v.cost, v.quantity * v.contract_size, 10)) as average_price,
    v.price,
    v.unrealized_pnl,
    trim_scale(v.unrealized_pnl_quote) as unrealized_pnl_quote,
    v.conversion_rate,
    v.margin_used,
    v.unrealized_pnl is not null as is_priced,
    v.priced_at,
    v.quote_currency,
    v.price_pnl,
    v.unrealized_pnl - v.price_pnl as conversion_pnl,
    coalesce(v.fresh_until < statement_timestamp(), false) as is_stale,
    statement_timestamp() - v.priced_at as price_age
from equity.position_values v
join market.instruments i using (instrument_id);

comment on view api.positions is 'Open positions, valued by the current quotes.';
comment on column api.positions.side is
    'long or short; a hedging account may have both of a symbol.';
comment on column api.positions.quantity is
    'Always positive; in base units it is quantity × contract size.';
comment on column api.positions.is_priced is 'Whether there is a price and a conversion rate.';
comment on column api.positions.average_price is
    'Cost ÷ quantity, for display: rounded to 10 decimals; figures are computed from the cost.';
comment on column api.positions.price is
    'What closing would bring: the bid for a long, the ask for a short.';
comment on column api.positions.unrealized_pnl is
    'In account currency, at its money scale; null without a price or conversion rate.';
comment on column api.positions.unrealized_pnl_quote is
    'In quote_currency, exact.';
comment on column api.positions.conversion_rate is 'Quote to account currency, at mid.';
comment on column api.positions.margin_used is 'Margin rate × value at mid, in account currency.';
comment on column api.positions.priced_at is
    'Event time of the oldest quote that values or converts it.';
comment on column api.positions.price_pnl is
    'Unrealized P&L at the conversion rate that the position was opened at, in account currency; '
    'null where that rate is unknown, or where rounding has left a tiny position without cost.';
comment on column api.positions.conversion_pnl is
    'What the conversion rate has since added to it: unrealized_pnl − price_pnl.';
comment on column api.positions.is_stale is
    'Whether a quote that values or converts it is older than its instrument''s stale_after.';
comment on column api.positions.price_age is
    'Age of the oldest quote that values or converts it.';

grant select on api.positions to tidemark_trading, tidemark_reconcile, tidemark_readonly;
