-- The figures of several accounts in one currency: each account's figure is converted at the mid
-- of the path in force and rounded, and the total is the sum of these.
-- Raises: TM101 unknown account, TM123 currency or scale not usable, TM132 no conversion path.
create or replace function api.portfolio_totals(
    p_account_ids bigint[], p_currency text, p_money_scale int default 2
)
returns table (
    currency text,
    accounts bigint,
    balance numeric,
    credit numeric,
    unrealized_pnl numeric,
    equity numeric,
    margin_equity numeric,
    margin_used numeric,
    margin_available numeric,
    margin_level numeric,
    is_priced boolean,
    is_stale boolean,
    priced_at timestamptz
)
language plpgsql stable
security definer  -- reads the private tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_account_ids bigint[] := case when p_account_ids is null
        then array(select a.account_id from api.accounts a where a.closed_at is null)
        else array(select distinct unnest(p_account_ids)) end;
    v_unknown text;
    v_unlinked text;
begin
    if p_currency is null or p_currency !~ '^[A-Z][A-Z0-9]{2,11}$'
        or p_money_scale is null or p_money_scale not between 0 and 8 then
        raise exception 'reporting currency is not usable'
            using errcode = 'TM123',
                  detail = format('currency: %s, money scale: %s', p_currency, p_money_scale),
                  hint = 'Pass a code such as USD, and 0 to 8 decimals.';
    end if;
    select string_agg(coalesce(wanted.account_id::text, 'null'), ', ') into v_unknown
    from unnest(v_account_ids) wanted (account_id)
    left join api.accounts a on a.account_id = wanted.account_id
    where a.account_id is null;
    if v_unknown is not null then
        raise exception 'account does not exist'
            using errcode = 'TM101', detail = format('account_id: %s', v_unknown),
                  hint = 'api.accounts lists the accounts; api.open_account makes one.';
    end if;
    select min(a.currency) into v_unlinked
    from api.accounts a
    left join market.conversion_rates r
        on r.from_currency = a.currency and r.to_currency = p_currency
    where a.account_id = any (v_account_ids) and a.currency <> p_currency
      and r.from_currency is null;
    if v_unlinked is not null then
        raise exception 'no conversion path to the reporting currency'
            using errcode = 'TM132', detail = format('from %s to %s', v_unlinked, p_currency),
                  hint = format(
                      'Define an instrument that links the two with api.upsert_instrument, '
                      'for example %s/%s, and feed its prices.', p_currency, v_unlinked
                  );
    end if;

    return query
    with converted as (
        select
            round(s.balance * c.rate, p_money_scale) as balance,
            round(s.credit * c.rate, p_money_scale) as credit,
            round(s.unrealized_pnl * c.rate, p_money_scale) as unrealized_pnl,
            round(s.margin_equity * c.rate, p_money_scale) as margin_equity,
            round(s.margin_used * c.rate, p_money_scale) as margin_used,
            s.is_priced and c.rate is not null as is_priced,
            s.is_stale or coalesce(c.fresh_until < statement_timestamp(), false) as is_stale,
            least(s.priced_at, c.priced_at) as priced_at
        from api.account_states s
        left join market.dated_conversion_rates r
            on r.from_currency = s.currency and r.to_currency = p_currency
            and s.currency <> p_currency
        cross join lateral (
            select case when s.currency = p_currency then 1 else r.rate end as rate,
                   r.priced_at, r.fresh_until
        ) c
        where s.account_id = any (v_account_ids)
    ),
    summed as (
        select
            count(*) as accounts,
            -- a sum would leave out what is unknown
            case when count(c.balance) = count(*) then coalesce(sum(c.balance), 0) end as balance,
            case when count(c.credit) = count(*) then coalesce(sum(c.credit), 0) end as credit,
            case when bool_and(c.is_priced) is not false
                then coalesce(sum(c.unrealized_pnl), 0) end as unrealized_pnl,
            case when bool_and(c.is_priced) is not false
                then coalesce(sum(c.margin_equity), 0) end as margin_equity,
            case when bool_and(c.is_priced) is not false
                then coalesce(sum(c.margin_used), 0) end as margin_used,
            bool_and(c.is_priced) is not false as is_priced,
            bool_or(c.is_stale) is true as is_stale,
            min(c.priced_at) as priced_at
        from converted c
    )
    select
        p_currency, t.accounts,
        round(t.balance, p_money_scale), round(t.credit, p_money_scale),
        round(t.unrealized_pnl, p_money_scale),
        round(t.balance + t.credit + t.unrealized_pnl, p_money_scale),
        round(t.margin_equity, p_money_scale), round(t.margin_used, p_money_scale),
        round(t.margin_equity - t.margin_used, p_money_scale),
        market.round_div(t.margin_equity, nullif(t.margin_used, 0), 6),
        t.is_priced, t.is_stale, t.priced_at
    from summed t;
end
$$;

comment on function api.portfolio_totals is
    'Totals over these accounts (null: all open ones) in one reporting currency, at p_money_scale '
    'decimals; figures that need an unknown price or rate are null, and is_priced is false.';

grant execute on function api.portfolio_totals
    to tidemark_trading, tidemark_reconcile, tidemark_readonly;
