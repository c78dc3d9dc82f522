-- What the functions of api find in the bars of an account, or of a set of accounts when
-- p_currency is given. Falls in money are of performance, falls in percent of the growth index.

-- Refuses what has no curve. Raises: TM101 unknown account, TM123 currency not usable, TM132 no
-- conversion path, TM160 range, TM161 bucket.
create or replace function equity.check_curve_request(
    p_account_ids bigint[], p_is_set boolean, p_currency text,
    p_from timestamptz, p_to timestamptz, p_bucket interval
) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_months int := extract(year from p_bucket) * 12 + extract(month from p_bucket);
    v_unknown text;
    v_unlinked text;
begin
    if p_from is null or p_to is null or p_from >= p_to then
        raise exception 'range of time is empty'
            using errcode = 'TM160', detail = format('from %s to %s', p_from, p_to),
                  hint = 'Pass an instant and a later one; the range ends before the second.';
    end if;
    if p_bucket is null or p_bucket <= interval '0'
        or v_months = 0 and extract(epoch from p_bucket) % 1 <> 0
        or v_months <> 0 and (v_months < 0 or p_bucket <> make_interval(months => v_months)) then
        raise exception 'width of bucket is not usable'
            using errcode = 'TM161', detail = format('bucket: %s', p_bucket),
                  hint = 'Pass whole seconds, such as 1 minute, or whole months.';
    end if;
    if p_is_set and (p_currency is null or p_currency !~ '^[A-Z][A-Z0-9]{2,11}$') then
        raise exception 'reporting currency is not usable'
            using errcode = 'TM123', detail = format('currency: %s', p_currency),
                  hint = 'Pass a code such as USD.';
    end if;
    select string_agg(coalesce(wanted.account_id::text, 'null'), ', ') into v_unknown
    from unnest(p_account_ids) wanted (account_id)
    left join ledger.accounts a on a.account_id = wanted.account_id
    where a.account_id is null;
    if v_unknown is not null then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', v_unknown),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;
    if p_is_set then
        select min(a.currency) into v_unlinked
        from ledger.accounts a
        left join market.conversion_rates r
            on r.from_currency = a.currency and r.to_currency = p_currency
        where a.account_id = any (p_account_ids) and a.currency <> p_currency
          and r.from_currency is null;
    end if;
    if v_unlinked is not null then
        raise exception 'no conversion path to the reporting currency'
            using errcode = 'TM132', detail = format('from %s to %s', v_unlinked, p_currency),
                  hint = format(
                      'Define an instrument that links the two with api.upsert_instrument, '
                      'for example %s/%s, and feed its prices.', p_currency, v_unlinked
                  );
    end if;
end
$$;

comment on function equity.check_curve_request is
    'Raises an error for accounts, a currency, a range or a bucket without a curve.';

-- Raises: TM162 when a window is not made of whole buckets.
create or replace function equity.check_window(p_window interval, p_bucket interval)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_window is null or p_window <= interval '0'
        or extract(year from p_window) <> 0 or extract(month from p_window) <> 0
        or extract(year from p_bucket) <> 0 or extract(month from p_bucket) <> 0
        or extract(epoch from p_window) % extract(epoch from p_bucket) <> 0 then
        raise exception 'width of window is not usable'
            using errcode = 'TM162', detail = format('window: %s, bucket: %s', p_window, p_bucket),
                  hint = 'Pass whole seconds, no months, and a multiple of the bucket.';
    end if;
end
$$;

comment on function equity.check_window is
    'Raises an error for a window that is not made of whole buckets.';

-- The accounts of a set: each once; all open ones for null.
create or replace function equity.accounts_of_set(p_account_ids bigint[]) returns bigint[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when p_account_ids is null
        then array(select a.account_id from ledger.accounts a where a.closed_at is null)
        else array(select distinct unnest(p_account_ids)) end
$$;

comment on function equity.accounts_of_set is 'The accounts that a list names, null all open ones.';

create or replace function equity.curve_buckets(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz,
    p_bucket interval
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
    if p_currency is null then
        return query select *
        from equity.account_bars(p_account_ids[1], p_from, p_to, p_bucket, true);
    else
        return query select *
        from equity.set_bars(p_account_ids, p_currency, p_from, p_to, p_bucket);
    end if;
end
$$;

comment on function equity.curve_buckets is
    'Buckets of the one account, or of all together in p_currency if that is given.';

create or replace function equity.underwater(
    p_account_ids bigint[], p_currency text, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    bucket_at timestamptz, equity_open numeric, equity_high numeric, equity_low numeric,
    equity_close numeric, close numeric, high_water_mark numeric, drawdown numeric,
    drawdown_pct numeric, deepest numeric, deepest_pct numeric, is_priced boolean,
    is_thinned boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with peaked as (
        select
            b.*,
            greatest(first_value(b.open) over upto, max(b.high) over upto) as peak,
            greatest(first_value(b.open) over upto, max(b.high) over before) as peak_before,
            max(b.index_high) over upto as index_peak,
            max(b.index_high) over before as index_peak_before,
            bool_and(b.is_indexed) over upto as is_known
        from equity.curve_buckets(p_account_ids, p_currency, p_from, p_to, p_bucket) b
        window
            upto as (order by b.bucket_at rows unbounded preceding),
            before as (order by b.bucket_at rows between unbounded preceding and 1 preceding)
    )
    select
        p.bucket_at, p.equity_open, p.equity_high, p.equity_low, p.equity_close, p.close,
        p.peak, p.peak - p.close,
        case when p.is_known
            then market.round_div(p.index_peak - p.index_close, nullif(p.index_peak, 0), 12) end,
        greatest(p.fall, p.peak_before - p.low),
        case when p.is_known then greatest(p.fall_pct, market.round_div(
            p.index_peak_before - p.index_low, nullif(p.index_peak_before, 0), 12
        )) end,
        p.is_priced, p.is_thinned
    from peaked p
    order by p.bucket_at;
end
$$;

comment on function equity.underwater is
    'Each bucket with its peak and drawdown since p_from.';
