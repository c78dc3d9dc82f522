-- What sets of accounts need beside bars: rates as of a moment, and an index of sums.

-- The mid of the last tick before an instant; null if there is none. One is nearly always within
-- days, and a range that ends on both sides leaves all but a few chunks out when it is planned.
create or replace function equity.mid_before(p_instrument_id bigint, p_before timestamptz)
returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
    v_since timestamptz;
    v_mid numeric;
begin
    foreach v_since in array array[
        p_before - interval '1 hour', p_before - interval '96 hours', '-infinity'
    ] loop
        select market.mid(t.bid, t.ask) into v_mid
        from market.ticks t
        where t.instrument_id = p_instrument_id
          and t.event_at >= v_since and t.event_at < p_before
        order by t.event_at desc, t.tick_id desc
        limit 1;
        exit when v_mid is not null;
    end loop;
    return v_mid;
end
$$;

comment on function equity.mid_before is
    'Mid of the last tick with an event time before an instant.';

-- The rate of the path in force; null where a leg had no tick yet.
create or replace function equity.rate_before(
    p_from_currency text, p_to_currency text, p_before timestamptz
) returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_path market.conversion_rates;
begin
    if p_from_currency = p_to_currency then
        return 1;
    end if;
    select * into v_path
    from market.conversion_rates c
    where c.from_currency = p_from_currency and c.to_currency = p_to_currency;
    return market.path_rate(
        equity.mid_before(v_path.first_instrument_id, p_before),
        v_path.first_is_inverse,
        case when v_path.second_instrument_id is not null
            then equity.mid_before(v_path.second_instrument_id, p_before) end,
        v_path.second_is_inverse
    );
end
$$;

comment on function equity.rate_before is
    'Conversion rate by the ticks with an event time before an instant.';

-- Follows the values of a set: {index and value at the last flow, index, value}. Money that comes
-- is there from the bucket's beginning, money that goes until its end.
create or replace function equity.chain_index(
    p_state numeric[], p_value numeric, p_flow numeric
) returns numeric[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_index numeric := p_state[1];
    v_base numeric := p_state[2];
begin
    if p_state is null then
        return case  -- the first known value begins it
            when p_value > 0 then array[1, p_value, 1, p_value]
            when p_value <= 0 then array[null, null, null, p_value]
        end;
    end if;
    if p_flow > 0 or p_flow is null then
        v_index := case when p_state[1] is null then 1
            else coalesce(p_state[3], p_state[1]) end;
        v_base := p_state[4] + p_flow;
    end if;
    if p_value is null and p_flow = 0 then
        return array[v_index, v_base, null, null];
    end if;
    if v_index is null or v_base is null or p_value is null or v_base <= 0
        or p_value - least(p_flow, 0) <= 0 then
        return case when p_flow < 0 and p_value > 0 then array[1, p_value, null, p_value]
            else array[null, null, null, p_value] end;
    end if;
    if p_flow < 0 then
        v_index := market.round_div(v_index * (p_value - p_flow), v_base, 12);
        return case when p_value > 0 then array[v_index, p_value, v_index, p_value]
            else array[null, null, null, p_value] end;
    end if;
    return array[v_index, v_base, market.round_div(v_index * p_value, v_base, 12), p_value];
end
$$;

comment on function equity.chain_index is 'The state of chained_index after one more bucket.';

create or replace function equity.index_of(p_state numeric[]) returns numeric
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return p_state[3];
end
$$;

comment on function equity.index_of is 'The index of a state of chained_index.';

create or replace aggregate equity.chained_index(numeric, numeric) (
    sfunc = equity.chain_index, stype = numeric[], finalfunc = equity.index_of, parallel = safe
);

comment on aggregate equity.chained_index(numeric, numeric) is
    'Growth index over buckets (value at the end and net flow of each), which must come in order.';
