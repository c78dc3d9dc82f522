-- Books one trade: position by average cost, realized P&L, commission, balance, equity, at once.
-- Locks, to commit: the prices (shared), then the account's row. Notifies: tidemark_account.
-- Raises: TM101 unknown account, TM102 closed account, TM111 same id with another content, TM113
-- event time, TM114 external id, TM120 unknown instrument, TM130 fill not usable, TM131 effect does
-- not fit, TM132 no conversion path, TM133 no rate yet, TM134 P&L out of range, TM141 isolation.
create or replace function api.record_fill(
    p_account_id bigint,
    p_symbol text,
    p_side text,
    p_quantity numeric,
    p_price numeric,
    p_event_at timestamptz default now(),
    p_external_id text default null,
    p_commission numeric default 0,
    p_effect text default 'auto'
) returns api.fills
language plpgsql
security definer  -- callers may book, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account ledger.accounts := ledger.lock_account(p_account_id);
    v_instrument market.instruments;
    v_rate market.conversion_rates;
    v_booked api.fills;
    v_position_side text;
    v_quantity numeric;
    v_cost numeric;
    v_converted_cost numeric;
    v_traded numeric := case p_side when 'buy' then p_quantity when 'sell' then -p_quantity end;
    v_step record;
    v_fill ledger.fills;
    v_fill_id bigint;
begin
    select * into v_instrument from market.instruments where symbol = p_symbol;
    if not found then
        raise exception 'instrument does not exist'
            using errcode = 'TM120', detail = format('symbol: %s', p_symbol),
                  hint = 'api.instruments lists the instruments; api.upsert_instrument makes one.';
    end if;
    perform ledger.check_booking(p_event_at, p_external_id);
    perform ledger.check_fill(
        p_side, p_quantity, p_price, p_commission, p_effect, v_account.money_scale
    );

    -- the broker may tell us twice: the same fill again is answered with what was booked
    select * into v_booked
    from api.fills
    where account_id = p_account_id and external_id = p_external_id;
    if found then
        if v_booked.reverses_fill_id is not null
            or (v_booked.symbol, v_booked.side, v_booked.quantity, v_booked.price,
                v_booked.commission)
            is distinct from (p_symbol, p_side, p_quantity, p_price, p_commission) then
            raise exception 'external id already names another fill'
                using errcode = 'TM111',
                      detail = format(
                          'external_id: %s, booked: %s %s %s at %s, commission %s',
                          p_external_id, v_booked.side, v_booked.quantity, v_booked.symbol,
                          v_booked.price, v_booked.commission
                      ),
                      hint = 'Use another external id.';
        end if;
        return v_booked;
    end if;
    perform ledger.refuse_closed(v_account);

    select * into v_rate
    from market.conversion_rates
    where from_currency = v_instrument.quote_currency and to_currency = v_account.currency;
    if not found then
        raise exception 'no conversion path to the account''s currency'
            using errcode = 'TM132',
                  detail = format('from %s to %s', v_instrument.quote_currency, v_account.currency),
                  hint = format(
                      'Define an instrument that links the two with api.upsert_instrument, '
                      'for example %s/%s, and feed its prices.',
                      v_account.currency, v_instrument.quote_currency
                  );
    end if;

    v_position_side := ledger.position_side(v_account.position_mode, p_side, p_effect);
    select quantity, cost, converted_cost into v_quantity, v_cost, v_converted_cost
    from ledger.positions
    where account_id = p_account_id and instrument_id = v_instrument.instrument_id
      and position_side = v_position_side;
    if not found then
        v_quantity := 0;
        v_cost := 0;
        v_converted_cost := 0;
    end if;
    perform ledger.check_effect(p_effect, v_quantity, v_traded);

    v_step := ledger.apply_fill(
        v_quantity, v_cost, v_converted_cost, v_traded,
        v_instrument.contract_size * p_price, v_rate.rate
    );
    if v_step.realized_pnl_quote <> 0 and v_rate.rate is null then
        raise exception 'no price yet to convert the realized P&L'
            using errcode = 'TM133',
                  detail = format('from %s to %s', v_instrument.quote_currency, v_account.currency),
                  hint = 'api.conversion_rates names the instruments of the path; '
                         'record the fill once they have ticked.';
    end if;

    v_fill.account_id := p_account_id;
    v_fill.instrument_id := v_instrument.instrument_id;
    v_fill.position_side := v_position_side;
    v_fill.side := p_side;
    v_fill.quantity := p_quantity;
    v_fill.price := p_price;
    v_fill.effect := v_step.effect;
    v_fill.quantity_change := v_traded;
    v_fill.cost_change := v_step.cost_change;
    v_fill.quantity_after := v_quantity + v_traded;
    v_fill.cost_after := v_cost + v_step.cost_change;
    v_fill.converted_cost_after := v_step.converted_cost_after;
    v_fill.realized_pnl_quote := v_step.realized_pnl_quote;
    v_fill.realized_pnl := ledger.realized_pnl(
        v_step.realized_pnl_quote, v_rate.rate,
        v_account.conversion_markup, v_account.money_scale
    );
    v_fill.commission := round(p_commission, v_account.money_scale);
    v_fill.conversion_rate := v_rate.rate;
    v_fill.event_at := p_event_at;
    v_fill.external_id := p_external_id;
    v_fill_id := ledger.book_fill(v_fill);

    select * into strict v_booked from api.fills where fill_id = v_fill_id;
    return v_booked;
end
$$;

comment on function api.record_fill is
    'Books a trade (p_quantity in base units, positive; p_commission in account currency, positive '
    'is a cost; p_effect auto, open or close) and returns it as it stands in api.fills; '
    'the same external id again returns the first booking.';

grant execute on function api.record_fill to tidemark_trading, tidemark_reconcile;
