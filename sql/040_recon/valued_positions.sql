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
    with told as materialized (
        select t.*, i.instrument_id, i.quote_currency, i.contract_size, i.margin_rate,
               i.stale_after
        from recon.their_positions(p_account, p_snapshot) t
        join market.instruments i on i.symbol = t.symbol
        where t.quantity <> 0
    ),
    paths as materialized (
        select c.*, d.fresh_until
        from market.conversion_rates c
        join market.dated_conversion_rates d using (from_currency, to_currency)
        where c.to_currency = p_account.currency
          and c.from_currency in (select t.quote_currency from told t)
    ),
    quotes as materialized (
        select n.instrument_id, q.*
        from (
            select t.instrument_id from told t
            union
            select p.first_instrument_id from paths p where p.first_instrument_id is not null
            union
            select p.second_instrument_id from paths p where p.second_instrument_id is not null
        ) n
        cross join lateral recon.quotes_around(
            n.instrument_id, v_from - v_window, v_taken_at + v_window
        ) q
    ),
    -- by the quotes of that time, and by those of now
    rates as materialized (
        select p.from_currency, p.rate, p.fresh_until,
               least(p.rate, min(r.rate)) as low, greatest(p.rate, max(r.rate)) as high
        from paths p
        left join quotes one on one.instrument_id = p.first_instrument_id
        left join quotes two on two.instrument_id = p.second_instrument_id
        cross join unnest(array[one.low_mid, one.high_mid]) first_mid
        cross join unnest(array[two.low_mid, two.high_mid]) second_mid
        cross join lateral (
            select market.path_rate(
                first_mid, p.first_is_inverse, second_mid, p.second_is_inverse
            ) as rate
        ) r
        group by p.from_currency, p.rate, p.fresh_until
    )
    select
        t.symbol, t.instrument_id, t.position_side, u.units, c.cost, t.unrealized_pnl, r.rate,
        t.quote_currency <> p_account.currency, v.low, v.high, v.low_mid, v.high_mid,
        s.tight,
        s.tight + abs(u.units) * r.high * (
            q.spread * 0.5 + recon.allowance(p_tolerances, 'price', t.symbol, q.high_mid)
        ) + recon.allowance(p_tolerances, 'unrealized_pnl', t.symbol, t.unrealized_pnl),
        q.spread > 0,
        abs(u.units) * q.low_mid * r.low * t.margin_rate,
        abs(u.units) * q.high_mid * r.high * t.margin_rate,
        v_from - v_window,
        least(q.last_at + t.stale_after, r.fresh_until) < v_taken_at,
        q.last_at
    from told t
    join quotes q using (instrument_id)
    left join rates r on r.from_currency = t.quote_currency
    left join ledger.positions p
        on p.account_id = p_account.account_id and p.instrument_id = t.instrument_id
        and p.position_side = t.position_side and p.quantity = t.quantity
        and abs(market.round_div(p.cost, p.quantity * t.contract_size, 10) - t.average_price)
            <= recon.allowance(p_tolerances, 'average_price', t.symbol, t.average_price)
    cross join lateral (select t.quantity * t.contract_size as units) u
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
            + case when t.quote_currency <> p_account.currency
                then recon.allowance(
                    p_tolerances, 'conversion', t.symbol, greatest(abs(v.low), abs(v.high))
                ) else 0 end
            -- an average price that is not ours is rounded
            + case when p.cost is null then abs(c.cost) * r.high * 0.00001 else 0 end as tight
    ) s;
end
$$;

comment on function recon.valued_positions is
    'The positions of a snapshot, valued at side price and at mid by our quotes of its moment.';
