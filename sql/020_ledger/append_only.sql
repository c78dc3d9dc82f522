-- What happened stays as it was booked: corrections are bookings of their own.

-- Raises: TM140.
create or replace function ledger.tg_refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'booked rows are never changed or removed'
        using errcode = 'TM140',
              detail = format('%s of %I.%I', lower(tg_op), tg_table_schema, tg_table_name),
              hint = 'Correct it with api.reverse_fill or api.reverse_entry.';
end
$$;

comment on function ledger.tg_refuse_change is 'Refuses UPDATE, DELETE and TRUNCATE.';

create or replace trigger fills_before_refuse_change
    before update or delete or truncate on ledger.fills
    for each statement execute function ledger.tg_refuse_change();

create or replace trigger entries_before_refuse_change
    before update or delete or truncate on ledger.entries
    for each statement execute function ledger.tg_refuse_change();

create or replace trigger events_before_refuse_change
    before update or delete or truncate on ledger.events
    for each statement execute function ledger.tg_refuse_change();

comment on table ledger.entries is
    'Cash movements in account currency, append-only; balance_after chains each to the one before. '
    'Credit moves credit, not balance.';
comment on table ledger.fills is
    'Executed trades, append-only, each with its change of quantity and cost '
    'and the position after it.';
comment on column ledger.fills.cost_change is
    'Change of the position''s cost in quote currency: '
    'quantity × contract size × price when opening, the released share when closing.';
comment on column ledger.fills.conversion_rate is
    'Quote to account currency at mid, in force when the fill was booked; '
    'null if there was no price yet.';
comment on column ledger.fills.converted_cost_after is
    'The position''s cost in account currency after it, at the conversion rates of the fills that '
    'opened; null where one was unknown.';
comment on column ledger.fills.reverses_fill_id is 'The fill that this one takes back.';
comment on column ledger.entries.reverses_entry_id is 'The entry that this one takes back.';
comment on column ledger.positions.converted_cost is
    'Cost in account currency, at the conversion rates of the fills that opened; '
    'null where one was unknown.';
comment on table ledger.positions is
    'Open positions: signed quantity and cost in quote currency. '
    'Netting accounts have one a symbol (net), hedging accounts up to two (long, short).';
