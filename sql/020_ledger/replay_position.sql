-- What a position would be, and would have realized, had one of its fills never been booked: the
-- others in the order of booking, each at the price and conversion rate that it was booked at.
-- Fills that were reversed before, and what reversed them, are left out too.
-- The caller holds the account's lock. Raises: TM154 a close without what it closed, TM133 a
-- realization without a rate.
create or replace function ledger.replay_position_without(
    p_fill ledger.fills,
    p_contract_size numeric,
    p_account ledger.accounts,
    out quantity numeric,
    out cost numeric,
    out converted_cost numeric,
    out realized_pnl_quote numeric,
    out realized_pnl numeric
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fill ledger.fills;
    v_step record;
begin
    quantity := 0;
    cost := 0;
    converted_cost := 0;
    realized_pnl_quote := 0;
    realized_pnl := 0;
    for v_fill in
        select f.*
        from ledger.fills f
        left join ledger.fills reversal on reversal.reverses_fill_id = f.fill_id
        where f.account_id = p_fill.account_id and f.instrument_id = p_fill.instrument_id
          and f.position_side = p_fill.position_side
          and f.fill_id <> p_fill.fill_id
          and f.reverses_fill_id is null and reversal.fill_id is null
        order by f.fill_id
    loop
        v_step := ledger.apply_fill(
            quantity, cost, converted_cost, v_fill.quantity_change,
            p_contract_size * v_fill.price, v_fill.conversion_rate
        );
        quantity := quantity + v_fill.quantity_change;
        cost := cost + v_step.cost_change;
        converted_cost := v_step.converted_cost_after;
        if (p_fill.position_side = 'long' and quantity < 0)
            or (p_fill.position_side = 'short' and quantity > 0) then
            raise exception 'a later fill closed what this one opened'
                using errcode = 'TM154',
                      detail = format('fill_id: %s, later: %s', p_fill.fill_id, v_fill.fill_id),
                      hint = 'Reverse the later fill first.';
        end if;
        if v_step.realized_pnl_quote <> 0 and v_fill.conversion_rate is null then
            raise exception 'no price yet to convert the realized P&L'
                using errcode = 'TM133',
                      detail = format(
                          'without fill %s, fill %s would close, and was booked without a rate',
                          p_fill.fill_id, v_fill.fill_id
                      ),
                      hint = 'Reverse the later fill first, and record it again.';
        end if;
        realized_pnl_quote := realized_pnl_quote + v_step.realized_pnl_quote;
        realized_pnl := realized_pnl + ledger.realized_pnl(
            v_step.realized_pnl_quote, v_fill.conversion_rate,
            p_account.conversion_markup, p_account.money_scale
        );
    end loop;
end
$$;

comment on function ledger.replay_position_without is
    'Quantity, cost and realized P&L (in quote and account currency) of a fill''s position '
    'as if that fill had never been.';
