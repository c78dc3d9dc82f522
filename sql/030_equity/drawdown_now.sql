-- The drawdown of now: from a curve's extremes at its last closed bar, and performance as it is.
-- The growth index of the bar that is still open is provisional: flows in it count as if they had
-- come at its beginning.
create or replace function equity.current_drawdown(
    p_curve equity.curves,
    p_performance numeric,
    p_net_flow numeric,
    p_updated_at timestamptz,
    out performance numeric,
    out high_water_mark numeric,
    out high_water_at timestamptz,
    out drawdown_pct numeric
)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_base_equity numeric := p_curve.base_equity;
    v_base_index numeric := p_curve.base_index;
    v_index numeric;
begin
    performance := p_performance;
    if p_performance is null then
        return;
    end if;
    high_water_mark := greatest(p_curve.high_water_mark, p_performance);
    high_water_at := case
        when p_performance > p_curve.high_water_mark then p_updated_at
        else p_curve.high_water_at
    end;
    if p_net_flow <> p_curve.net_flow then
        v_base_index := case when v_base_index is null then 1 else market.round_div(
            v_base_index * (p_curve.performance + p_curve.net_flow), v_base_equity, 12
        ) end;
        v_base_equity := p_curve.performance + p_net_flow;
    end if;
    if p_curve.index_high is not null and v_base_equity > 0 and p_performance + p_net_flow > 0 then
        v_index := market.round_div(
            v_base_index * (p_performance + p_net_flow), v_base_equity, 12
        );
        drawdown_pct := market.round_div(
            greatest(p_curve.index_high - v_index, 0), greatest(p_curve.index_high, v_index), 12
        );
    end if;
end
$$;

comment on function equity.current_drawdown is
    'Performance, high-water mark (of performance) and drawdown as a fraction, now.';

grant execute on function equity.current_drawdown to
    tidemark_trading, tidemark_reconcile, tidemark_readonly;
