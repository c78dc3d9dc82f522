-- Bars of a minute, an hour and a day (UTC), each made of the next finer ones.

create or replace view equity.curve_1m as
select
    account_id,
    public.time_bucket('1 minute', bucket_at) as bucket_at,
    public.first(open, bucket_at + part * interval '1 microsecond') as open,
    max(high) as high,
    min(low) as low,
    public.last(close, bucket_at + part * interval '1 microsecond') as close,
    public.first(equity_open, bucket_at + part * interval '1 microsecond') as equity_open,
    max(equity_high) as equity_high,
    min(equity_low) as equity_low,
    public.last(equity_close, bucket_at + part * interval '1 microsecond') as equity_close,
    public.last(balance, bucket_at + part * interval '1 microsecond') as balance,
    public.first(net_flow_open, bucket_at + part * interval '1 microsecond') as net_flow_open,
    public.last(net_flow, bucket_at + part * interval '1 microsecond') as net_flow,
    public.first(index_open, bucket_at + part * interval '1 microsecond') as index_open,
    case when bool_and(is_indexed) then max(index_high) end as index_high,
    case when bool_and(is_indexed) then min(index_low) end as index_low,
    public.last(index_close, bucket_at + part * interval '1 microsecond') as index_close,
    equity.deepest_fall(high, low, fall order by bucket_at, part) as fall,
    case when bool_and(is_indexed)
        then equity.deepest_fall_pct(index_high, index_low, fall_pct order by bucket_at, part)
    end as fall_pct,
    bool_and(is_priced) as is_priced,
    bool_and(is_indexed) as is_indexed,
    bool_or(is_thinned) as is_thinned,
    sum(bar_count)::bigint as bar_count
from equity.curve_1s
group by account_id, public.time_bucket('1 minute', bucket_at);

comment on view equity.curve_1m is 'Bars of one minute, made of the finer ones.';

create or replace view equity.curve_1h as
select
    account_id,
    public.time_bucket('1 hour', bucket_at) as bucket_at,
    public.first(open, bucket_at) as open,
    max(high) as high,
    min(low) as low,
    public.last(close, bucket_at) as close,
    public.first(equity_open, bucket_at) as equity_open,
    max(equity_high) as equity_high,
    min(equity_low) as equity_low,
    public.last(equity_close, bucket_at) as equity_close,
    public.last(balance, bucket_at) as balance,
    public.first(net_flow_open, bucket_at) as net_flow_open,
    public.last(net_flow, bucket_at) as net_flow,
    public.first(index_open, bucket_at) as index_open,
    case when bool_and(is_indexed) then max(index_high) end as index_high,
    case when bool_and(is_indexed) then min(index_low) end as index_low,
    public.last(index_close, bucket_at) as index_close,
    equity.deepest_fall(high, low, fall order by bucket_at) as fall,
    case when bool_and(is_indexed)
        then equity.deepest_fall_pct(index_high, index_low, fall_pct order by bucket_at)
    end as fall_pct,
    bool_and(is_priced) as is_priced,
    bool_and(is_indexed) as is_indexed,
    bool_or(is_thinned) as is_thinned,
    sum(bar_count)::bigint as bar_count
from equity.curve_1m
group by account_id, public.time_bucket('1 hour', bucket_at);

comment on view equity.curve_1h is 'Bars of one hour, made of the finer ones.';

create or replace view equity.curve_1d as
select
    account_id,
    public.time_bucket('1 day', bucket_at) as bucket_at,
    public.first(open, bucket_at) as open,
    max(high) as high,
    min(low) as low,
    public.last(close, bucket_at) as close,
    public.first(equity_open, bucket_at) as equity_open,
    max(equity_high) as equity_high,
    min(equity_low) as equity_low,
    public.last(equity_close, bucket_at) as equity_close,
    public.last(balance, bucket_at) as balance,
    public.first(net_flow_open, bucket_at) as net_flow_open,
    public.last(net_flow, bucket_at) as net_flow,
    public.first(index_open, bucket_at) as index_open,
    case when bool_and(is_indexed) then max(index_high) end as index_high,
    case when bool_and(is_indexed) then min(index_low) end as index_low,
    public.last(index_close, bucket_at) as index_close,
    equity.deepest_fall(high, low, fall order by bucket_at) as fall,
    case when bool_and(is_indexed)
        then equity.deepest_fall_pct(index_high, index_low, fall_pct order by bucket_at)
    end as fall_pct,
    bool_and(is_priced) as is_priced,
    bool_and(is_indexed) as is_indexed,
    bool_or(is_thinned) as is_thinned,
    sum(bar_count)::bigint as bar_count
from equity.curve_1h
group by account_id, public.time_bucket('1 day', bucket_at);

comment on view equity.curve_1d is 'Bars of one day, made of the finer ones.';
