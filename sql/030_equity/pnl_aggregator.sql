-- From positions to accounts. (Component 17.3.) Three ways to the same figure, each the fastest for
-- its case: exact and anew for these accounts, by the change of a few classes of legs, and anew for
-- all accounts. The caller of the first two holds the lock of the prices alone.

-- Recomputes the state of these accounts from their positions and the quotes of now.
-- Locks: equity.account_states of these accounts.
create or replace function equity.value_accounts(p_account_ids bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update equity.account_states s
    set unrealized_pnl = n.unrealized_pnl, unpriced_positions = n.unpriced_positions,
        version = s.version + 1, updated_at = clock_timestamp()
    from (
        select account_id, coalesce(sum(v.unrealized_pnl), 0) as unrealized_pnl,
               count(*) filter (
                   where v.account_id is not null and v.unrealized_pnl is null
               ) as unpriced_positions
        from unnest(p_account_ids) wanted (account_id)
        left join equity.position_values v using (account_id)
        group by account_id
    ) n
    where s.account_id = n.account_id;
end
$$;

comment on function equity.value_accounts is
    'Brings the stored valuation of these accounts up to quotes and positions.';

-- Moves the accounts that hold legs of these classes by what their prices and rates have changed.
-- Both arrays hold the same classes in the same order.
-- Locks: equity.account_states of those accounts.
create or replace function equity.value_by_change(
    p_before equity.priced_classes[], p_after equity.priced_classes[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
as $$
begin
    update equity.account_states s
    set unrealized_pnl = s.unrealized_pnl + d.change,
        version = s.version + 1, updated_at = clock_timestamp()
    from (
        select l.account_id, coalesce(sum(
            equity.to_account_currency(l.units * c.price - l.cost, c.rate, c.money_scale)
            - equity.to_account_currency(l.units * c.old_price - l.cost, c.old_rate, c.money_scale)
        ), 0) as change
        from unnest(p_before, p_after) c (
            class_id, old_price, old_rate, money_scale, same_class_id, price, rate, same_scale
        )
        join equity.legs l using (class_id)
        group by l.account_id
    ) d
    where s.account_id = d.account_id;
end
$$;

comment on function equity.value_by_change is
    'Moves account states by what these classes of legs are worth more or less than before.';

-- Recomputes all accounts that hold anything. A leg costs a quarter of a microsecond, since it is
-- valued in floats wherever they are certain to round to the same minor unit (a cent) as the exact
-- value, and in numeric elsewhere: a float value is off by at most 10^-15 of what it is computed
-- from, and accounts with a leg where that could reach 0.002 of a minor unit are valued exactly.
-- Prices and rates come from arrays, where class_id is the place, and go through arrays, where
-- account_id is the place, into the states: a join costs as much as half the update.
--
-- Bookings go on while it computes. Accounts that have booked since then, as the numbers of their
-- events tell, are valued exactly once the prices stand still.
-- Locks: the prices, for the update alone; then equity.legs and equity.account_states.
create or replace function equity.value_all_accounts() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set plan_cache_mode = force_generic_plan  -- constant arrays are walked to each place
as $$
declare
    v_prices numeric[];
    v_factors numeric[];
    v_float_prices float8[];
    v_float_factors float8[];
    v_wide_classes int[];
    v_account_id bigint;
    v_event_seq bigint;
    v_event_seqs bigint[];
    v_sum bigint;
    v_sums bigint[];  -- in minor units
    v_exactly bigint[];
    v_minor_units constant numeric[] := array(
        select ('1e-' || money_scale)::numeric from generate_series(0, 8) money_scale
    );
begin
    with prices as materialized (
        select i.instrument_id, i.quote_currency, side.is_long, side.price,
               side.price::float8 as float_price
        from market.instruments i
        join market.quotes q using (instrument_id)
        cross join lateral (values (true, q.bid), (false, q.ask)) side (is_long, price)
    ),
    factors as materialized (
        select r.from_currency, r.to_currency, u.money_scale, f.factor,
               f.factor::float8 as float_factor
        from (select distinct currency, money_scale from equity.leg_classes) u
        join market.conversion_rates r on r.to_currency = u.currency
        cross join lateral (
            select r.rate * ('1e' || u.money_scale::text)::numeric as factor
        ) f
    ),
    judged as (
        select c.class_id, p.price, p.float_price, f.factor, f.float_factor,
               1e-15 * f.float_factor * (
                   10::float8 ^ c.units_magnitude * p.float_price + 10::float8 ^ c.cost_magnitude
               ) > 0.002 as is_wide
        from equity.leg_classes c
        join prices p using (instrument_id, is_long)
        left join factors f
            on f.from_currency = p.quote_currency
            and f.to_currency = c.currency and f.money_scale = c.money_scale
        order by c.class_id
    )
    select
        array_agg(case when not is_wide then price end),
        array_agg(case when not is_wide then factor end),
        array_agg(case when not is_wide then float_price end),
        array_agg(case when not is_wide then float_factor end),
        coalesce(array_agg(class_id) filter (where is_wide), '{}')
    into v_prices, v_factors, v_float_prices, v_float_factors, v_wide_classes
    from judged;

    for v_account_id, v_event_seq in select account_id, last_event_seq from ledger.accounts loop
        v_event_seqs[v_account_id] := v_event_seq;
    end loop;

    for v_account_id, v_sum in
        select account_id, coalesce(sum(
            case when abs(value - round(value)) < 0.498 then round(value)
                 else round((units * v_prices[class_id] - cost) * v_factors[class_id])::float8 end
        ), 0)
        from (
            select account_id, class_id, units, cost,
                   (units_float * v_float_prices[class_id] - cost_float)
                       * v_float_factors[class_id] as value
            from equity.legs
            offset 0  -- each value is computed once
        ) legs
        group by account_id
    loop
        v_sums[v_account_id] := v_sum;
    end loop;

    perform market.lock_prices_to_move();
    v_exactly := array(
        select account_id from ledger.accounts
        where last_event_seq is distinct from v_event_seqs[account_id]
        union
        select account_id from equity.legs where class_id = any (v_wide_classes)
        union
        select account_id from equity.legs where class_id is null
    );
    perform equity.classify_legs();
    foreach v_account_id in array v_exactly loop
        v_sums[v_account_id] := null;
    end loop;
    update equity.account_states
    set unrealized_pnl = v_sums[account_id] * v_minor_units[money_scale + 1],
        version = version + 1, updated_at = clock_timestamp()
    where v_sums[account_id] is not null;
    if cardinality(v_exactly) > 0 then
        perform equity.value_accounts(v_exactly);
    end if;
end
$$;

comment on function equity.value_all_accounts is
    'Brings the stored valuation of all accounts with positions up to quotes and positions.';

comment on table equity.account_states is
    'The hot row of each account: what a tick, a fill or an entry moves. '
    'What can be derived is derived where it is read.';
comment on column equity.account_states.unrealized_pnl is
    'Sum of the priced positions'' rounded unrealized P&L, in account currency.';
comment on column equity.account_states.unpriced_positions is
    'Positions without a price or conversion rate; '
    'while there are any, the account''s unrealized P&L is unknown.';
comment on column equity.account_states.version is
    'Grows with every change, and orders the states of an account.';
comment on column equity.account_states.money_scale is
    'Decimals of amounts in the account''s currency, as in ledger.accounts.';
