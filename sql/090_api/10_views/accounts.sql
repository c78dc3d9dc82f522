create or replace view api.accounts as
select
    account_id,
    name,
    currency,
    position_mode,
    broker,
    broker_account_id,
    conversion_markup,
    opened_at,
    closed_at,
    money_scale,
    hedged_margin,
    margin_call_level,
    close_out_level
from ledger.accounts;

comment on view api.accounts is
    'Trading accounts; api.open_account makes one. Their figures stand in api.account_states.';
comment on column api.accounts.position_mode is
    'netting: one position a symbol; hedging: long and short apart.';
comment on column api.accounts.conversion_markup is
    'Fraction by which the broker worsens the rate of realized P&L.';
comment on column api.accounts.money_scale is 'Decimals of amounts in the account''s currency.';
comment on column api.accounts.hedged_margin is
    'Margin of a long and a short position of one instrument: of the larger_side, or of the net.';
comment on column api.accounts.margin_call_level is
    'Margin level, as a fraction, at which the account is in margin_call.';
comment on column api.accounts.close_out_level is
    'Margin level, as a fraction, at which the account is in close_out.';

grant select on api.accounts to tidemark_trading, tidemark_reconcile, tidemark_readonly;
