-- Books what the ledger lacks of the broker's transactions, in the broker's order and under its
-- ids: each that has an open discrepancy, if the account allows it. Amounts are rounded to the
-- account's money scale. What cannot be booked stays open, with the reason in its evidence.
-- The caller holds the row of recon.accounts and the account's lock.
create or replace function recon.repair(
    p_account ledger.accounts, p_bookings recon.bookings[], p_run text
) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_due record;
    v_transaction recon.broker_transactions;
    v_outcome jsonb;
    v_repaired int := 0;
    v_problem text;
begin
    for v_due in
        select t as transaction, d.discrepancy_id
        from unnest(p_bookings) b
        join recon.broker_transactions t
            on t.account_id = p_account.account_id and t.external_id = b.external_id
        join recon.discrepancies d
            on d.account_id = p_account.account_id and d.resolved_at is null
            and d.subject = format('%s %s', b.kind, b.external_id)
        where b.standing = 'missing'
        order by t.event_at, length(t.transaction_id), t.transaction_id, t.external_id
    loop
        v_transaction := v_due.transaction;
        begin
            if v_transaction.kind = 'fill' then
                select jsonb_build_object('repaired_as', format('fill %s', f.fill_id))
                into v_outcome
                from api.record_fill(
                    p_account.account_id, v_transaction.symbol, v_transaction.side,
                    v_transaction.quantity, v_transaction.price, v_transaction.event_at,
                    v_transaction.external_id,
                    round(v_transaction.commission, p_account.money_scale),
                    case
                        when p_account.position_mode = 'netting' then 'auto'
                        when v_transaction.opened_quantity > 0 then 'open'
                        else 'close'
                    end
                ) f;
            else
                select jsonb_build_object('repaired_as', format('entry %s', e.entry_id))
                into v_outcome
                from api.record_entry(
                    p_account.account_id, v_transaction.entry_kind,
                    round(v_transaction.amount, p_account.money_scale), v_transaction.event_at,
                    v_transaction.external_id, format('reconciliation: %s', p_run)
                ) e;
            end if;
            v_repaired := v_repaired + 1;
        exception when others then  -- per transaction; what is not ours to explain goes on
            if sqlstate not like 'TM1__' then
                raise;
            end if;
            get stacked diagnostics v_problem = message_text;
            v_outcome := jsonb_build_object(
                'repair_refused', format('%s: %s', sqlstate, v_problem)
            );
        end;
        update recon.discrepancies set evidence = evidence || v_outcome
        where discrepancy_id = v_due.discrepancy_id;
    end loop;
    return v_repaired;
end
$$;

comment on function recon.repair is
    'Books the broker''s transactions that the ledger lacks and returns how many.';
