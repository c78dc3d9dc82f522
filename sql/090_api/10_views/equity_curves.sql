-- The bars of equity.curve_1s and what they add up to, as they are.

create or replace view api.equity_curve_1s as
select
    account_id,
    bucket_at,
    part,
    open,
    high,
    low,
    close,
    equity_open,
    equity_high,
    equity_low,
    equity_close,
    balance,
    net_flow_open,
    net_flow,
    index_open,
    index_high,
    index_low,
    index_close,
    fall,
    fall_pct,
    is_priced,
    is_indexed,
    is_thinned,
    bar_count
from equity.curve_1s;

comment on view api.equity_curve_1s is
    'The equity curve of every account in bars of a second, or of a part of one, ended by a '
    'cash flow.';
comment on column api.equity_curve_1s.open is
    'Performance, equity less net flows, as high, low and close are; in account currency.';
comment on column api.equity_curve_1s.net_flow is
    'Deposits, withdrawals and credits to date, at the end of the bar.';
comment on column api.equity_curve_1s.index_close is
    'Growth index, chained at cash flows; null where equity was not above zero.';
comment on column api.equity_curve_1s.fall is 'Deepest fall inside the bar, its open included.';
comment on column api.equity_curve_1s.fall_pct is 'The same of the growth index, as a fraction.';
comment on column api.equity_curve_1s.is_priced is 'Whether equity was known throughout.';
comment on column api.equity_curve_1s.is_indexed is
    'Whether the growth index was known throughout.';
comment on column api.equity_curve_1s.is_thinned is
    'Whether ticks were left out in a second that had too many.';
comment on column api.equity_curve_1s.bar_count is 'Of how many bars of a second it is made.';

grant select on api.equity_curve_1s
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

create or replace view api.equity_curve_1m as
select
    account_id,
    bucket_at,
    open,
    high,
    low,
    close,
    equity_open,
    equity_high,
    equity_low,
    equity_close,
    balance,
    net_flow_open,
    net_flow,
    index_open,
    index_high,
    index_low,
    index_close,
    fall,
    fall_pct,
    is_priced,
    is_indexed,
    is_thinned,
    bar_count
from equity.curve_1m;

comment on view api.equity_curve_1m is
    'The equity curve of every account in bars of a minute.';
comment on column api.equity_curve_1m.open is
    'Performance, equity less net flows, as high, low and close are; in account currency.';
comment on column api.equity_curve_1m.net_flow is
    'Deposits, withdrawals and credits to date, at the end of the bar.';
comment on column api.equity_curve_1m.index_close is
    'Growth index, chained at cash flows; null where equity was not above zero.';
comment on column api.equity_curve_1m.fall is 'Deepest fall inside the bar, its open included.';
comment on column api.equity_curve_1m.fall_pct is 'The same of the growth index, as a fraction.';
comment on column api.equity_curve_1m.is_priced is 'Whether equity was known throughout.';
comment on column api.equity_curve_1m.is_indexed is
    'Whether the growth index was known throughout.';
comment on column api.equity_curve_1m.is_thinned is
    'Whether ticks were left out in a second that had too many.';
comment on column api.equity_curve_1m.bar_count is 'Of how many bars of a second it is made.';

grant select on api.equity_curve_1m
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

create or replace view api.equity_curve_1h as
select
    account_id,
    bucket_at,
    open,
    high,
    low,
    close,
    equity_open,
    equity_high,
    equity_low,
    equity_close,
    balance,
    net_flow_open,
    net_flow,
    index_open,
    index_high,
    index_low,
    index_close,
    fall,
    fall_pct,
    is_priced,
    is_indexed,
    is_thinned,
    bar_count
from equity.curve_1h;

comment on view api.equity_curve_1h is
    'The equity curve of every account in bars of an hour.';
comment on column api.equity_curve_1h.open is
    'Performance, equity less net flows, as high, low and close are; in account currency.';
comment on column api.equity_curve_1h.net_flow is
    'Deposits, withdrawals and credits to date, at the end of the bar.';
comment on column api.equity_curve_1h.index_close is
    'Growth index, chained at cash flows; null where equity was not above zero.';
comment on column api.equity_curve_1h.fall is 'Deepest fall inside the bar, its open included.';
comment on column api.equity_curve_1h.fall_pct is 'The same of the growth index, as a fraction.';
comment on column api.equity_curve_1h.is_priced is 'Whether equity was known throughout.';
comment on column api.equity_curve_1h.is_indexed is
    'Whether the growth index was known throughout.';
comment on column api.equity_curve_1h.is_thinned is
    'Whether ticks were left out in a second that had too many.';
comment on column api.equity_curve_1h.bar_count is 'Of how many bars of a second it is made.';

grant select on api.equity_curve_1h
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

create or replace view api.equity_curve_1d as
select
    account_id,
    bucket_at,
    open,
    high,
    low,
    close,
    equity_open,
    equity_high,
    equity_low,
    equity_close,
    balance,
    net_flow_open,
    net_flow,
    index_open,
    index_high,
    index_low,
    index_close,
    fall,
    fall_pct,
    is_priced,
    is_indexed,
    is_thinned,
    bar_count
from equity.curve_1d;

comment on view api.equity_curve_1d is
    'The equity curve of every account in bars of a day (UTC).';
comment on column api.equity_curve_1d.open is
    'Performance, equity less net flows, as high, low and close are; in account currency.';
comment on column api.equity_curve_1d.net_flow is
    'Deposits, withdrawals and credits to date, at the end of the bar.';
comment on column api.equity_curve_1d.index_close is
    'Growth index, chained at cash flows; null where equity was not above zero.';
comment on column api.equity_curve_1d.fall is 'Deepest fall inside the bar, its open included.';
comment on column api.equity_curve_1d.fall_pct is 'The same of the growth index, as a fraction.';
comment on column api.equity_curve_1d.is_priced is 'Whether equity was known throughout.';
comment on column api.equity_curve_1d.is_indexed is
    'Whether the growth index was known throughout.';
comment on column api.equity_curve_1d.is_thinned is
    'Whether ticks were left out in a second that had too many.';
comment on column api.equity_curve_1d.bar_count is 'Of how many bars of a second it is made.';

grant select on api.equity_curve_1d
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;

-- a view runs as its owner, but not the aggregates in it
grant execute on function
    equity.deepest_fall(numeric, numeric, numeric),
    equity.deepest_fall_pct(numeric, numeric, numeric)
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
