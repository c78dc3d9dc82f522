-- What the bars of a second of one account in a minute, in their order, come to: the same as by
-- equity.rollup_query, but in one pass, and with a division only where it may give a new extreme.
-- Between two flows the index rises and falls with performance. The lowest since the top is settled
-- when the top is surpassed, at a flow, and at the end, for which a null stands.
create or replace function equity.roll_up_minute(p_bars equity.curve_bars[])
returns equity.rollups_1m
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_first constant equity.curve_bars := p_bars[1];
    v_last constant equity.curve_bars := p_bars[cardinality(p_bars)];
    v_bar equity.curve_bars;
    v_base equity.curve_bars := v_first;  -- has the flow and base in force
    v_high numeric;
    v_low numeric;
    v_bar_fall numeric;
    v_top numeric;
    v_bottom numeric;  -- since the top
    v_base_high numeric;  -- since the flow
    v_base_low numeric;
    v_index_top numeric;
    v_fall numeric;
    v_fall_pct numeric;
    v_is_priced boolean := true;
    v_is_indexed boolean := true;
    v_is_thinned boolean := false;
    v_minute equity.rollups_1m;
begin
    foreach v_bar in array p_bars || null::equity.curve_bars loop
        if (
            v_bar.net_flow <> v_base.net_flow
            or v_bar.base_index <> v_base.base_index or v_bar.base_equity <> v_base.base_equity
        ) is not false then
            v_fall := greatest(v_fall, v_top - v_bottom);
            v_fall_pct := greatest(v_fall_pct, market.round_div(
                v_index_top - market.round_div(
                    v_base.base_index * (v_bottom + v_base.net_flow), v_base.base_equity, 12
                ),
                nullif(v_index_top, 0), 12
            ));
            v_minute.low := least(v_minute.low, v_base_low);
            v_minute.equity_high := greatest(v_minute.equity_high, v_base_high + v_base.net_flow);
            v_minute.equity_low := least(v_minute.equity_low, v_base_low + v_base.net_flow);
            v_minute.index_low := least(v_minute.index_low, market.round_div(
                v_base.base_index * (v_base_low + v_base.net_flow), v_base.base_equity, 12
            ));
            exit when v_bar.account_id is null;
            v_base := v_bar;
            v_bottom := null;
            v_base_high := null;
            v_base_low := null;
        end if;

        v_high := coalesce(v_bar.high, greatest(v_bar.open, v_bar.close));
        v_low := coalesce(v_bar.low, least(v_bar.open, v_bar.close));
        if v_low < v_bottom is not false then
            v_bottom := least(v_bottom, v_low);
            v_base_low := least(v_base_low, v_low);
        end if;
        if v_high > v_base_high is not false then
            v_fall := greatest(v_fall, v_top - v_bottom);
            v_fall_pct := greatest(v_fall_pct, market.round_div(
                v_index_top - market.round_div(
                    v_base.base_index * (v_bottom + v_base.net_flow), v_base.base_equity, 12
                ),
                nullif(v_index_top, 0), 12
            ));
            v_bottom := null;
            v_base_high := greatest(v_base_high, v_high);
            v_top := greatest(v_top, v_high);
            v_index_top := greatest(v_index_top, market.round_div(
                v_base.base_index * (v_high + v_base.net_flow), v_base.base_equity, 12
            ));
        end if;

        v_bar_fall := coalesce(v_bar.fall, v_high - v_low);
        if v_bar_fall > v_fall is not false then
            v_fall := greatest(v_fall, v_bar_fall);
        end if;
        if v_bar.fall_pct > v_fall_pct
            or v_bar_fall > v_fall_pct * (v_high + v_bar.net_flow) is not false then
            v_fall_pct := greatest(v_fall_pct, coalesce(
                v_bar.fall_pct,
                market.round_div(v_bar_fall, nullif(v_high + v_bar.net_flow, 0), 12)
            ));
        end if;
        v_is_priced := v_is_priced and v_bar.is_priced;
        v_is_indexed := v_is_indexed and v_bar.base_index is not null;
        v_is_thinned := v_is_thinned or v_bar.is_thinned;
    end loop;

    v_minute.account_id := v_first.account_id;
    v_minute.bucket_at := date_trunc('minute', v_first.bucket_at, 'UTC');
    v_minute.open := v_first.open;
    v_minute.high := v_top;
    v_minute.close := v_last.close;
    v_minute.equity_open := v_first.open + v_first.net_flow;
    v_minute.equity_close := v_last.close + v_last.net_flow;
    v_minute.balance := v_last.balance;
    v_minute.net_flow_open := v_first.net_flow;
    v_minute.net_flow := v_last.net_flow;
    v_minute.index_open := market.round_div(
        v_first.base_index * (v_first.open + v_first.net_flow), v_first.base_equity, 12
    );
    v_minute.index_high := case when v_is_indexed then v_index_top end;
    v_minute.index_low := case when v_is_indexed then v_minute.index_low end;
    v_minute.index_close := market.round_div(
        v_last.base_index * (v_last.close + v_last.net_flow), v_last.base_equity, 12
    );
    v_minute.fall := v_fall;
    v_minute.fall_pct := case when v_is_indexed then v_fall_pct end;
    v_minute.is_priced := v_is_priced;
    v_minute.is_indexed := v_is_indexed;
    v_minute.is_thinned := v_is_thinned;
    v_minute.bar_count := cardinality(p_bars);
    return v_minute;
end
$$;

comment on function equity.roll_up_minute is
    'The bar of a minute, of the bars of a second of one account in it, in their order.';
