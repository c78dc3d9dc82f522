-- What a fill does to a position, by average cost: the one place where it is computed.
-- Quantities are signed; cost has the sign of the quantity. A partial close releases its share of
-- the cost at 10 decimals, a full close all of it, and what goes beyond zero opens at the price.
-- The converted cost is kept alike, at the conversion rates of the fills that opened.
create or replace function ledger.apply_fill(
    p_quantity numeric,
    p_cost numeric,
    p_converted_cost numeric,
    p_traded numeric,
    p_unit_value numeric,
    p_rate numeric,
    out effect text,
    out cost_change numeric,
    out converted_cost_after numeric,
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
    v_converted_rest numeric := case
        when v_closed = -p_quantity then 0
        when v_closed = 0 then p_converted_cost
        else p_converted_cost - market.round_div(p_converted_cost * -v_closed, p_quantity, 10)
    end;
begin
    effect := case when v_closed = 0 then 'open' when v_opened = 0 then 'close' else 'flip' end;
    cost_change := v_opened * p_unit_value - v_released;
    converted_cost_after := v_converted_rest
        + case when v_opened = 0 then 0 else v_opened * p_unit_value * p_rate end;
    realized_pnl_quote := -v_closed * p_unit_value - v_released;
end
$$;

comment on function ledger.apply_fill is
    'Effect, change of cost and realized P&L (both in quote currency) of trading p_traded (signed) '
    'at p_unit_value a unit on a position, and its cost in account currency afterwards '
    '(null where a rate is unknown).';

-- Realized P&L in account currency: the rate in force, worsened by the account's mark-up, rounded
-- once. This is one of the four places where Tidemark rounds.
create or replace function ledger.realized_pnl(
    p_realized_pnl_quote numeric, p_rate numeric, p_markup numeric, p_money_scale int
) returns numeric
language sql immutable parallel safe
return round(
    coalesce(p_realized_pnl_quote * p_rate, 0) * (1 - sign(p_realized_pnl_quote) * p_markup),
    p_money_scale
);

comment on function ledger.realized_pnl is
    'Realized P&L in account currency: gain × rate × (1 − mark-up), loss × rate × (1 + mark-up).';
