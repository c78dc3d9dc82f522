-- Writes a fill whose figures are computed: its row and number, the position after it, and the
-- entries that it causes. p_commission_entry_id is the commission that a reversal takes back.
-- Locks: ledger.accounts (one row, already held). Notifies: through the triggers on ledger.fills
-- and ledger.entries. Raises: TM134.
create or replace function ledger.book_fill(
    p_fill ledger.fills, p_commission_entry_id bigint default null
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_event_seq bigint;
    v_fill_id bigint;
begin
    if abs(p_fill.realized_pnl) >= 1e15 then
        raise exception 'realized P&L is out of range'
            using errcode = 'TM134', detail = format('realized P&L: %s', p_fill.realized_pnl),
                  hint = 'It must be below 10^15: check quantity and price.';
    end if;
    update ledger.accounts set last_event_seq = last_event_seq + 1
    where account_id = p_fill.account_id
    returning last_event_seq into v_event_seq;

    insert into ledger.fills (
        account_id, event_seq, instrument_id, position_side, side, quantity, price, effect,
        quantity_change, cost_change, quantity_after, cost_after, converted_cost_after,
        realized_pnl_quote, realized_pnl, commission, conversion_rate,
        event_at, external_id, reverses_fill_id
    ) values (
        p_fill.account_id, v_event_seq, p_fill.instrument_id, p_fill.position_side,
        p_fill.side, p_fill.quantity, p_fill.price, p_fill.effect,
        p_fill.quantity_change, p_fill.cost_change,
        p_fill.quantity_after, p_fill.cost_after, p_fill.converted_cost_after,
        p_fill.realized_pnl_quote, p_fill.realized_pnl, p_fill.commission, p_fill.conversion_rate,
        p_fill.event_at, p_fill.external_id, p_fill.reverses_fill_id
    ) returning fill_id into v_fill_id;

    perform ledger.set_position(
        p_fill.account_id, p_fill.instrument_id, p_fill.position_side,
        p_fill.quantity_after, p_fill.cost_after, p_fill.converted_cost_after
    );
    if p_fill.realized_pnl <> 0 then
        perform ledger.book_entry(
            p_fill.account_id, 'realized_pnl', p_fill.realized_pnl, p_fill.event_at,
            p_fill_id => v_fill_id, p_conversion_rate => p_fill.conversion_rate
        );
    end if;
    if p_fill.commission <> 0 then
        perform ledger.book_entry(
            p_fill.account_id, 'commission', -p_fill.commission, p_fill.event_at,
            p_fill_id => v_fill_id, p_reverses_entry_id => p_commission_entry_id
        );
    end if;
    return v_fill_id;
end
$$;

comment on function ledger.book_fill is
    'Writes a fill, its position and its entries, and returns its id.';
