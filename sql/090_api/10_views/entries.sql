create or replace view api.entries as
select
    entry_id,
    account_id,
    kind,
    amount,
    balance_after,
    event_at,
    recorded_at,
    external_id,
    fill_id,
    conversion_rate,
    note,
    reverses_entry_id
from ledger.entries;

comment on view api.entries is
    'Cash movements in account currency, append-only; '
    'api.record_entry and api.record_fill write them.';
comment on column api.entries.kind is
    'deposit, withdrawal, realized_pnl, commission, financing, dividend, credit or adjustment.';
comment on column api.entries.amount is 'In account currency; negative takes out.';
comment on column api.entries.balance_after is
    'The balance after this entry; credit entries leave it as it was.';
comment on column api.entries.event_at is 'When it happened.';
comment on column api.entries.recorded_at is 'When it was booked.';
comment on column api.entries.external_id is 'The broker''s id; the same id books once.';
comment on column api.entries.fill_id is 'The fill that caused it.';
comment on column api.entries.conversion_rate is 'Quote to account currency, for realized P&L.';
comment on column api.entries.reverses_entry_id is 'The entry that this one takes back.';

grant select on api.entries to tidemark_trading, tidemark_reconcile, tidemark_readonly;
