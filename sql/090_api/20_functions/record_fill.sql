-- Books one trade: position by average cost, realized P&L, commission, balance, equity, at once.
-- Locks, to commit: the instrument's quote and conversion rate FOR SHARE, then the account's row.
-- Notifies: tidemark_account. Raises: TM101 unknown account, TM102 closed account, TM111 same id
-- with another content, TM113 event time, TM114 external id, TM120 unknown instrument, TM130
-- fill not usable, TM131 effect does not fit, TM132 no conversion path, TM133 no rate yet.
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
    v_instrument market.instruments;
    v_account ledger.accounts;
    v_rate market.conversion_rates;
    v_fill api.fills;
    v_fill_id bigint;
    v_position_side text;
    v_quantity numeric := 0;
    v_cost numeric := 0;
    v_traded numeric := case p_side when 'buy' then p_quantity when 'sell' then -p_quantity end;
    v_effect text;
    v_cost_change numeric;
    v_realized_pnl_quote numeric;
    v_realized_pnl numeric;
begin
    perform from market.quotes q join market.instruments i using (instrument_id)
    where i.symbol = p_symbol for share of q;
    -- read under that lock: the terms do not change any more
    select * into v_instrument from market.instruments where symbol = p_symbol;
    if not found then
        raise exception 'instrument does not exist'
            using errcode = 'TM120', detail = format('symbol: %s', p_symbol),
                  hint = 'api.instruments lists the instruments; api.upsert_instrument makes one.';
    end if;
    select c.* into v_rate
    from market.conversion_rates c join ledger.accounts a on a.currency = c.to_currency
    where a.account_id = p_account_id and c.from_currency = v_instrument.quote_currency
    for share of c;
    v_account := ledger.lock_account(p_account_id);

    perform ledger.check_booking(p_event_at, p_external_id);
    perform ledger.check_fill(
        p_side, p_quantity, p_price, p_commission, p_effect, v_account.money_scale
    );

    -- the broker may tell us twice: the same fill again is answered with what was booked
    select * into v_fill
    from api.fills
    where account_id = p_account_id and external_id = p_external_id;
    if found then
        if (v_fill.symbol, v_fill.side, v_fill.quantity, v_fill.price, v_fill.commission)
            is distinct from (p_symbol, p_side, p_quantity, p_price, p_commission) then
            raise exception 'external id already names another fill'
                using errcode = 'TM111',
                      detail = format(
                          'external_id: %s, booked: %s %s %s at %s, commission %s',
                          p_external_id, v_fill.side, v_fill.quantity, v_fill.symbol,
                          v_fill.price, v_fill.commission
                      ),
                      hint = 'Use another external id.';
        end if;
        return v_fill;
    end if;
    perform ledger.refuse_closed(v_account);

    if v_rate.from_currency is null then
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
    select quantity, cost into v_quantity, v_cost
    from ledger.positions
    where account_id = p_account_id and instrument_id = v_instrument.instrument_id
      and position_side = v_position_side;
    v_quantity := coalesce(v_quantity, 0);
    v_cost := coalesce(v_cost, 0);
    perform ledger.check_effect(p_effect, v_quantity, v_traded);

    select f.effect, f.cost_change, f.realized_pnl_quote
    into v_effect, v_cost_change, v_realized_pnl_quote
    from ledger.apply_fill(v_quantity, v_cost, v_traded, v_instrument.contract_size * p_price) f;
    if v_realized_pnl_quote <> 0 and v_rate.rate is null then
        raise exception 'no price yet to convert the realized P&L'
            using errcode = 'TM133',
                  detail = format('from %s to %s', v_instrument.quote_currency, v_account.currency),
                  hint = 'api.conversion_rates names the instruments of the path; '
                         'record the fill once they have ticked.';
    end if;
    v_realized_pnl := round(
        coalesce(v_realized_pnl_quote * v_rate.rate, 0)
            * (1 - sign(v_realized_pnl_quote) * v_account.conversion_markup),
        v_account.money_scale
    );

    update ledger.accounts set last_event_seq = last_event_seq + 1 where account_id = p_account_id;
    insert into ledger.fills (
        account_id, event_seq, instrument_id, position_side, side, quantity, price, effect,
        quantity_change, cost_change, quantity_after, cost_after,
        realized_pnl_quote, realized_pnl, commission, conversion_rate, event_at, external_id
    ) values (
        p_account_id, v_account.last_event_seq + 1, v_instrument.instrument_id, v_position_side,
        p_side, p_quantity, p_price, v_effect,
        v_traded, v_cost_change, v_quantity + v_traded, v_cost + v_cost_change,
        v_realized_pnl_quote, v_realized_pnl, round(p_commission, v_account.money_scale),
        v_rate.rate, p_event_at, p_external_id
    ) returning fill_id into v_fill_id;

    perform ledger.set_position(
        p_account_id, v_instrument.instrument_id, v_position_side,
        v_quantity + v_traded, v_cost + v_cost_change
    );
    if v_realized_pnl <> 0 then
        perform ledger.book_entry(
            p_account_id, 'realized_pnl', v_realized_pnl, p_event_at,
            p_fill_id => v_fill_id, p_conversion_rate => v_rate.rate
        );
    end if;
    if p_commission <> 0 then
        perform ledger.book_entry(
            p_account_id, 'commission', -round(p_commission, v_account.money_scale), p_event_at,
            p_fill_id => v_fill_id
        );
    end if;

    select * into strict v_fill from api.fills where fill_id = v_fill_id;
    return v_fill;
end
$$;

comment on function api.record_fill is
    'Books a trade (p_quantity in base units, positive; p_commission in account currency, positive '
    'is a cost; p_effect auto, open or close) and returns it as it stands in api.fills; '
    'the same external id again returns the first booking.';

grant execute on function api.record_fill to tidemark_trading, tidemark_reconcile;
