-- Margin: derived where it is read, and judged once a second for alarms.

-- What a long and a short position in one instrument need less than each for itself: of the two the
-- larger side needs margin, or their net.
create or replace view equity.hedge_reliefs as
select
    l.account_id,
    l.instrument_id,
    l.margin_used + s.margin_used - case when l.hedged_margin = 'net'
        then equity.to_account_currency(
            abs(l.units + s.units) * l.mid * l.margin_rate, l.conversion_rate, l.money_scale
        )
        else greatest(l.margin_used, s.margin_used)
    end as margin_relief
from equity.position_values l
join equity.position_values s
    on s.account_id = l.account_id and s.instrument_id = l.instrument_id
where l.position_side = 'long' and s.position_side = 'short';

comment on view equity.hedge_reliefs is
    'Margin that a long and a short position in one instrument need less than each for itself.';

-- Per account, what is derived where it is read: the figures at mid, and the age of the prices.
create or replace view equity.account_margins as
select
    account_id,
    p.mid_unrealized_pnl,
    p.margin_used - coalesce(h.margin_relief, 0) as margin_used,
    p.priced_at,
    p.fresh_until
from (
    select account_id, sum(mid_unrealized_pnl) as mid_unrealized_pnl,
           sum(margin_used) as margin_used, min(priced_at) as priced_at,
           min(fresh_until) as fresh_until
    from equity.position_values
    group by account_id
) p
left join (
    select account_id, sum(margin_relief) as margin_relief
    from equity.hedge_reliefs
    group by account_id
) h using (account_id);

comment on view equity.account_margins is
    'P&L at mid and margin used of each account with positions, and how fresh its prices are.';

create or replace function equity.margin_state(
    p_margin_equity numeric, p_margin_used numeric,
    p_margin_call_level numeric, p_close_out_level numeric
) returns text
language sql immutable parallel safe
return case
    when p_margin_equity is null or p_margin_used is null then null
    when p_margin_used = 0 then 'ok'
    when p_margin_equity <= p_close_out_level * p_margin_used then 'close_out'
    when p_margin_equity <= p_margin_call_level * p_margin_used then 'margin_call'
    else 'ok'
end;

comment on function equity.margin_state is
    'ok, margin_call or close_out: margin equity against the levels × margin used; '
    'null where a figure is unknown.';

grant execute on function equity.margin_state to public;

comment on table equity.margin_changes is
    'When an account came into margin_call or close_out, and out of it.';
