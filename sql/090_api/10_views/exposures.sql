-- A position in EUR/USD is long in one of the currencies and short in the other: its units in base
-- currency, and in quote currency what they are worth at mid, on the other side.
create or replace view api.exposures as
select
    account_id,
    currency,
    case when bool_and(amount is not null) then sum(amount) end as amount,
    case when bool_and(amount is not null)
        then coalesce(sum(amount) filter (where amount > 0), 0) end as long_amount,
    case when bool_and(amount is not null)
        then coalesce(sum(amount) filter (where amount < 0), 0) end as short_amount,
    case when bool_and(value is not null) then sum(value) end as value,
    bool_and(value is not null) as is_priced
from (
    select
        account_id,
        base_currency as currency,
        trim_scale(units) as amount,
        equity.to_account_currency(units * mid, conversion_rate, money_scale) as value
    from equity.position_values
    union all
    select
        account_id,
        quote_currency,
        trim_scale(-units * mid),
        -equity.to_account_currency(units * mid, conversion_rate, money_scale)
    from equity.position_values
) sides
group by account_id, currency;

comment on view api.exposures is
    'What each account is long (positive) or short in each currency through its open positions, '
    'at mid prices, netted and by side.';
comment on column api.exposures.amount is
    'In the currency, long less short, exact; null where a price is unknown.';
comment on column api.exposures.long_amount is 'Sum of the long sides, in the currency.';
comment on column api.exposures.short_amount is
    'Sum of the short sides, negative, in the currency.';
comment on column api.exposures.value is
    'The amount in account currency, a sum of figures rounded for each position; '
    'null where a price or rate is unknown.';
comment on column api.exposures.is_priced is 'Whether every price and conversion rate is known.';

grant select on api.exposures to tidemark_trading, tidemark_reconcile, tidemark_readonly;
