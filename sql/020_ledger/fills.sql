-- The rules of a fill, and the position that it leaves. api.record_fill puts them together.

-- Raises: TM130.
create or replace function ledger.check_fill(
    p_side text,
    p_quantity numeric,
    p_price numeric,
    p_commission numeric,
    p_effect text,
    p_money_scale int
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when p_side is null or p_side not in ('buy', 'sell') then 'the side is buy or sell'
        when p_quantity is null or not (p_quantity > 0 and p_quantity < 1e15)
            then 'the quantity is positive and below 10^15'
        when min_scale(p_quantity) > 8 then 'the quantity has at most 8 decimals'
        when p_price is null or not (p_price > 0 and p_price < 1e15)
            then 'the price is positive and below 10^15'
        when min_scale(p_price) > 10 then 'the price has at most 10 decimals'
        when p_commission is null or not (p_commission >= 0 and p_commission < 1e15)
            then 'the commission is from 0 to below 10^15 (a rebate is an adjustment entry)'
        when min_scale(p_commission) > p_money_scale
            then format('the commission has at most %s decimals', p_money_scale)
        when p_effect is null or p_effect not in ('auto', 'open', 'close')
            then 'the effect is auto, open or close'
    end;
begin
    if v_problem is not null then
        raise exception 'fill is not usable'
            using errcode = 'TM130',
                  detail = format('side: %s, quantity: %s, price: %s, commission: %s, effect: %s',
                                  p_side, p_quantity, p_price, p_commission, p_effect),
                  hint = format('It must hold that %s.', v_problem);
    end if;
end
$$;

comment on function ledger.check_fill is 'Raises an error for a fill that no account could take.';

-- Raises: TM131.
create or replace function ledger.position_side(
    p_position_mode text, p_side text, p_effect text
) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_position_mode = 'netting' then
        return 'net';
    end if;
    if p_effect = 'auto' then
        raise exception 'a hedging account needs to know whether a fill opens or closes'
            using errcode = 'TM131', detail = format('effect: %s', p_effect),
                  hint = 'Pass p_effect => ''open'' or ''close''.';
    end if;
    return case when (p_side = 'buy') = (p_effect = 'open') then 'long' else 'short' end;
end
$$;

comment on function ledger.position_side is
    'Which position a fill belongs to: the net one, or in a hedging account '
    'the long or short one that it opens or closes.';

-- Raises: TM131.
create or replace function ledger.check_effect(
    p_effect text, p_quantity numeric, p_traded numeric
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_effect = 'close'
        and not (sign(p_traded) = -sign(p_quantity) and abs(p_traded) <= abs(p_quantity)) then
        raise exception 'a close reduces an open position by at most its quantity'
            using errcode = 'TM131',
                  detail = format('position: %s, traded: %s', p_quantity, p_traded),
                  hint = 'api.positions shows what is open; what goes beyond it is another fill.';
    elsif p_effect = 'open' and sign(p_traded) = -sign(p_quantity) then
        raise exception 'an open does not reduce a position'
            using errcode = 'TM131',
                  detail = format('position: %s, traded: %s', p_quantity, p_traded),
                  hint = 'Pass p_effect => ''close'' or ''auto''.';
    end if;
end
$$;

comment on function ledger.check_effect is
    'Raises an error when a fill does not do to the position what it says.';

-- Flat positions have no row.
create or replace function ledger.set_position(
    p_account_id bigint,
    p_instrument_id bigint,
    p_position_side text,
    p_quantity numeric,
    p_cost numeric,
    p_converted_cost numeric
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_quantity = 0 then
        delete from ledger.positions
        where account_id = p_account_id and instrument_id = p_instrument_id
          and position_side = p_position_side;
        return;
    end if;
    insert into ledger.positions (
        account_id, instrument_id, position_side, quantity, cost, converted_cost
    )
    values (
        p_account_id, p_instrument_id, p_position_side, p_quantity, p_cost, p_converted_cost
    )
    on conflict (account_id, instrument_id, position_side) do update
    set quantity = excluded.quantity, cost = excluded.cost,
        converted_cost = excluded.converted_cost;
end
$$;

comment on function ledger.set_position is 'Stores a position, or removes it when it is flat.';
