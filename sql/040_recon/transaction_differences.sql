create or replace function recon.signed_text(p_quantity numeric) returns text
language sql immutable strict parallel safe
return case when p_quantity < 0 then 'sell ' else 'buy ' end || trim_scale(abs(p_quantity))::text;

comment on function recon.signed_text is 'A signed quantity in words: buy 100, sell 100.';

grant execute on function recon.signed_text to public;

-- Transactions that one side lacks, or that both have with another content. The quantity, balance
-- and average price that follow from one are explained by it.
create or replace function recon.transaction_differences(
    p_account ledger.accounts, p_bookings recon.bookings[]
) returns setof recon.differences
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select
        format(
            '%s %s', b.kind, case b.standing
                when 'extra' then format('of the ledger %s', coalesce(b.fill_id, b.entry_id))
                else b.external_id
            end
        ),
        d.cause,
        b.kind,
        b.symbol,
        d.ours,
        d.theirs,
        d.theirs - d.ours,
        d.unit,
        d.message,
        jsonb_strip_nulls(jsonb_build_object(
            'transaction', case when b.standing <> 'extra' then b.external_id end,
            'fill_id', b.fill_id, 'entry_id', b.entry_id
        )),
        b.is_young
    from unnest(p_bookings) b
    left join market.instruments i on i.symbol = b.symbol
    cross join lateral (
        select b.standing = 'matched' and b.our_quantity = b.their_quantity as is_price
    ) what
    cross join lateral (
        select
            case
                when b.standing = 'extra' then 'extra_fill'
                when b.standing <> 'matched' then 'missing_fill'
                when what.is_price then 'average_price'
                else 'quantity'
            end as cause,
            case when what.is_price then b.our_price else b.our_quantity end as ours,
            case when what.is_price then b.their_price else b.their_quantity end as theirs,
            case when what.is_price then i.quote_currency
                else coalesce(i.base_currency, b.symbol) end as unit,
            case b.standing
                when 'missing' then format(
                    'The ledger lacks fill %s of the broker: %s %s at %s.', b.external_id,
                    recon.signed_text(b.their_quantity), b.symbol, trim_scale(b.their_price)
                )
                when 'reversed' then format(
                    'The ledger took back fill %s of the broker: %s %s.', b.external_id,
                    recon.signed_text(b.their_quantity), b.symbol
                )
                when 'extra' then format(
                    'The broker does not have fill %s of the ledger: %s %s at %s.', b.fill_id,
                    recon.signed_text(b.our_quantity), b.symbol, trim_scale(b.our_price)
                )
                else format(
                    'Fill %s is %s %s at %s in the ledger, and %s at %s at the broker.',
                    b.external_id, recon.signed_text(b.our_quantity), b.symbol,
                    trim_scale(b.our_price), recon.signed_text(b.their_quantity),
                    trim_scale(b.their_price)
                )
            end as message
        where b.kind = 'fill'
        union all
        select
            case b.entry_kind when 'financing' then 'financing' else 'balance' end,
            b.our_amount, b.their_amount, p_account.currency,
            case b.standing
                when 'missing' then format(
                    'The ledger lacks entry %s of the broker: %s of %s %s.', b.external_id,
                    b.entry_kind, trim_scale(b.their_amount), p_account.currency
                )
                when 'reversed' then format(
                    'The ledger took back entry %s of the broker: %s.', b.external_id, b.entry_kind
                )
                when 'extra' then format(
                    'The broker does not have entry %s of the ledger: %s of %s %s.', b.entry_id,
                    b.entry_kind, b.our_amount, p_account.currency
                )
                else format(
                    'Entry %s, %s, is %s in the ledger and %s at the broker.', b.external_id,
                    b.entry_kind, b.our_amount, trim_scale(b.their_amount)
                )
            end
        where b.kind = 'entry'
    ) d
    where b.is_amiss;
end
$$;

comment on function recon.transaction_differences is
    'Transactions of the broker and bookings of the ledger that do not have their counterpart.';
