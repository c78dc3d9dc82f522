-- Each position's unrealized P&L at the broker that our quotes do not explain, and why:
--   stale_price   our quote is stale, or the broker's figure is at a price that we had before
--   conversion    in another currency, and off by a tenth at most
--   unknown       none of these
-- A position that the broker does not value alone counts in the account's total.
create or replace function recon.price_differences(
    p_account ledger.accounts, p_valuations recon.valuations[]
) returns setof recon.differences
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_minor numeric := ('1e-' || p_account.money_scale)::numeric;
begin
    return query
    with classed as (
        select
            v.*,
            -- the value that is nearest, of those that our quotes give
            least(greatest(v.theirs, v.low), v.high) as ours,
            case
                when v.is_stale then 'stale_price'
                when v.is_converted
                    and abs(v.theirs - least(greatest(v.theirs, v.low), v.high))
                        <= 0.1 * greatest(abs(v.low), abs(v.high))
                    then 'conversion'
                when exists (
                    select from market.ticks k
                    where k.instrument_id = v.instrument_id
                      and k.event_at > v.quoted_from - interval '10 minutes'
                      and k.event_at <= v.quoted_from
                      and abs(
                          (v.units * case when v.units > 0 then k.bid else k.ask end - v.cost)
                              * v.rate - v.theirs
                      ) <= v_minor
                ) then 'stale_price'
                else 'unknown'
            end as cause
        from unnest(p_valuations) v
        where v.theirs not between v.low - v.slack and v.high + v.slack
    )
    select
        format('price %s %s', c.symbol, c.position_side), c.cause, 'unrealized_pnl', c.symbol,
        round(c.ours, p_account.money_scale), c.theirs,
        c.theirs - round(c.ours, p_account.money_scale), p_account.currency,
        format(
            'The broker''s unrealized P&L of %s is %s %s, ours %s: %s.', c.symbol,
            trim_scale(c.theirs), p_account.currency, round(c.ours, p_account.money_scale),
            case
                when c.is_stale then 'our quote is stale'
                when c.cause = 'stale_price' then 'the broker''s price is an old one'
                else 'no quote of ours explains it'
            end
        ),
        jsonb_build_object(
            'priced_at', c.priced_at, 'low', c.low::text, 'high', c.high::text
        ),
        false
    from classed c
    where c.cause <> 'conversion'
    union all
    select
        'conversion', 'conversion', 'unrealized_pnl', case when count(*) = 1 then min(c.symbol) end,
        round(sum(c.ours), p_account.money_scale), sum(c.theirs),
        sum(c.theirs) - round(sum(c.ours), p_account.money_scale), p_account.currency,
        format(
            'The broker converts at other rates: its unrealized P&L differs by %s %s.',
            round(sum(c.theirs - c.ours), p_account.money_scale), p_account.currency
        ),
        jsonb_build_object('rates', jsonb_object_agg(c.symbol, c.rate::text)),
        false
    from classed c
    where c.cause = 'conversion'
    having count(*) > 0;
end
$$;

comment on function recon.price_differences is
    'Positions whose unrealized P&L at the broker no quote of ours explains, by cause.';

-- Margin that the broker's positions need by our prices, at the account's terms for hedged ones.
create or replace function recon.margin_of(
    p_account ledger.accounts, p_valuations recon.valuations[], out low numeric, out high numeric
)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    select
        coalesce(sum(case p_account.hedged_margin
            when 'net' then abs(s.low_long - s.low_short) else greatest(s.low_long, s.low_short)
        end), 0),
        coalesce(sum(case p_account.hedged_margin
            when 'net' then abs(s.high_long - s.high_short)
            else greatest(s.high_long, s.high_short)
        end), 0)
    into low, high
    from (
        select
            coalesce(sum(v.low_margin) filter (where v.units > 0), 0) as low_long,
            coalesce(sum(v.low_margin) filter (where v.units < 0), 0) as low_short,
            coalesce(sum(v.high_margin) filter (where v.units > 0), 0) as high_long,
            coalesce(sum(v.high_margin) filter (where v.units < 0), 0) as high_short
        from unnest(p_valuations) v
        group by v.symbol
    ) s;
end
$$;

comment on function recon.margin_of is
    'Margin used by the positions of a snapshot, by the lowest and highest of our prices.';

-- The account's own figures: whether unrealized P&L or equity is at mid where ours is at side
-- prices, and whether equity and margin follow from balance and positions. Where the prices of the
-- broker's moment allow both, the side cannot be judged: a row with a null cause says so.
create or replace function recon.valuation_differences(
    p_account ledger.accounts, p_tolerances jsonb, p_snapshot jsonb, p_bookings recon.bookings[]
) returns setof recon.differences
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_pnl numeric := (p_snapshot ->> 'unrealized_pnl')::numeric;
    v_pnl_allowed numeric := recon.money_allowance(
        p_tolerances, 'unrealized_pnl', p_account.money_scale, v_pnl
    );
    v_equity numeric := (p_snapshot ->> 'equity')::numeric;
    v_equity_allowed numeric := recon.money_allowance(
        p_tolerances, 'equity', p_account.money_scale, v_equity
    );
    v_margin_used numeric := (p_snapshot ->> 'margin_used')::numeric;
    v_cash numeric;  -- the broker's, credit included
    v_sum record;
    v_is_at_mid boolean := false;
    v_margin record;
    v_nearest numeric;
    v_valuations recon.valuations[] := array(
        select v from recon.valued_positions(p_account, p_tolerances, p_snapshot) v
    );
    v_prices recon.differences[] := array(
        select d from recon.price_differences(p_account, v_valuations) d
    );
begin
    select (p_snapshot ->> 'balance')::numeric + p_account.credit
        + coalesce(sum(b.their_amount - b.our_amount), 0)
    into v_cash
    from unnest(p_bookings) b
    where b.entry_kind = 'credit' and b.is_amiss;

    select
        sum(v.theirs) as theirs, count(*) = count(v.theirs) as is_told,
        coalesce(sum(v.low), 0) as low, coalesce(sum(v.high), 0) as high,
        coalesce(sum(v.low_mid), 0) as low_mid, coalesce(sum(v.high_mid), 0) as high_mid,
        coalesce(sum(v.tight), 0) as tight, coalesce(sum(v.slack), 0) as slack,
        coalesce(bool_or(v.is_spread), false) as is_spread,
        coalesce(bool_or(v.is_stale), false) as is_stale,
        coalesce(bool_or(v.is_converted), false) as is_converted,
        min(v.symbol) as symbol, count(*) as positions,
        count(*) = count(v.low) and count(*) = (
            select count(*) from recon.their_positions(p_account, p_snapshot) t
            where t.quantity <> 0
        ) as is_priced
    into strict v_sum
    from unnest(v_valuations) v;

    if v_sum.is_priced and v_sum.is_spread then
        v_is_at_mid := v_pnl
            between v_sum.low_mid - v_sum.tight and v_sum.high_mid + v_sum.tight;
        if v_is_at_mid and v_pnl between v_sum.low - v_sum.tight and v_sum.high + v_sum.tight then
            v_is_at_mid := false;
            return query select * from recon.not_judged('price_side');
        elsif v_is_at_mid then
            return query select * from recon.account_difference(
                p_account, 'price_side', 'price_side', 'unrealized_pnl',
                least(greatest(v_pnl, v_sum.low), v_sum.high), v_pnl,
                'The broker''s unrealized P&L is at mid prices, ours at what closing would bring.'
            );
        end if;
    end if;

    if v_sum.positions > 0 and v_sum.is_told and abs(v_pnl - v_sum.theirs) > v_pnl_allowed then
        return query select * from recon.account_difference(
            p_account, 'unrealized_pnl', 'unknown', 'unrealized_pnl', v_sum.theirs, v_pnl,
            'The broker''s unrealized P&L is not the sum of its positions''.'
        );
    elsif v_sum.is_priced and not (v_sum.is_told and v_sum.positions > 0)
        and v_pnl not between v_sum.low - v_sum.slack - v_pnl_allowed
            and v_sum.high + v_sum.slack + v_pnl_allowed then
        return query select * from recon.account_difference(
            p_account, 'unrealized_pnl',
            case
                when v_sum.is_stale then 'stale_price'
                when v_sum.is_converted
                    and abs(v_pnl - least(greatest(v_pnl, v_sum.low), v_sum.high))
                        <= 0.1 * greatest(abs(v_sum.low), abs(v_sum.high)) then 'conversion'
                else 'unknown'
            end,
            'unrealized_pnl', least(greatest(v_pnl, v_sum.low), v_sum.high), v_pnl,
            'No quotes of ours explain the broker''s unrealized P&L.'
        );
    end if;

    if abs(v_equity - v_cash - v_pnl) > v_equity_allowed then
        if not v_is_at_mid and v_sum.is_priced and v_sum.is_spread and v_equity - v_cash
            between v_sum.low_mid - v_sum.tight - v_equity_allowed
                and v_sum.high_mid + v_sum.tight + v_equity_allowed then
            return query select * from recon.account_difference(
                p_account, 'price_side', 'price_side', 'equity', v_cash + v_pnl, v_equity,
                'The broker''s equity is at mid prices, its unrealized P&L at side prices.'
            );
        else
            return query select * from recon.account_difference(
                p_account, 'equity', 'unknown', 'equity', v_cash + v_pnl, v_equity,
                'The broker''s equity is not its balance, credit and unrealized P&L together.'
            );
        end if;
    end if;

    -- what follows from prices that differ, or cannot be known, is not told again
    if v_sum.is_priced and cardinality(v_prices) = 0 then
        if (p_snapshot ->> 'margin_equity')::numeric - v_cash
            not between least(v_sum.low, v_sum.low_mid) - v_sum.slack - v_equity_allowed
                and greatest(v_sum.high, v_sum.high_mid) + v_sum.slack + v_equity_allowed then
            return query select * from recon.account_difference(
                p_account, 'margin_equity', 'unknown', 'equity',
                v_cash + (v_sum.low_mid + v_sum.high_mid) / 2,
                (p_snapshot ->> 'margin_equity')::numeric,
                'No quotes of ours explain the broker''s equity at mid prices.'
            );
        end if;
        v_margin := recon.margin_of(p_account, v_valuations);
        v_nearest := least(greatest(v_margin_used, v_margin.low), v_margin.high);
        if abs(v_margin_used - v_nearest) > recon.money_allowance(
            p_tolerances, 'margin_used', p_account.money_scale, v_margin_used
        ) then
            return query select * from recon.account_difference(
                p_account, 'margin_used', 'margin', 'margin_used', v_nearest, v_margin_used,
                'The broker uses another margin for the same positions.'
            );
        end if;
    else
        return query select n.* from unnest(array['margin_equity', 'margin_used', 'price_side']) s
        cross join lateral recon.not_judged(s) n;
    end if;
    if not v_sum.is_priced then
        return query select n.*
        from recon.their_positions(p_account, p_snapshot) t
        cross join lateral recon.not_judged(
            format('price %s %s', t.symbol, t.position_side)
        ) n;
    end if;
    return query select * from unnest(v_prices);
end
$$;

comment on function recon.valuation_differences is
    'Differences of unrealized P&L, equity and margin that follow from prices, rates or terms.';
