-- Stores the broker's bookings that are new, each once, and how far the account is read.
-- The financing that comes with a fill is a booking of its own.
-- The caller holds the row of recon.accounts. Raises: TM403, TM404.
create or replace function recon.store_transactions(
    p_account_id bigint, p_snapshot jsonb, p_transactions jsonb, p_since text
) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_terms recon.accounts;
    v_told recon.broker_transactions;
    v_stored int;
    v_last text := coalesce(
        p_transactions -> -1 ->> 'transaction_id', p_since, p_snapshot ->> 'transaction_id'
    );
begin
    select * into strict v_terms from recon.accounts where account_id = p_account_id;
    if v_terms.compared_from is not null
        and p_since is not null and p_since <> v_terms.last_transaction_id
        and not exists (
            select from recon.broker_transactions
            where account_id = p_account_id and transaction_id = p_since
        )
        and recon.comes_after(p_since, v_terms.last_transaction_id, true)
        or recon.comes_after(
            p_snapshot ->> 'transaction_id', v_last, jsonb_array_length(p_transactions) = 0
        ) then
        raise exception 'transactions do not follow the ones seen last'
            using errcode = 'TM404',
                  detail = format(
                      'account_id: %s, seen last: %s, asked for since: %s, reaching to: %s, '
                      'snapshot at: %s', p_account_id, v_terms.last_transaction_id,
                      p_since, v_last, p_snapshot ->> 'transaction_id'
                  ),
                  hint = 'Ask the broker for all transactions after last_transaction_id of '
                         'api.accounts_to_reconcile, up to the snapshot''s.';
    end if;

    with told as (
        select t, place, t ->> 'kind' as kind, t ->> 'transaction_id' as transaction_id,
               coalesce(t ->> 'external_id', t ->> 'transaction_id') as external_id,
               (t ->> 'at')::timestamptz as event_at
        from jsonb_array_elements(p_transactions) with ordinality e (t, place)
    ),
    fills as (
        select transaction_id, external_id, event_at, place,
               t ->> 'symbol' as symbol,
               t ->> 'side' as side,
               (t ->> 'quantity')::numeric as quantity,
               (t ->> 'opened_quantity')::numeric as opened_quantity,
               (t ->> 'price')::numeric as price,
               coalesce((t ->> 'commission')::numeric, 0) as commission,
               coalesce((t ->> 'financing')::numeric, 0) as financing,
               (t ->> 'realized_pnl')::numeric as realized_pnl,
               (t ->> 'amount')::numeric as amount,
               (t ->> 'balance_after')::numeric as balance_after
        from told
        where kind = 'fill'
    ),
    bookings as (
        select transaction_id, external_id, 'fill' as kind, event_at,
               symbol, side, quantity, opened_quantity, price, commission,
               coalesce(realized_pnl, amount + commission, 0) as realized_pnl,
               null as entry_kind,
               coalesce(realized_pnl - commission, amount, -commission) as amount,
               balance_after, place
        from fills
        union all
        select transaction_id, external_id || '/financing', 'entry', event_at,
               null, null, null, null, null, null, null, 'financing', financing, null, place
        from fills
        where financing <> 0
        union all
        select transaction_id, external_id, 'entry', event_at,
               null, null, null, null, null, null, null,
               t ->> 'entry_kind', (t ->> 'amount')::numeric, (t ->> 'balance_after')::numeric,
               place
        from told
        where kind = 'entry'
        union all
        select transaction_id, external_id, 'other', event_at,
               null, null, null, null, null, null, null, null, 0, null, place
        from told
        where kind = 'other'
    ),
    stored as (
        insert into recon.broker_transactions as t (
            account_id, external_id, transaction_id, kind, event_at, symbol, side, quantity,
            opened_quantity, price, commission, realized_pnl, entry_kind, amount, balance_after,
            is_settled
        )
        select p_account_id, external_id, transaction_id, kind, event_at, symbol, side, quantity,
               opened_quantity, price, commission, realized_pnl, entry_kind, amount,
               balance_after, kind = 'other'
        from bookings
        order by place
        on conflict (account_id, external_id) do nothing
        returning t.external_id
    )
    select count(*) into v_stored from stored;

    select t.* into v_told
    from jsonb_array_elements(p_transactions) e
    join recon.broker_transactions t
        on t.account_id = p_account_id
        and t.external_id = coalesce(e ->> 'external_id', e ->> 'transaction_id')
    where case e ->> 'kind'
        when 'fill' then (t.kind, t.symbol, t.side, t.quantity, t.price) is distinct from (
            'fill', e ->> 'symbol', e ->> 'side', (e ->> 'quantity')::numeric,
            (e ->> 'price')::numeric
        )
        when 'entry' then (t.kind, t.amount) is distinct from (
            'entry', (e ->> 'amount')::numeric
        )
        else t.kind <> 'other'
    end
    limit 1;
    if found then
        raise exception 'transactions of the broker are not usable'
            using errcode = 'TM403',
                  detail = format(
                      'account_id: %s, external_id: %s, told before: %s', p_account_id,
                      v_told.external_id, to_jsonb(v_told)
                  ),
                  hint = 'It must hold that an external_id names one booking, told alike each '
                         'time.';
    end if;

    -- what was booked before the first answer is history, where that did not ask for all
    if v_terms.compared_from is null then
        v_terms.compared_from := case when p_since is null then '-infinity'
            else (p_snapshot ->> 'taken_at')::timestamptz end;
        v_terms.compared_after_id := p_since;
        select coalesce(max(event_seq), 0) into v_terms.settled_event_seq
        from ledger.fills
        where account_id = p_account_id
          and recorded_at < v_terms.compared_from - interval '1 minute';
        select coalesce(max(entry_id), 0) into v_terms.settled_entry_id
        from ledger.entries
        where account_id = p_account_id
          and recorded_at < v_terms.compared_from - interval '1 minute';
    end if;
    update recon.accounts
    set last_transaction_id = case
            when last_transaction_id is null
                or recon.comes_after(v_last, last_transaction_id, true)
                then v_last
            else last_transaction_id
        end,
        compared_from = v_terms.compared_from,
        compared_after_id = v_terms.compared_after_id,
        settled_event_seq = v_terms.settled_event_seq,
        settled_entry_id = v_terms.settled_entry_id
    where account_id = p_account_id;
    return v_stored;
end
$$;

comment on function recon.store_transactions is
    'Stores the broker''s bookings that are new and returns how many, and moves on the account''s '
    'last transaction.';
