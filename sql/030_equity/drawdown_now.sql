-- The drawdown of now: from a curve's extremes at its last closed bar, and performance as it is.
-- The growth index of the bar that is still open is provisional: flows in it count as if they had
-- come at its beginning. Bound when it is created, since whoever reads api.account_states calls it.
create or replace function equity.current_drawdown(
    p_curve equity.curves,
    p_performance numeric,
    p_net_flow numeric,
    p_updated_at timestamptz
) returns table (
    performance numeric,
    high_water_mark numeric,
    high_water_at timestamptz,
    drawdown_pct numeric
)
language sql immutable
begin atomic
    select
        p_performance,
        greatest((p_curve).high_water_mark, p_performance),
        case when p_performance > (p_curve).high_water_mark
            then p_updated_at else (p_curve).high_water_at end,
        case when i.index < (p_curve).index_high
            then market.round_div((p_curve).index_high - i.index, (p_curve).index_high, 12)
            else i.index - i.index end
    from (
        select
            case
                when p_net_flow = (p_curve).net_flow then (p_curve).base_index
                when (p_curve).base_index is null then 1
                else market.round_div(
                    (p_curve).base_index * ((p_curve).performance + (p_curve).net_flow),
                    (p_curve).base_equity, 12
                )
            end as index,
            case
                when p_net_flow = (p_curve).net_flow then (p_curve).base_equity
                else (p_curve).performance + p_net_flow
            end as equity
    ) base
    left join lateral (
        select market.round_div(
            base.index * (p_performance + p_net_flow), base.equity, 12
        ) as index
        where (p_curve).index_high is not null
          and base.equity > 0 and p_performance + p_net_flow > 0
    ) i on true
    where p_performance is not null;
end;

comment on function equity.current_drawdown is
    'Performance, high-water mark (of performance) and drawdown as a fraction, now.';

grant execute on function equity.current_drawdown to public;
