-- Takes a fill back: posts what makes position and balance those of a replay without it. All fills
-- stay as they are; the reversal carries the difference to what was realized later.
-- Locks, to commit: the prices (shared), then the account's row. Notifies: tidemark_account.
-- Raises: TM102 closed account, TM111 external id taken, TM113 event time, TM114 external id, TM133
-- a later fill has no rate, TM134 P&L out of range, TM141, TM150 unknown fill, TM152 a reversal,
-- TM154 later closes.
create or replace function api.reverse_fill(
    p_fill_id bigint,
    p_event_at timestamptz default now(),
    p_external_id text default null
) returns api.fills
language plpgsql
security definer  -- callers may book, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_reversed ledger.fills;
    v_account ledger.accounts;
    v_contract_size numeric;
    v_booked api.fills;
    v_commission_entry_id bigint;
    v_now record;
    v_without record;
    v_fill ledger.fills;
    v_fill_id bigint;
begin
    select * into v_reversed from ledger.fills where fill_id = p_fill_id;
    if not found then
        raise exception 'fill does not exist'
            using errcode = 'TM150', detail = format('fill_id: %s', p_fill_id),
                  hint = 'api.fills lists the fills.';
    end if;
    v_account := ledger.lock_account(v_reversed.account_id);

    -- asked again, it answers with what was booked
    select * into v_booked from api.fills where reverses_fill_id = p_fill_id;
    if found then
        return v_booked;
    end if;
    perform ledger.check_booking(p_event_at, p_external_id);
    perform ledger.refuse_closed(v_account);
    if v_reversed.reverses_fill_id is not null then
        raise exception 'a reversal is not reversed'
            using errcode = 'TM152',
                  detail = format(
                      'fill_id: %s, it reverses: %s', p_fill_id, v_reversed.reverses_fill_id
                  ),
                  hint = 'Record the fill again.';
    end if;
    if exists (
        select from ledger.fills
        where account_id = v_reversed.account_id and external_id = p_external_id
    ) then
        raise exception 'external id already names another fill'
            using errcode = 'TM111', detail = format('external_id: %s', p_external_id),
                  hint = 'Use another external id.';
    end if;

    select contract_size into strict v_contract_size
    from market.instruments
    where instrument_id = v_reversed.instrument_id;
    v_without := ledger.replay_position_without(v_reversed, v_contract_size, v_account);
    select sum(quantity_change) as quantity, sum(cost_change) as cost,
           sum(realized_pnl_quote) as realized_pnl_quote, sum(realized_pnl) as realized_pnl
    into v_now
    from ledger.fills
    where account_id = v_reversed.account_id and instrument_id = v_reversed.instrument_id
      and position_side = v_reversed.position_side;
    select entry_id into v_commission_entry_id
    from ledger.entries
    where fill_id = p_fill_id and kind = 'commission';

    v_fill.account_id := v_reversed.account_id;
    v_fill.instrument_id := v_reversed.instrument_id;
    v_fill.position_side := v_reversed.position_side;
    v_fill.side := case v_reversed.side when 'buy' then 'sell' else 'buy' end;
    v_fill.quantity := v_reversed.quantity;
    v_fill.price := v_reversed.price;
    v_fill.effect := 'reversal';
    v_fill.quantity_change := v_without.quantity - v_now.quantity;
    v_fill.cost_change := v_without.cost - v_now.cost;
    v_fill.quantity_after := v_without.quantity;
    v_fill.cost_after := v_without.cost;
    v_fill.converted_cost_after := v_without.converted_cost;
    v_fill.realized_pnl_quote := v_without.realized_pnl_quote - v_now.realized_pnl_quote;
    v_fill.realized_pnl := v_without.realized_pnl - v_now.realized_pnl;
    v_fill.commission := -v_reversed.commission;
    v_fill.conversion_rate := v_reversed.conversion_rate;
    v_fill.event_at := p_event_at;
    v_fill.external_id := p_external_id;
    v_fill.reverses_fill_id := p_fill_id;
    v_fill_id := ledger.book_fill(v_fill, v_commission_entry_id);

    select * into strict v_booked from api.fills where fill_id = v_fill_id;
    return v_booked;
end
$$;

comment on function api.reverse_fill is
    'Takes a fill back and returns the reversal as it stands in api.fills: position and balance '
    'become those of a replay without the fill; the same fill again returns the first reversal.';

grant execute on function api.reverse_fill to tidemark_trading, tidemark_reconcile;
