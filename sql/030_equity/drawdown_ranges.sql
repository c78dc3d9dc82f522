-- Bars of one account over any range of time, in buckets of any width: what the functions of
-- drawdown.sql compute from. Each stretch is read from the coarsest bars that fit it.

-- Cuts a range into stretches of days, hours, minutes and seconds (3 to 0), none coarser than
-- p_level: whole ones of the coarsest in the middle, finer ones at both ends.
create or replace function equity.curve_pieces(
    p_from timestamptz, p_to timestamptz, p_level int
) returns table (level int, from_at timestamptz, to_at timestamptz)
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unit text := ('{second,minute,hour,day}'::text[])[p_level + 1];
    v_step interval := ('{00:00:01,00:01:00,01:00:00,24:00:00}'::interval[])[p_level + 1];
    v_from timestamptz := date_trunc(v_unit, p_from, 'UTC');
    v_to timestamptz := date_trunc(v_unit, p_to, 'UTC');
begin
    v_from := case when v_from < p_from then v_from + v_step else v_from end;
    v_to := case when v_to < p_to and p_level = 0 then v_to + v_step else v_to end;
    if v_from < v_to and p_level > 0 then
        return query select c.* from equity.curve_pieces(p_from, v_from, p_level - 1) c;
    end if;
    if v_from < v_to then
        return query select p_level, v_from, v_to;
    end if;
    if p_level > 0 then
        return query select c.*
        from equity.curve_pieces(
            case when v_from < v_to then v_to else p_from end, p_to, p_level - 1
        ) c;
    end if;
end
$$;

comment on function equity.curve_pieces is
    'Stretches of a range that bars of days, hours, minutes and seconds (3 to 0) fit exactly.';

-- The coarsest bars that make up a bucket.
create or replace function equity.curve_level(p_bucket interval) returns int
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case
        when extract(year from p_bucket) * 12 + extract(month from p_bucket) > 0
            or extract(epoch from p_bucket) % 86400 = 0 then 3
        when extract(epoch from p_bucket) % 3600 = 0 then 2
        when extract(epoch from p_bucket) % 60 = 0 then 1
        else 0
    end
$$;

comment on function equity.curve_level is
    'Which bars make up buckets of this width: of days, hours, minutes or seconds (3 to 0).';

-- Up to which bar (excluded) an account was not funded yet though it has bars in the range; null
-- if there are none, or it ever moved. Only a first day without index can hide such bars.
create or replace function equity.unfunded_to(
    p_account_id bigint, p_from timestamptz, p_to timestamptz,
    out funded_at timestamptz, out funded_part int
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_indexed boolean;
begin
    select c.is_indexed into v_is_indexed
    from equity.curve_1d c
    where c.account_id = p_account_id
      and c.bucket_at >= date_trunc('day', p_from, 'UTC') and c.bucket_at < p_to
    order by c.bucket_at
    limit 1;
    if v_is_indexed is not false then
        return;
    end if;
    select c.bucket_at, c.part, c.is_indexed into funded_at, funded_part, v_is_indexed
    from equity.curve_1s c
    where c.account_id = p_account_id and c.bucket_at >= p_from and c.bucket_at < p_to
      and (c.is_indexed or not c.is_priced or c.high <> c.low)
    order by c.bucket_at, c.part
    limit 1;
    if v_is_indexed is not true or exists (
        select from equity.curve_1s c
        where c.account_id = p_account_id and c.bucket_at < p_from
          and (c.is_indexed or not c.is_priced or c.high <> c.low)
    ) then
        funded_at := null;
        funded_part := null;
    end if;
end
$$;

comment on function equity.unfunded_to is
    'The first bar with an index, if the bars of the range before it are of the time before the '
    'account was funded and nothing moved in them.';

-- Bars of all widths; where the level is a constant of the statement, only that one is read.
create or replace view equity.curve_levels as
select 0 as level, account_id, bucket_at, part, open, high, low, close,
       equity_open, equity_high, equity_low, equity_close,
       balance, net_flow_open, net_flow, index_open, index_high, index_low, index_close,
       fall, fall_pct, is_priced, is_indexed, is_thinned
from equity.curve_1s
union all
select 1 as level, account_id, bucket_at, 0, open, high, low, close,
       equity_open, equity_high, equity_low, equity_close,
       balance, net_flow_open, net_flow, index_open, index_high, index_low, index_close,
       fall, fall_pct, is_priced, is_indexed, is_thinned
from equity.curve_1m
union all
select 2 as level, account_id, bucket_at, 0, open, high, low, close,
       equity_open, equity_high, equity_low, equity_close,
       balance, net_flow_open, net_flow, index_open, index_high, index_low, index_close,
       fall, fall_pct, is_priced, is_indexed, is_thinned
from equity.curve_1h
union all
select 3 as level, account_id, bucket_at, 0, open, high, low, close,
       equity_open, equity_high, equity_low, equity_close,
       balance, net_flow_open, net_flow, index_open, index_high, index_low, index_close,
       fall, fall_pct, is_priced, is_indexed, is_thinned
from equity.curve_1d;

comment on view equity.curve_levels is
    'Bars of a second (level 0), a minute, an hour and a day (3).';

-- The bars of a range, those of a second, or coarser ones up to p_level. For figures in percent
-- the index is 1 in the bars before the account was funded.
create or replace function equity.curve_between(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_level int, p_for_falls boolean
) returns table (
    bucket_at timestamptz, part int, open numeric, high numeric, low numeric, close numeric,
    equity_open numeric, equity_high numeric, equity_low numeric, equity_close numeric,
    balance numeric, net_flow_open numeric, net_flow numeric,
    index_open numeric, index_high numeric, index_low numeric, index_close numeric,
    fall numeric, fall_pct numeric, is_priced boolean, is_indexed boolean, is_thinned boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- with constants whole chunks are left out
as $$
declare
    v_piece record;
    v_funded record;
    v_from timestamptz := p_from;
begin
    if p_for_falls then
        select * into v_funded from equity.unfunded_to(p_account_id, p_from, p_to);
        if v_funded.funded_at is not null then
            v_from := v_funded.funded_at + interval '1 second';
            return query select
                c.bucket_at, c.part, c.open, c.high, c.low, c.close,
                c.equity_open, c.equity_high, c.equity_low, c.equity_close,
                c.balance, c.net_flow_open, c.net_flow,
                case when b.is_before then 1 else c.index_open end,
                case when b.is_before then 1 else c.index_high end,
                case when b.is_before then 1 else c.index_low end,
                case when b.is_before then 1 else c.index_close end,
                c.fall, case when b.is_before then 0 else c.fall_pct end,
                c.is_priced, c.is_indexed or b.is_before, c.is_thinned
            from equity.curve_1s c
            cross join lateral (select
                (c.bucket_at, c.part) < (v_funded.funded_at, v_funded.funded_part) as is_before
            ) b
            where c.account_id = p_account_id
              and c.bucket_at >= p_from and c.bucket_at < v_from;
        end if;
    end if;
    for v_piece in select * from equity.curve_pieces(v_from, p_to, p_level) loop
        return query select
            c.bucket_at, c.part, c.open, c.high, c.low, c.close,
            c.equity_open, c.equity_high, c.equity_low, c.equity_close,
            c.balance, c.net_flow_open, c.net_flow,
            case when p_for_falls then c.index_open end,
            case when p_for_falls then c.index_high end,
            case when p_for_falls then c.index_low end, c.index_close,
            case when p_for_falls then c.fall end,
            case when p_for_falls then c.fall_pct end,
            c.is_priced, c.is_indexed, c.is_thinned
        from equity.curve_levels c
        where c.level = v_piece.level
          and c.account_id = p_account_id
          and c.bucket_at >= v_piece.from_at and c.bucket_at < v_piece.to_at;
    end loop;
end
$$;

comment on function equity.curve_between is
    'The bars of an account over a range, not coarser than p_level, in no order.';

-- The narrowest usual bucket of which at most p_points cover the bars of a range.
create or replace function equity.chart_bucket(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_points int
) returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_first timestamptz := p_from;
    v_last timestamptz := p_to - interval '1 microsecond';
    v_found interval;
    v_days int;
begin
    if p_to - p_from > interval '1 day' or not isfinite(p_from) or not isfinite(p_to) then
        select greatest(min(c.bucket_at), p_from),
               least(max(c.bucket_at) + interval '86399 seconds', v_last)
        into v_first, v_last
        from equity.curve_1d c
        where c.account_id = p_account_id
          and c.bucket_at >= date_trunc('day', p_from, 'UTC') and c.bucket_at < p_to;
    end if;
    if v_last - v_first < interval '4 days' then  -- of a young account days say too little
        select greatest(min(c.bucket_at), v_first),
               least(max(c.bucket_at) + interval '59 seconds', v_last)
        into v_first, v_last
        from equity.curve_1m c
        where c.account_id = p_account_id
          and c.bucket_at >= date_trunc('minute', v_first) and c.bucket_at <= v_last;
    end if;
    if v_first is null then
        return interval '1 day';
    end if;
    select min(w.width) into v_found
    from unnest('{
        1 s,2 s,5 s,10 s,15 s,30 s,1 min,2 min,5 min,10 min,15 min,30 min,
        1 h,2 h,3 h,4 h,6 h,8 h,12 h,24 h,48 h,168 h
    }'::interval[]) w (width)
    where extract(epoch from public.time_bucket(w.width, v_last)
        - public.time_bucket(w.width, v_first)) / extract(epoch from w.width) + 1 <= p_points;
    if v_found is null then  -- so many days that even two buckets side by side are few enough
        v_days := 7;
        while extract(epoch from public.time_bucket(v_days * interval '24 hours', v_last)
            - public.time_bucket(v_days * interval '24 hours', v_first)) / 86400 / v_days + 1
            > p_points loop
            v_days := v_days * 2;
        end loop;
        v_found := v_days * interval '24 hours';
    end if;
    return v_found;
end
$$;

comment on function equity.chart_bucket is
    'The narrowest of usual widths with which a range takes at most so many buckets.';
