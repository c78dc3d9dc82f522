-- What a tick must move is read from the hot row; mid-priced and margin figures are derived here.
-- round() to the money scale changes no value: it pads, so that 0 reads 0.00.
create or replace view api.account_states as
select
    s.account_id,
    a.currency,
    round(a.balance, a.money_scale) as balance,
    round(a.credit, a.money_scale) as credit,
    round(priced.unrealized_pnl, a.money_scale) as unrealized_pnl,
    round(a.balance + a.credit + priced.unrealized_pnl, a.money_scale) as equity,
    round(priced.margin_equity, a.money_scale) as margin_equity,
    round(priced.margin_used, a.money_scale) as margin_used,
    round(priced.margin_equity - priced.margin_used, a.money_scale) as margin_available,
    market.round_div(priced.margin_equity, nullif(priced.margin_used, 0), 6) as margin_level,
    s.unpriced_positions = 0 as is_priced,
    v.priced_at,
    s.version,
    s.updated_at
from equity.account_states s
join ledger.accounts a on a.account_id = s.account_id
cross join lateral (
    select sum(mid_unrealized_pnl) as mid_unrealized_pnl, sum(margin_used) as margin_used,
           min(priced_at) as priced_at
    from (
        -- of a hedged pair, the larger side needs margin
        select sum(mid_unrealized_pnl) as mid_unrealized_pnl, max(margin_used) as margin_used,
               min(priced_at) as priced_at
        from equity.position_values
        where account_id = s.account_id
        group by instrument_id
    ) instruments
) v
left join lateral (
    select
        s.unrealized_pnl,
        a.balance + a.credit + coalesce(v.mid_unrealized_pnl, 0) as margin_equity,
        coalesce(v.margin_used, 0) as margin_used
    where s.unpriced_positions = 0
) priced on true;

comment on view api.account_states is
    'The current figures of every account, in its currency. '
    'Figures that need an unknown price or rate are null, and is_priced is false.';
comment on column api.account_states.balance is 'Sum of all entries but credit.';
comment on column api.account_states.credit is 'Sum of the credit entries.';
comment on column api.account_states.unrealized_pnl is
    'Over all open positions at side prices: a long at its bid, a short at its ask.';
comment on column api.account_states.equity is
    'balance + credit + unrealized_pnl: what closing everything now would leave.';
comment on column api.account_states.margin_equity is
    'The same at mid prices, as brokers use it for margin and close-out.';
comment on column api.account_states.margin_used is
    'Margin rate × value at mid, over all positions; of a hedged pair the larger side counts.';
comment on column api.account_states.margin_available is 'margin_equity − margin_used.';
comment on column api.account_states.margin_level is
    'margin_equity ÷ margin_used as a fraction; null when no margin is used.';
comment on column api.account_states.is_priced is
    'Whether every position has a price and a conversion rate.';
comment on column api.account_states.priced_at is
    'Event time of the oldest quote that values a position; null without positions.';
comment on column api.account_states.version is
    'Grows with every change; orders the states of an account.';

grant select on api.account_states to tidemark_trading, tidemark_reconcile, tidemark_readonly;
