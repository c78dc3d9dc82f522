-- Bars as they are read: each with its equity and its growth index, and what many of them come to.

-- A figure that follows from others is not stored, which saves a third of the space.
create or replace view equity.whole_bars as
select
    account_id,
    bucket_at,
    part,
    open,
    coalesce(high, greatest(open, close)) as high,
    coalesce(low, least(open, close)) as low,
    close,
    balance,
    net_flow,
    base_index,
    base_equity,
    coalesce(fall, coalesce(high, greatest(open, close)) - coalesce(low, least(open, close)))
        as fall,
    case when base_index is not null then coalesce(fall_pct, market.round_div(
        coalesce(fall, coalesce(high, greatest(open, close)) - coalesce(low, least(open, close))),
        coalesce(high, greatest(open, close)) + net_flow, 12
    )) end as fall_pct,
    is_priced,
    is_thinned
from equity.curve_bars;

comment on view equity.whole_bars is 'Rows of equity.curve_bars with all of their figures.';

create or replace view equity.curve_1s as
select
    b.account_id,
    b.bucket_at,
    b.open,
    b.high,
    b.low,
    b.close,
    b.open + b.net_flow as equity_open,
    b.high + b.net_flow as equity_high,
    b.low + b.net_flow as equity_low,
    b.close + b.net_flow as equity_close,
    b.balance,
    b.net_flow as net_flow_open,
    b.net_flow,
    market.round_div(b.base_index * (b.open + b.net_flow), b.base_equity, 12) as index_open,
    market.round_div(b.base_index * (b.high + b.net_flow), b.base_equity, 12) as index_high,
    market.round_div(b.base_index * (b.low + b.net_flow), b.base_equity, 12) as index_low,
    market.round_div(b.base_index * (b.close + b.net_flow), b.base_equity, 12) as index_close,
    b.fall,
    b.fall_pct,
    b.is_priced,
    b.base_index is not null as is_indexed,
    b.is_thinned,
    1::bigint as bar_count,
    b.part
from equity.whole_bars b;

comment on view equity.curve_1s is
    'Bars of a second, or of a part of one, with equity and growth index.';

-- Follows bars in their order: {highest so far, deepest fall so far}.
create or replace function equity.follow_fall(
    p_state numeric[], p_high numeric, p_low numeric, p_fall numeric
) returns numeric[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return array[
        greatest(p_state[1], p_high), greatest(p_state[2], p_fall, p_state[1] - p_low)
    ];
end
$$;

comment on function equity.follow_fall is 'The state of deepest_fall after one more bar.';

create or replace function equity.follow_fall_pct(
    p_state numeric[], p_high numeric, p_low numeric, p_fall numeric
) returns numeric[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return array[
        greatest(p_state[1], p_high),
        greatest(
            p_state[2],
            p_fall,
            -- divided only where the quotient may be the largest: most bars do without
            case when p_state[1] - p_low < p_state[1] * p_state[2] then null
                else market.round_div(p_state[1] - p_low, p_state[1], 12)
            end
        )
    ];
end
$$;

comment on function equity.follow_fall_pct is 'The state of deepest_fall_pct after one more bar.';

create or replace function equity.fall_of(p_state numeric[]) returns numeric
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return p_state[2];
end
$$;

comment on function equity.fall_of is 'The deepest fall of a state of deepest_fall.';

create or replace aggregate equity.deepest_fall(numeric, numeric, numeric) (
    sfunc = equity.follow_fall, stype = numeric[], finalfunc = equity.fall_of, parallel = safe
);

comment on aggregate equity.deepest_fall(numeric, numeric, numeric) is
    'Deepest fall in money over bars (high, low, fall of each), which must come in their order.';

create or replace aggregate equity.deepest_fall_pct(numeric, numeric, numeric) (
    sfunc = equity.follow_fall_pct, stype = numeric[], finalfunc = equity.fall_of, parallel = safe
);

comment on aggregate equity.deepest_fall_pct(numeric, numeric, numeric) is
    'Deepest fall as a fraction over bars (index_high, index_low, fall_pct of each), which must '
    'come in their order.';

-- Views call them as whoever reads.
grant execute on function
    equity.follow_fall, equity.follow_fall_pct, equity.fall_of,
    equity.deepest_fall, equity.deepest_fall_pct
to public;

comment on table equity.curve_bars is
    'One bar for each account and each second of event time in which it moved, or part of one, '
    'ended by a cash flow. open, high, low and close are performance: equity less net flows.';
comment on column equity.curve_bars.net_flow is
    'Deposits, withdrawals and credits to date; equity is performance + net_flow.';
comment on column equity.curve_bars.base_index is
    'Growth index at the last flow; it is base_index × equity ÷ base_equity since then.';
comment on column equity.curve_bars.base_equity is 'Equity just after the last flow.';
comment on column equity.curve_bars.high is 'Null where it is the greater of open and close.';
comment on column equity.curve_bars.low is 'Null where it is the lesser of open and close.';
comment on column equity.curve_bars.fall is
    'Deepest fall inside the bar, its open included; null where it is high − low.';
comment on column equity.curve_bars.fall_pct is
    'Deepest fall inside the bar as a fraction of the equity that it fell from; null where it is '
    'fall ÷ (high + net_flow).';
comment on column equity.curve_bars.is_priced is 'Whether equity was known throughout the bar.';
comment on column equity.curve_bars.is_thinned is
    'Whether an instrument that the account holds or is converted through had more ticks in the '
    'second than are taken.';
