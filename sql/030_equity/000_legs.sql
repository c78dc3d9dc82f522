-- Positions as a tick reads them: one narrow row each, in classes that are priced alike.

-- Every class with the price and the conversion rate that its legs have now.
create or replace view equity.priced_classes as
select
    c.class_id,
    case when c.is_long then q.bid else q.ask end as price,
    r.rate,
    c.money_scale
from equity.leg_classes c
join market.instruments i using (instrument_id)
join market.quotes q using (instrument_id)
left join market.conversion_rates r
    on r.from_currency = i.quote_currency and r.to_currency = c.currency;

comment on view equity.priced_classes is
    'Classes of legs with their side price and conversion rate; null where unknown.';

create or replace function equity.price_classes(p_class_ids int[]) returns equity.priced_classes[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select array_agg(c order by c.class_id)
        from equity.priced_classes c
        where c.class_id = any (p_class_ids)
    );
end
$$;

comment on function equity.price_classes is
    'These classes with their side price and conversion rate, in the order of their ids.';

create or replace function equity.classes_priced_by(p_instrument_ids bigint[]) returns int[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(array_agg(c.class_id), '{}')
        from equity.leg_classes c
        join market.instruments i using (instrument_id)
        left join market.conversion_rates r
            on r.from_currency = i.quote_currency and r.to_currency = c.currency
        where c.instrument_id = any (p_instrument_ids)
           or r.first_instrument_id = any (p_instrument_ids)
           or r.second_instrument_id = any (p_instrument_ids)
    );
end
$$;

comment on function equity.classes_priced_by is
    'The classes of legs whose price or conversion rate comes from these instruments.';

create or replace function equity.moves_many(p_instrument_ids bigint[]) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return cardinality(p_instrument_ids) * 4 > (select count(*) from market.instruments)
        or cardinality(equity.classes_priced_by(p_instrument_ids)) * 4
            > (select count(*) from equity.leg_classes);
end
$$;

comment on function equity.moves_many is
    'Whether ticks of these instruments price more than a quarter of all that is held.';

-- In steps of three, so that a leg seldom changes its class.
create or replace function equity.magnitude(p_value numeric) returns int
language sql immutable parallel safe
return (length(trunc(abs(p_value))::text) + 2) / 3 * 3;

comment on function equity.magnitude is 'Power of ten that the value does not reach: 3, 6, 9, …';

-- Puts the positions that fills have changed in the place of their legs. A leg of a class that is
-- not there yet waits without one for the next tick statement: only that makes classes, since two
-- bookings that both made one could wait for each other.
-- Locks: equity.legs of the accounts, whose rows in ledger.accounts the caller has locked.
create or replace function equity.set_legs(p_fills ledger.fills[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from equity.legs l
    using unnest(p_fills) f
    where l.account_id = f.account_id and l.instrument_id = f.instrument_id
      and f.position_side in ('net', case when l.is_long then 'long' else 'short' end)
      and (f.quantity_after = 0 or l.is_long <> (f.quantity_after > 0));

    insert into equity.legs as l (
        account_id, instrument_id, units_float, cost_float, is_long, class_id, units, cost
    )
    select f.account_id, f.instrument_id, n.units, f.cost_after, n.units > 0, c.class_id,
           n.units, f.cost_after
    from unnest(p_fills) f
    join ledger.accounts a on a.account_id = f.account_id
    join market.instruments i on i.instrument_id = f.instrument_id
    cross join lateral (select f.quantity_after * i.contract_size as units) n
    left join equity.leg_classes c
        on c.instrument_id = f.instrument_id and c.is_long = (n.units > 0)
        and c.currency = a.currency and c.money_scale = a.money_scale
        and c.units_magnitude = equity.magnitude(n.units)
        and c.cost_magnitude = equity.magnitude(f.cost_after)
    where f.quantity_after <> 0
    on conflict (account_id, instrument_id, is_long) do update
    set units = excluded.units, cost = excluded.cost,
        units_float = excluded.units_float, cost_float = excluded.cost_float,
        -- a class that has become too large for the leg serves it as well
        class_id = case when exists (
            select from equity.leg_classes c
            where c.class_id = l.class_id
              and c.units_magnitude >= equity.magnitude(excluded.units)
              and c.cost_magnitude >= equity.magnitude(excluded.cost)
        ) then l.class_id else excluded.class_id end;
end
$$;

comment on function equity.set_legs is
    'Brings the legs of these fills'' positions up to the positions after the fills.';

create or replace view equity.unclassed_legs as
select l.account_id, l.instrument_id, l.is_long, a.currency, a.money_scale,
       equity.magnitude(l.units) as units_magnitude, equity.magnitude(l.cost) as cost_magnitude
from (select * from equity.legs where class_id is null offset 0) l
join ledger.accounts a using (account_id);

comment on view equity.unclassed_legs is
    'Legs that wait for a class, with what the class will have.';

-- Gives every leg without a class its class, made where it is not there yet. Classes are numbered
-- without gaps: they are places in arrays.
-- Locks: equity.legs; the caller holds the lock of the prices.
create or replace function equity.classify_legs() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- none or a few are waiting, whatever the statistics say
as $$
begin
    if not exists (select from equity.legs where class_id is null) then
        return;
    end if;

    insert into equity.leg_classes (
        class_id, instrument_id, is_long, currency, money_scale, units_magnitude, cost_magnitude
    )
    select (select coalesce(max(class_id), 0) from equity.leg_classes) + row_number() over (), n.*
    from (
        select instrument_id, is_long, currency, money_scale, units_magnitude, cost_magnitude
        from equity.unclassed_legs
        except
        select instrument_id, is_long, currency, money_scale, units_magnitude, cost_magnitude
        from equity.leg_classes
    ) n;

    with waiting as materialized (  -- first these few, whatever the statistics say
        select * from equity.unclassed_legs
    )
    update equity.legs l
    set class_id = c.class_id
    from waiting w
    join equity.leg_classes c using (
        instrument_id, is_long, currency, money_scale, units_magnitude, cost_magnitude
    )
    where l.account_id = w.account_id and l.instrument_id = w.instrument_id
      and l.is_long = w.is_long;
end
$$;

comment on function equity.classify_legs is 'Gives the legs that have no class yet their class.';

comment on table equity.legs is
    'Open positions as a tick reads them: signed units (quantity × contract size) and cost in '
    'quote currency, and the same as floats. Derived from ledger.fills.';
comment on column equity.legs.class_id is
    'Legs that are priced alike; null until the next tick statement when the class is new.';
comment on table equity.leg_classes is
    'What the legs of a class have in common: instrument and side, and so the price; account '
    'currency and its decimals, and so the conversion rate; and the orders of magnitude, which '
    'bound the error of floats.';
comment on column equity.leg_classes.units_magnitude is
    'Power of ten that the units of its legs do not reach.';
comment on column equity.leg_classes.cost_magnitude is
    'Power of ten that the cost of its legs does not reach.';
