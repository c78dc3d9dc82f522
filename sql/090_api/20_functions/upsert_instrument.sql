-- Makes an instrument, or changes its margin rate or the age from which its quote is stale; its
-- currencies stay once there are ticks, they and its contract size once there are fills.
-- Locks: tick statements, prices, the instrument, conversion rates, account states.
-- Notifies: tidemark_prices, when margins change.
-- Raises: TM121 terms not usable, TM122 terms in use, TM141 isolation level, TM142 after a booking.
create or replace function api.upsert_instrument(
    p_symbol text,
    p_base_currency text,
    p_quote_currency text,
    p_margin_rate numeric,
    p_contract_size numeric default 1,
    p_stale_after interval default null
) returns api.instruments
language plpgsql
security definer  -- callers may define instruments, but not write the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when p_symbol is null or p_symbol !~ '^[^[:space:]]{1,32}$'
            then 'symbol is one word of up to 32 characters'
        when p_base_currency is null or p_base_currency !~ '^[A-Z][A-Z0-9]{2,11}$'
            then 'base currency is a code such as EUR'
        when p_quote_currency is null or p_quote_currency !~ '^[A-Z][A-Z0-9]{2,11}$'
            then 'quote currency is a code such as USD'
        when p_base_currency = p_quote_currency then 'base and quote currency differ'
        when p_margin_rate is null or p_margin_rate not between 0 and 1
            then 'margin rate is a fraction from 0 to 1'
        when p_contract_size is null or not (p_contract_size > 0 and p_contract_size < 1e15)
            then 'contract size is positive and below 10^15'
        when min_scale(p_contract_size) > 8 then 'contract size has at most 8 decimals'
        when p_stale_after <= interval '0' or not isfinite(p_stale_after)
            then 'stale after is a positive interval, or null for the one it has'
    end;
    v_instrument market.instruments;
    v_is_used boolean;
    v_has_other_margin boolean;
    v_result api.instruments;
begin
    if v_problem is not null then
        raise exception 'instrument cannot be defined so'
            using errcode = 'TM121',
                  detail = format(
                      'symbol: %s, base: %s, quote: %s, margin rate: %s, contract size: %s, '
                      'stale after: %s',
                      p_symbol, p_base_currency, p_quote_currency, p_margin_rate, p_contract_size,
                      p_stale_after
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;

    perform market.lock_tick_statements();
    perform market.lock_prices_to_move();
    select * into v_instrument from market.instruments where symbol = p_symbol;

    v_is_used := case
        when (v_instrument.base_currency, v_instrument.quote_currency)
            is distinct from (p_base_currency, p_quote_currency)
            then exists (
                select from market.quotes
                where instrument_id = v_instrument.instrument_id and bid is not null
            ) or exists (select from ledger.fills where instrument_id = v_instrument.instrument_id)
        when v_instrument.contract_size <> p_contract_size
            then exists (select from ledger.fills where instrument_id = v_instrument.instrument_id)
    end;
    if v_is_used then
        raise exception 'instrument has ticks or fills'
            using errcode = 'TM122',
                  detail = format(
                      '%s: base %s, quote %s, contract size %s', p_symbol,
                      v_instrument.base_currency, v_instrument.quote_currency,
                      v_instrument.contract_size
                  ),
                  hint = 'Its currencies and contract size stay; other terms need another symbol.';
    end if;

    v_has_other_margin := v_instrument.margin_rate <> p_margin_rate;
    if v_instrument.instrument_id is null then
        insert into market.instruments (
            symbol, base_currency, quote_currency, margin_rate, contract_size, stale_after
        ) values (
            p_symbol, p_base_currency, p_quote_currency, p_margin_rate, p_contract_size,
            coalesce(p_stale_after, interval '1 minute')
        ) returning * into v_instrument;
    else
        update market.instruments
        set base_currency = p_base_currency, quote_currency = p_quote_currency,
            margin_rate = p_margin_rate, contract_size = p_contract_size,
            stale_after = coalesce(p_stale_after, stale_after)
        where instrument_id = v_instrument.instrument_id;
    end if;

    insert into market.quotes (instrument_id) values (v_instrument.instrument_id)
    on conflict (instrument_id) do nothing;
    perform market.choose_conversion_paths();
    if v_has_other_margin then
        perform equity.value_accounts(array(
            select distinct account_id from ledger.positions
            where instrument_id = v_instrument.instrument_id
        ));
        perform pg_notify('tidemark_prices', '');
    end if;

    select * into strict v_result from api.instruments where symbol = p_symbol;
    return v_result;
end
$$;

comment on function api.upsert_instrument is
    'Makes or changes an instrument and returns it; p_margin_rate is a fraction of the value '
    '(0.0333 is 3.33 %), p_stale_after null keeps the age that it has (at first 1 minute).';

grant execute on function api.upsert_instrument to tidemark_trading;
