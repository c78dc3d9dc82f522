create or replace view api.fills as
select
    f.fill_id,
    f.account_id,
    i.symbol,
    f.side,
    f.quantity,
    f.price,
    f.effect,
    f.realized_pnl,
    f.commission,
    f.conversion_rate,
    f.event_at,
    f.recorded_at,
    f.external_id,
    f.event_seq,
    f.reverses_fill_id
from ledger.fills f
join market.instruments i using (instrument_id);

comment on view api.fills is 'Executed trades, append-only; api.record_fill writes them.';
comment on column api.fills.effect is
    'What it did to the position: open (or add), close (or reduce), flip through zero; '
    'or reversal of another fill.';
comment on column api.fills.realized_pnl is
    'Realized P&L in account currency, after the account''s conversion mark-up.';
comment on column api.fills.commission is 'In account currency, positive is a cost.';
comment on column api.fills.conversion_rate is
    'Quote to account currency at mid when it was booked; null if there was no price yet.';
comment on column api.fills.event_at is 'When it was executed.';
comment on column api.fills.recorded_at is
    'When it was booked; the order of booking decides average cost.';
comment on column api.fills.external_id is 'The broker''s id; the same id books once.';
comment on column api.fills.event_seq is 'Number of this event in its account, without gaps.';

comment on column api.fills.reverses_fill_id is 'The fill that this one takes back.';

grant select on api.fills to tidemark_trading, tidemark_reconcile, tidemark_readonly;
