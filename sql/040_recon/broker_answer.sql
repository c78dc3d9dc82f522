-- A broker's answer: what shape it must have, and how it is stored.

create or replace function recon.is_amount(p_value jsonb) returns boolean
language sql immutable parallel safe
return coalesce(
    jsonb_typeof(p_value) = 'string' and p_value #>> '{}' ~ '^-?[0-9]{1,15}([.][0-9]{1,20})?$',
    false
);

comment on function recon.is_amount is 'Whether this is a decimal string.';

create or replace function recon.is_positive(p_value jsonb) returns boolean
language sql immutable parallel safe
return case when recon.is_amount(p_value) then (p_value #>> '{}')::numeric > 0 else false end;

comment on function recon.is_positive is 'Whether this is a decimal string above zero.';

create or replace function recon.is_absent(p_value jsonb) returns boolean
language sql immutable parallel safe
return p_value is null or p_value = 'null';

comment on function recon.is_absent is 'Whether a member is left out or null.';

create or replace function recon.is_instant(p_value jsonb) returns boolean
language sql stable parallel safe
return coalesce(
    jsonb_typeof(p_value) = 'string'
        and p_value #>> '{}' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$'
        and pg_input_is_valid(p_value #>> '{}', 'timestamptz'),
    false
);

comment on function recon.is_instant is 'Whether this is an instant of ISO 8601 with a time zone.';

create or replace function recon.is_word(p_value jsonb) returns boolean
language sql immutable parallel safe
return coalesce(
    jsonb_typeof(p_value) = 'string' and p_value #>> '{}' ~ '[^[:space:]]'
        and length(p_value #>> '{}') <= 200,
    false
);

comment on function recon.is_word is 'Whether this is a text that is not blank and not long.';

-- Raises: TM402.
create or replace function recon.check_snapshot(p_account ledger.accounts, p_snapshot jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case
        when coalesce(jsonb_typeof(p_snapshot), '') <> 'object' then 'the snapshot is an object'
        when not recon.is_word(p_snapshot -> 'transaction_id')
            then 'transaction_id is a text that is not blank'
        when not recon.is_instant(p_snapshot -> 'taken_at')
            then 'taken_at is an instant with a time zone'
        when (p_snapshot ->> 'taken_at')::timestamptz > clock_timestamp() + interval '5 minutes'
            then 'taken_at has passed'
        when not recon.is_absent(p_snapshot -> 'requested_at')
            and not recon.is_instant(p_snapshot -> 'requested_at')
            then 'requested_at is an instant with a time zone, or null'
        when (p_snapshot ->> 'currency') is distinct from p_account.currency
            then format('the currency is the account''s, %s', p_account.currency)
        when not recon.is_amount(p_snapshot -> 'balance') then 'balance is a decimal string'
        when not recon.is_amount(p_snapshot -> 'equity') then 'equity is a decimal string'
        when not recon.is_amount(p_snapshot -> 'unrealized_pnl')
            then 'unrealized_pnl is a decimal string'
        when not recon.is_amount(p_snapshot -> 'margin_used')
            then 'margin_used is a decimal string'
        when not recon.is_absent(p_snapshot -> 'margin_equity')
            and not recon.is_amount(p_snapshot -> 'margin_equity')
            then 'margin_equity is a decimal string or null'
        when coalesce(jsonb_typeof(p_snapshot -> 'positions'), '') <> 'array'
            then 'positions is an array'
    end;
begin
    if v_problem is null then
        select case
            when jsonb_typeof(p) <> 'object' then 'a position is an object'
            when not recon.is_word(p -> 'symbol') then 'a position has a symbol'
            when coalesce(p ->> 'side', '') not in ('long', 'short')
                then 'a position is long or short'
            when not recon.is_positive(p -> 'quantity')
                then 'a position''s quantity is a decimal string above zero'
            when not recon.is_positive(p -> 'average_price')
                then 'a position''s average_price is a decimal string above zero'
            when not recon.is_absent(p -> 'unrealized_pnl')
                and not recon.is_amount(p -> 'unrealized_pnl')
                then 'a position''s unrealized_pnl is a decimal string or null'
            when count(*) over (partition by p ->> 'symbol', p ->> 'side') > 1
                then 'a symbol has one position a side'
        end into v_problem
        from jsonb_array_elements(p_snapshot -> 'positions') p
        order by 1
        limit 1;
    end if;
    if v_problem is not null then
        raise exception 'snapshot of the broker is not usable'
            using errcode = 'TM402',
                  detail = format(
                      'account_id: %s, snapshot: %s',
                      p_account.account_id, left(p_snapshot::text, 400)
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;
end
$$;

comment on function recon.check_snapshot is
    'Raises an error for a snapshot that cannot be compared with the account.';

-- Raises: TM403.
create or replace function recon.check_transactions(
    p_account ledger.accounts, p_transactions jsonb
) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem text := case when coalesce(jsonb_typeof(p_transactions), '') <> 'array'
        then 'the transactions are an array' end;
    v_transaction jsonb;
begin
    if v_problem is null then
        select problem, t into v_problem, v_transaction
        from jsonb_array_elements(p_transactions) t
        cross join lateral (
            select case
                when jsonb_typeof(t) <> 'object' then 'a transaction is an object'
                when not recon.is_word(t -> 'transaction_id')
                    then 'transaction_id is a text that is not blank'
                when not recon.is_absent(t -> 'external_id')
                    and not recon.is_word(t -> 'external_id')
                    then 'external_id is a text that is not blank, or null'
                when coalesce(t ->> 'kind', '') not in ('fill', 'entry', 'other')
                    then 'kind is fill, entry or other'
                when not recon.is_instant(t -> 'at') then 'at is an instant with a time zone'
                when not recon.is_absent(t -> 'balance_after')
                    and not recon.is_amount(t -> 'balance_after')
                    then 'balance_after is a decimal string or null'
                when t ->> 'kind' = 'entry' then case
                    when coalesce(t ->> 'entry_kind', '') not in (
                        'deposit', 'withdrawal', 'realized_pnl', 'commission',
                        'financing', 'dividend', 'credit', 'adjustment'
                    ) then 'entry_kind is a kind of api.record_entry'
                    when not recon.is_amount(t -> 'amount') then 'amount is a decimal string'
                end
                when t ->> 'kind' = 'fill' then case
                    when not recon.is_word(t -> 'symbol') then 'a fill has a symbol'
                    when coalesce(t ->> 'side', '') not in ('buy', 'sell')
                        then 'a fill''s side is buy or sell'
                    when not recon.is_positive(t -> 'quantity')
                        then 'a fill''s quantity is a decimal string above zero'
                    when not recon.is_positive(t -> 'price')
                        then 'a fill''s price is a decimal string above zero'
                    when exists (
                        select from unnest(array[
                            'commission', 'financing', 'realized_pnl', 'amount', 'opened_quantity'
                        ]) member
                        where not recon.is_absent(t -> member)
                          and not recon.is_amount(t -> member)
                    ) then 'commission, financing, realized_pnl, amount and opened_quantity are '
                           'decimal strings or null'
                    when p_account.position_mode = 'hedging'
                        and recon.is_absent(t -> 'opened_quantity')
                        then 'a fill of a hedging account has opened_quantity'
                end
            end as problem
        ) checked
        where problem is not null
        limit 1;
    end if;
    if v_problem is not null then
        raise exception 'transactions of the broker are not usable'
            using errcode = 'TM403',
                  detail = format(
                      'account_id: %s, transaction: %s', p_account.account_id,
                      left(coalesce(v_transaction, p_transactions)::text, 400)
                  ),
                  hint = format('It must hold that %s.', v_problem);
    end if;
end
$$;

comment on function recon.check_transactions is
    'Raises an error for transactions that cannot be compared with the account.';

-- Numbers count as numbers, other ids by when they happened.
create or replace function recon.comes_after(
    p_transaction_id text, p_other_id text, p_is_later boolean
) returns boolean
language sql immutable parallel safe
return case
    when p_transaction_id ~ '^[0-9]+$' and p_other_id ~ '^[0-9]+$'
        then p_transaction_id::numeric > p_other_id::numeric
    else p_transaction_id <> p_other_id and p_is_later
end;

comment on function recon.comes_after is 'Whether a transaction comes after another one.';
grant execute on function recon.is_amount, recon.is_positive, recon.is_absent, recon.is_instant,
    recon.is_word, recon.comes_after to public;

comment on table recon.broker_snapshots is
    'Answers of brokers as they came, also those that were not usable.';
comment on table recon.broker_transactions is
    'Bookings of brokers, each once. A settled one agrees with the fill or entry that it names.';
