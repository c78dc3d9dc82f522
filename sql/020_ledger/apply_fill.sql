-- What a fill does to a position, by average cost: the one place where it is computed.
-- Quantities are signed; cost has the sign of the quantity. A partial close releases its share of
-- the cost at 10 decimals, a full close all of it, and what goes beyond zero opens at the price.
create or replace function ledger.apply_fill(
    p_quantity numeric,
    p_cost numeric,
    p_traded numeric,
    p_unit_value numeric,
    out effect text,
    out cost_change numeric,
    out realized_pnl_quote numeric
)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_closed numeric := case when sign(p_traded) = -sign(p_quantity)
        then sign(p_traded) * least(abs(p_traded), abs(p_quantity)) else 0 end;
    v_opened numeric := p_traded - v_closed;
    v_released numeric := case
        when v_closed = 0 then 0
        when v_closed = -p_quantity then p_cost
        else market.round_div(p_cost * -v_closed, p_quantity, 10)
    end;
begin
    effect := case when v_closed = 0 then 'open' when v_opened = 0 then 'close' else 'flip' end;
    cost_change := v_opened * p_unit_value - v_released;
    realized_pnl_quote := -v_closed * p_unit_value - v_released;
end
$$;

comment on function ledger.apply_fill is
    'Effect, change of cost and realized P&L (both in quote currency) of trading p_traded (signed) '
    'at p_unit_value a unit on a position.';
