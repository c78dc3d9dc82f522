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
    m.priced_at,
    s.version,
    s.updated_at,
    equity.margin_state(
        priced.margin_equity, priced.margin_used, a.margin_call_level, a.close_out_level
    ) as margin_state,
    coalesce(m.fresh_until < statement_timestamp(), false) as is_stale,
    statement_timestamp() - m.priced_at as price_age,
    round(a.net_flow, a.money_scale) as net_flow,
    round(d.high_water_mark + a.net_flow, a.money_scale) as high_water_mark,
    d.high_water_at,
    round(d.high_water_mark - d.performance, a.money_scale) as drawdown,
    d.drawdown_pct,
    case when d.performance is not null then round(
        greatest(c.max_drawdown, d.high_water_mark - d.performance), a.money_scale
    ) end as max_drawdown,
    case when d.drawdown_pct is not null then greatest(c.max_drawdown_pct, d.drawdown_pct) end
        as max_drawdown_pct,
    case when d.high_water_mark > d.performance then d.high_water_at end as under_water_since
from equity.account_states s
join ledger.accounts a on a.account_id = s.account_id
join equity.curves c on c.account_id = s.account_id
left join lateral (
    select *
    from equity.account_margins
    where account_id = s.account_id
    offset 0  -- for one account, not for all and then joined
) m on true
left join lateral (
    select
        s.unrealized_pnl,
        a.balance + a.credit + coalesce(m.mid_unrealized_pnl, 0) as margin_equity,
        coalesce(m.margin_used, 0) as margin_used
    where s.unpriced_positions = 0
) priced on true
left join lateral equity.current_drawdown(
    c, a.balance + a.credit + priced.unrealized_pnl - a.net_flow, a.net_flow, s.updated_at
) d on true;

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
    'Margin rate × value at mid, over all positions; of a hedged pair the larger side or the net, '
    'as api.accounts.hedged_margin says.';
comment on column api.account_states.margin_available is 'margin_equity − margin_used.';
comment on column api.account_states.margin_level is
    'margin_equity ÷ margin_used as a fraction; null when no margin is used.';
comment on column api.account_states.is_priced is
    'Whether every position has a price and a conversion rate.';
comment on column api.account_states.priced_at is
    'Event time of the oldest quote that values or converts a position; null without positions.';
comment on column api.account_states.version is
    'Grows with every change; orders the states of an account.';
comment on column api.account_states.margin_state is
    'ok, margin_call or close_out, by the account''s levels; null where a figure is unknown.';
comment on column api.account_states.is_stale is
    'Whether a quote that values or converts a position is older than its instrument''s '
    'stale_after.';
comment on column api.account_states.price_age is
    'Age of the oldest quote that values or converts a position; null without positions.';
comment on column api.account_states.net_flow is 'Sum of the deposits, withdrawals and credits.';
comment on column api.account_states.high_water_mark is
    'Equity at which the account is at its highest performance so far: cash flows move both.';
comment on column api.account_states.high_water_at is
    'When the highest performance was reached: the second of its bar, or updated_at.';
comment on column api.account_states.drawdown is 'high_water_mark − equity.';
comment on column api.account_states.drawdown_pct is
    'Fall of the growth index from its highest so far, as a fraction; null while it is unknown.';
comment on column api.account_states.max_drawdown is 'Largest drawdown so far.';
comment on column api.account_states.max_drawdown_pct is
    'Largest fall of the growth index from its highest before, as a fraction.';
comment on column api.account_states.under_water_since is
    'high_water_at while there is a drawdown, else null.';

grant select on api.account_states to tidemark_trading, tidemark_reconcile, tidemark_readonly;
