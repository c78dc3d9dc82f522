-- The triggers that keep equity.account_states true to ticks, fills and entries. (Component 17.1.)
--
-- Lock order, for every writer: tick statements (advisory) → market.quotes
-- → market.conversion_rates → ledger.accounts → equity.account_states. A fill holds its quote and
-- its conversion rate FOR SHARE: it can not be priced with a quote that a tick is replacing.

-- Moves the quotes by a statement's ticks and values every account that they move.
-- Notifies: tidemark_prices. Raises: TM203, TM204.
create or replace function equity.tg_value_ticks() returns trigger
language plpgsql
security definer  -- whoever may insert ticks need not be able to write quotes and states
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unknown text;
    v_impossible text;
    v_moved bigint[];
    v_has_first_quote boolean;
    v_from_currencies text[];
    v_to_currencies text[];
begin
    perform market.lock_tick_statements();

    select string_agg(distinct t.instrument_id::text, ', ') into v_unknown
    from new_ticks t left join market.quotes q using (instrument_id)
    where q.instrument_id is null;
    if v_unknown is not null then
        raise exception 'tick of an unknown instrument'
            using errcode = 'TM203', detail = format('instrument_id: %s', v_unknown),
                  hint = 'api.instruments lists the instruments; api.upsert_instrument makes one.';
    end if;

    -- What api.ingest_ticks rejects, for those who insert: a quote never moves back in time, so
    -- a tick of tomorrow would keep all others out until then.
    select string_agg(distinct t.event_at::text, ', ') into v_impossible
    from new_ticks t
    where t.event_at < '1970-01-01' or t.event_at > clock_timestamp() + interval '1 minute';
    if v_impossible is not null then
        raise exception 'tick of an impossible time'
            using errcode = 'TM204', detail = format('event_at: %s', v_impossible),
                  hint = 'It must be an instant from 1970 to now, and at most a minute ahead.';
    end if;

    with newest as (
        select distinct on (instrument_id) *
        from new_ticks
        order by instrument_id, event_at desc, tick_id desc
    ),
    moving as (
        select n.*, q.bid is null as is_first
        from newest n join market.quotes q using (instrument_id)
        where q.event_at is null or (n.event_at, n.tick_id) > (q.event_at, q.tick_id)
    ),
    moved as (
        update market.quotes q
        set bid = m.bid, ask = m.ask,
            event_at = m.event_at, received_at = m.received_at, tick_id = m.tick_id
        from moving m
        where q.instrument_id = m.instrument_id
        returning q.instrument_id, m.is_first
    )
    select array_agg(instrument_id), bool_or(is_first) into v_moved, v_has_first_quote from moved;
    if v_moved is null then
        return null;
    end if;

    if v_has_first_quote then
        perform market.choose_conversion_paths();
        perform equity.value_accounts(array(select distinct account_id from ledger.positions));
    else
        select array_agg(from_currency), array_agg(to_currency)
        into v_from_currencies, v_to_currencies
        from market.move_conversion_rates(v_moved);
        perform equity.value_accounts(
            equity.accounts_moved_by(v_moved, v_from_currencies, v_to_currencies)
        );
    end if;

    perform pg_notify('tidemark_prices', '');
    return null;
end
$$;

comment on function equity.tg_value_ticks is
    'Moves quotes and conversion rates by new ticks and values the accounts that they move.';

create or replace trigger ticks_after_insert_value_ticks
    after insert on market.ticks
    referencing new table as new_ticks
    for each statement execute function equity.tg_value_ticks();

-- Moves the account's state by the change of the one position that a fill changed. The fill's
-- writer holds the quote and the rate FOR SHARE and the account's row.
-- Notifies: tidemark_account.
create or replace function equity.tg_value_fills() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    with changes as (
        select f.account_id,
               v.value_before, v.value_after,
               f.quantity_after - f.quantity_change <> 0 and v.value_before is null as was_unpriced,
               f.quantity_after <> 0 and v.value_after is null as is_unpriced
        from new_fills f
        join ledger.accounts a using (account_id)
        join market.instruments i using (instrument_id)
        join market.quotes q using (instrument_id)
        left join market.conversion_rates c
            on c.from_currency = i.quote_currency and c.to_currency = a.currency
        cross join lateral (
            select
                equity.to_account_currency(equity.pnl_quote(
                    f.quantity_after - f.quantity_change, f.cost_after - f.cost_change,
                    i.contract_size, q.bid, q.ask
                ), c.rate, a.money_scale) as value_before,
                equity.to_account_currency(equity.pnl_quote(
                    f.quantity_after, f.cost_after, i.contract_size, q.bid, q.ask
                ), c.rate, a.money_scale) as value_after
        ) v
    )
    update equity.account_states s
    set unrealized_pnl = s.unrealized_pnl + d.unrealized_pnl,
        unpriced_positions = s.unpriced_positions + d.unpriced_positions,
        version = s.version + 1, updated_at = clock_timestamp()
    from (
        select account_id,
               sum(coalesce(value_after, 0) - coalesce(value_before, 0)) as unrealized_pnl,
               sum(is_unpriced::int - was_unpriced::int) as unpriced_positions
        from changes
        group by account_id
    ) d
    where s.account_id = d.account_id;

    perform pg_notify('tidemark_account', account_id::text)
    from (select distinct account_id from new_fills) changed;
    return null;
end
$$;

comment on function equity.tg_value_fills is
    'Moves account states by what new fills changed of their positions.';

create or replace trigger fills_after_insert_value_fills
    after insert on ledger.fills
    referencing new table as new_fills
    for each statement execute function equity.tg_value_fills();

-- Balance and credit are read from the account; its state gets a new version.
-- Notifies: tidemark_account.
create or replace function equity.tg_version_entries() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update equity.account_states s
    set version = s.version + 1, updated_at = clock_timestamp()
    from (select distinct account_id from new_entries) changed
    where s.account_id = changed.account_id;

    perform pg_notify('tidemark_account', account_id::text)
    from (select distinct account_id from new_entries) changed;
    return null;
end
$$;

comment on function equity.tg_version_entries is
    'Gives account states a new version when entries move their balance.';

create or replace trigger entries_after_insert_version_entries
    after insert on ledger.entries
    referencing new table as new_entries
    for each statement execute function equity.tg_version_entries();

-- Every account has a state from the moment that it is opened.
create or replace function equity.tg_open_state() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.account_states (account_id) select account_id from new_accounts;
    return null;
end
$$;

comment on function equity.tg_open_state is 'Makes the state of a new account.';

create or replace trigger accounts_after_insert_open_state
    after insert on ledger.accounts
    referencing new table as new_accounts
    for each statement execute function equity.tg_open_state();
