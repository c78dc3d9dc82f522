-- Our quotes of an instrument around the broker's moment: the one in force when it began, and all
-- that came in it.
create or replace function recon.quotes_around(
    p_instrument_id bigint, p_from timestamptz, p_to timestamptz,
    out low_bid numeric, out high_bid numeric, out low_ask numeric, out high_ask numeric,
    out low_mid numeric, out high_mid numeric, out spread numeric, out last_at timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    select min(t.bid), max(t.bid), min(t.ask), max(t.ask),
           min(market.mid(t.bid, t.ask)), max(market.mid(t.bid, t.ask)),
           max(t.ask - t.bid), max(t.event_at)
    into low_bid, high_bid, low_ask, high_ask, low_mid, high_mid, spread, last_at
    from (
        (
            select k.bid, k.ask, k.event_at
            from market.ticks k
            where k.instrument_id = p_instrument_id and k.event_at <= p_from
            order by k.event_at desc, k.tick_id desc
            limit 1
        )
        union all
        select k.bid, k.ask, k.event_at
        from market.ticks k
        where k.instrument_id = p_instrument_id and k.event_at > p_from and k.event_at <= p_to
        union all
        select q.bid, q.ask, q.event_at
        from market.quotes q
        where q.instrument_id = p_instrument_id and q.event_at <= p_to
    ) t;
end
$$;

comment on function recon.quotes_around is
    'Lowest and highest prices of an instrument between two moments, its widest spread and when '
    'it was quoted last; nulls without a quote.';

-- The conversion rates that the quotes of that time give.
create or replace function recon.rates_around(
    p_from_currency text, p_to_currency text, p_from timestamptz, p_to timestamptz,
    out rate numeric, out low numeric, out high numeric, out fresh_until timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    if p_from_currency = p_to_currency then
        rate := 1;
        low := 1;
        high := 1;
        return;
    end if;
    select d.rate, least(d.rate, min(r.rate)), greatest(d.rate, max(r.rate)), d.fresh_until
    into rate, low, high, fresh_until
    from market.conversion_rates c
    join market.dated_conversion_rates d using (from_currency, to_currency)
    cross join lateral recon.quotes_around(c.first_instrument_id, p_from, p_to) one
    cross join lateral recon.quotes_around(c.second_instrument_id, p_from, p_to) two
    cross join unnest(array[one.low_mid, one.high_mid]) first_mid
    cross join unnest(array[two.low_mid, two.high_mid]) second_mid
    cross join lateral (
        select market.path_rate(
            first_mid, c.first_is_inverse, second_mid, c.second_is_inverse
        ) as rate
    ) r
    where c.from_currency = p_from_currency and c.to_currency = p_to_currency
    group by d.rate, d.fresh_until;
end
$$;

comment on function recon.rates_around is
    'The conversion rate between two currencies, and the lowest and highest between two moments.';

-- The broker's positions, valued at our quotes of its moment. Where both sides agree on quantity
-- and average price, the cost is ours, since theirs is rounded. Then what differs is the price or
-- the conversion rate alone, whatever bookings are missing. tight is what rounding and another
-- conversion rate explain; slack also half the spread, and what is tolerated of prices.
create or replace function recon.valued_positions(
    p_account ledger.accounts, p_tolerances jsonb, p_snapshot jsonb
) returns setof recon.valuations
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_window interval;
    v_taken_at timestamptz := (p_snapshot ->> 'taken_at')::timestamptz;
    v_from timestamptz := coalesce((p_snapshot ->> 'requested_at')::timestamptz, v_taken_at);
    v_minor numeric := ('1e-' || p_account.money_scale)::numeric;
begin
    select price_window into strict v_window from recon.settings;
    return query
    select
        t.symbol, i.instrument_id, t.position_side, u.units, c.cost, t.unrealized_pnl, r.rate,
        i.quote_currency <> p_account.currency, v.low, v.high, v.low_mid, v.high_mid,
        s.tight,
        s.tight + abs(u.units) * r.high * (
            q.spread * 0.5
            + recon.allowance(p_tolerances, 'price', i.symbol, q.high_mid)
        ) + recon.allowance(p_tolerances, 'unrealized_pnl', i.symbol, t.unrealized_pnl),
        q.spread > 0,
        abs(u.units) * q.low_mid * r.low * i.margin_rate,
        abs(u.units) * q.high_mid * r.high * i.margin_rate,
        v_from - v_window,
        least(q.last_at + i.stale_after, r.fresh_until) < v_taken_at,
        q.last_at
    from recon.their_positions(p_account, p_snapshot) t
    join market.instruments i on i.symbol = t.symbol
    cross join lateral recon.rates_around(
        i.quote_currency, p_account.currency, v_from - v_window, v_taken_at + v_window
    ) r
    left join ledger.positions p
        on p.account_id = p_account.account_id and p.instrument_id = i.instrument_id
        and p.position_side = t.position_side and p.quantity = t.quantity
        and abs(market.round_div(p.cost, p.quantity * i.contract_size, 10) - t.average_price)
            <= recon.allowance(p_tolerances, 'average_price', i.symbol, t.average_price)
    cross join lateral recon.quotes_around(
        i.instrument_id, v_from - v_window, v_taken_at + v_window
    ) q
    cross join lateral (select t.quantity * i.contract_size as units) u
    cross join lateral (select coalesce(p.cost, t.average_price * u.units) as cost) c
    cross join lateral (
        select min(side.pnl * rate) as low, max(side.pnl * rate) as high,
               min(mid.pnl * rate) as low_mid, max(mid.pnl * rate) as high_mid
        from unnest(
            case when u.units > 0 then array[q.low_bid, q.high_bid]
                else array[q.low_ask, q.high_ask] end,
            array[q.low_mid, q.high_mid]
        ) prices (side, mid)
        cross join lateral (select u.units * prices.side - c.cost as pnl) side
        cross join lateral (select u.units * prices.mid - c.cost as pnl) mid
        cross join unnest(array[r.low, r.high]) rate
    ) v
    cross join lateral (
        select
            v_minor
            + case when i.quote_currency <> p_account.currency
                then recon.allowance(
                    p_tolerances, 'conversion', i.symbol, greatest(abs(v.low), abs(v.high))
                ) else 0 end
            -- an average price that is not ours is rounded
            + case when p.cost is null
                then abs(c.cost) * r.rate * 0.00001 else 0 end as tight
    ) s
    where t.quantity <> 0;
end
$$;

comment on function recon.valued_positions is
    'The positions of a snapshot, valued at side price and at mid by our quotes of its moment.';
