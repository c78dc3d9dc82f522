-- Bars of a set of accounts in one reporting currency: what they are worth together at the end of
-- each bucket in which one of them moved.

-- An account as its last bar before an instant left it; zero if it has none.
create or replace function equity.account_before(
    p_account_id bigint, p_before timestamptz,
    out equity numeric, out balance numeric, out net_flow numeric
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select c.equity_close, c.balance, c.net_flow into equity, balance, net_flow
    from equity.curve_between(
        p_account_id, date_trunc('day', p_before, 'UTC'), p_before, 2, false
    ) c
    order by c.bucket_at desc, c.part desc
    limit 1;
    if not found then
        select c.equity_close, c.balance, c.net_flow into equity, balance, net_flow
        from equity.curve_1d c
        where c.account_id = p_account_id
          and c.bucket_at < greatest(date_trunc('day', p_before, 'UTC'), '1970-01-01')
        order by c.bucket_at desc
        limit 1;
    end if;
    if not found then
        equity := 0;
        balance := 0;
        net_flow := 0;
    end if;
end
$$;

comment on function equity.account_before is
    'Equity, balance and net flow of an account as its last bar before an instant left them.';

-- Buckets in which an account of the set has a bar; high, low and fall are those of the values at
-- the ends of buckets. A sum that needs what is unknown is null.
create or replace function equity.set_bars(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    bucket_at timestamptz, open numeric, high numeric, low numeric, close numeric,
    equity_open numeric, equity_high numeric, equity_low numeric, equity_close numeric,
    balance numeric, net_flow_open numeric, net_flow numeric,
    index_open numeric, index_high numeric, index_low numeric, index_close numeric,
    fall numeric, fall_pct numeric, is_priced boolean, is_indexed boolean, is_thinned boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with bars as materialized (
        select a.account_id, a.currency, b.*
        from ledger.accounts a
        cross join lateral equity.account_bars(a.account_id, p_from, p_to, p_bucket, false) b
        where a.account_id = any (p_account_ids)
    ),
    grid as (
        select g.bucket_at, least(
            ((g.bucket_at at time zone 'UTC') + p_bucket) at time zone 'UTC', p_to
        ) as end_at
        from (select distinct b.bucket_at from bars b) g
        union all
        select '-infinity', p_from
    ),
    rates as (
        select
            r.*,
            -- what came before the first rate is converted at that
            case when r.bucket_at > '-infinity' then r.rate
                else first_value(r.rate) over (
                    partition by r.currency order by r.rate is null, r.bucket_at
                ) end as flow_rate
        from (
            select
                c.currency, g.bucket_at,
                equity.rate_before(c.currency, p_currency, g.end_at) as rate
            from grid g
            cross join (
                select distinct a.currency from ledger.accounts a
                where a.account_id = any (p_account_ids)
            ) c
        ) r
    ),
    known as (
        select b.account_id, b.currency, b.bucket_at, b.equity_close, b.balance, b.net_flow
        from bars b
        union all
        select
            a.account_id, a.currency, '-infinity',
            case when f.account_id is null then s.equity else f.equity_open end,
            s.balance, coalesce(f.net_flow_open, s.net_flow)
        from ledger.accounts a
        cross join lateral equity.account_before(a.account_id, p_from) s
        left join (
            select distinct on (b.account_id) b.account_id, b.equity_open, b.net_flow_open
            from bars b
            order by b.account_id, b.bucket_at
        ) f on f.account_id = a.account_id
        where a.account_id = any (p_account_ids)
    ),
    stretches as (  -- each bar of an account and the buckets without one after it
        select
            a.account_id, a.currency, g.bucket_at, k.equity_close, k.balance, k.net_flow,
            count(k.account_id) over (partition by a.account_id order by g.bucket_at) as stretch
        from grid g
        cross join (
            select l.account_id, l.currency from ledger.accounts l
            where l.account_id = any (p_account_ids)
        ) a
        left join known k on k.account_id = a.account_id and k.bucket_at = g.bucket_at
    ),
    filled as (
        select
            s.account_id, s.currency, s.bucket_at,
            first_value(s.equity_close) over stretch as equity,
            first_value(s.balance) over stretch as balance,
            first_value(s.net_flow) over stretch as net_flow
        from stretches s
        window stretch as (partition by s.account_id, s.stretch order by s.bucket_at)
    ),
    converted as (
        select
            f.bucket_at,
            -- what is nothing is nothing at any rate
            case when f.equity = 0 then 0 else round(f.equity * r.rate, 2) end as equity,
            case when f.balance = 0 then 0 else round(f.balance * r.rate, 2) end as balance,
            case when f.flow = 0 then 0 else round(f.flow * r.flow_rate, 2) end as flow
        from (
            select f.*, f.net_flow - lag(f.net_flow, 1, 0::numeric) over (
                partition by f.account_id order by f.bucket_at
            ) as flow
            from filled f
        ) f
        join rates r on r.currency = f.currency and r.bucket_at = f.bucket_at
    ),
    summed as (
        select
            c.bucket_at,
            case when bool_and(c.equity is not null) then sum(c.equity) end as value,
            case when bool_and(c.balance is not null) then sum(c.balance) end as balance,
            case when bool_and(c.flow is not null) then sum(c.flow) end as flow
        from converted c
        group by c.bucket_at
    ),
    chained as (
        select
            s.*,
            case when bool_and(s.flow is not null) over w then sum(s.flow) over w end as net_flow,
            equity.chained_index(s.value, s.flow) over w as index
        from summed s
        window w as (order by s.bucket_at)
    ),
    before_funding as (  -- nothing moved before the first index
        select
            c.*,
            c.value - c.net_flow as performance,
            c.index is null and max(c.index) over w is null
                and bool_and(c.value is not null) over w
                and max(c.value - c.net_flow) over w = min(c.value - c.net_flow) over w
                as is_before
        from chained c
        window w as (order by c.bucket_at)
    ),
    paired as (
        select
            f.bucket_at, f.value, f.balance, f.net_flow, f.performance,
            case when f.is_before then 1 else f.index end as index,
            lag(f.value) over w as value_before,
            lag(f.net_flow) over w as net_flow_before,
            lag(f.performance) over w as performance_before,
            lag(case when f.is_before then 1 else f.index end) over w as index_before
        from before_funding f
        window w as (order by f.bucket_at)
    ),
    followed as (  -- an index begun anew, or one lost, breaks the bucket
        select
            p.*,
            p.index is not null and (p.index_before is not null or p.value_before is null)
                or p.value is null as is_whole
        from paired p
    )
    select
        p.bucket_at,
        p.performance_before,
        greatest(p.performance_before, p.performance), least(p.performance_before, p.performance),
        p.performance,
        p.value_before,
        greatest(p.value_before, p.value), least(p.value_before, p.value),
        p.value,
        p.balance, p.net_flow_before, p.net_flow,
        p.index_before,
        case when p.is_whole then greatest(p.index_before, p.index) end,
        case when p.is_whole then least(p.index_before, p.index) end,
        p.index,
        greatest(p.performance_before - p.performance, 0),
        case when p.is_whole then coalesce(market.round_div(
            greatest(p.index_before - p.index, 0), nullif(p.index_before, 0), 12
        ), 0) end,
        p.performance_before is not null and p.performance is not null,
        p.is_whole,
        coalesce(t.is_thinned, false)
    from followed p
    left join (
        select b.bucket_at, bool_or(b.is_thinned) as is_thinned from bars b group by b.bucket_at
    ) t on t.bucket_at = p.bucket_at
    where p.bucket_at > '-infinity'
    order by p.bucket_at;
end
$$;

comment on function equity.set_bars is
    'Accounts together in one reporting currency, in buckets, in their order.';
