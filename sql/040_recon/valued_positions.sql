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
    select
        t.symbol, i.instrument_id, t.position_side, u.units, c.cost, t.unrealized_pnl, r.rate,
        i.quote_currency <> p_account.currency,
        least(v.a, v.b), greatest(v.a, v.b), least(v.mid_a, v.mid_b), greatest(v.mid_a, v.mid_b),
        s.tight,
        s.tight + abs(u.units) * r.rate * (
            q.spread * 0.5
            + recon.allowance(p_tolerances, 'price', i.symbol, q.high_mid)
        ) + recon.allowance(p_tolerances, 'unrealized_pnl', i.symbol, t.unrealized_pnl),
        q.spread > 0,
        equity.to_account_currency(
            abs(u.units) * q.high_mid * i.margin_rate, r.rate, p_account.money_scale
        ),
        v_from - v_window,
        least(q.last_at + i.stale_after, r.fresh_until) < v_taken_at,
        q.last_at
    from recon.their_positions(p_account, p_snapshot) t
    join market.instruments i on i.symbol = t.symbol
    left join market.dated_conversion_rates r
        on r.from_currency = i.quote_currency and r.to_currency = p_account.currency
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
        select
            (u.units * case when u.units > 0 then q.low_bid else q.low_ask end - c.cost)
                * r.rate as a,
            (u.units * case when u.units > 0 then q.high_bid else q.high_ask end - c.cost)
                * r.rate as b,
            (u.units * q.low_mid - c.cost) * r.rate as mid_a,
            (u.units * q.high_mid - c.cost) * r.rate as mid_b
    ) v
    cross join lateral (
        select
            v_minor
            + case when i.quote_currency <> p_account.currency
                then recon.allowance(
                    p_tolerances, 'conversion', i.symbol, greatest(abs(v.a), abs(v.b))
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
