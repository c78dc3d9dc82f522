-- The triggers that keep equity.account_states true to ticks, fills and entries. (Component 17.1.)
--
-- Lock order, for every writer: tick statements → prices (alone to move them, shared to book)
-- → ledger.accounts → the rows of equity. A tick statement holds the prices alone, so no booking is
-- under way while states move, and none is priced with a quote that is being replaced.

-- Moves the quotes by a statement's ticks and values every account that they move.
-- Notifies: tidemark_prices. Raises: TM141, TM142, TM203, TM204.
create or replace function equity.tg_value_ticks() returns trigger
language plpgsql
security definer  -- whoever may insert ticks need not be able to write quotes and states
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unknown text;
    v_impossible text;
    v_quotes market.quotes[];
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

    if exists (
        select from new_ticks where event_at < (select announced_to from equity.curve_clock)
    ) then
        perform equity.mark_ticks(array_agg(instrument_id), array_agg(event_at)) from new_ticks;
    end if;

    with newest as (
        select distinct on (instrument_id) *
        from new_ticks
        order by instrument_id, event_at desc, tick_id desc
    )
    select array_agg(
        row(n.instrument_id, n.bid, n.ask, n.event_at, n.received_at, n.tick_id)::market.quotes
    ) into v_quotes
    from newest n join market.quotes q using (instrument_id)
    where q.event_at is null or (n.event_at, n.tick_id) > (q.event_at, q.tick_id);

    if v_quotes is not null then
        perform equity.move_prices(v_quotes);
        perform pg_notify('tidemark_prices', '');
    end if;
    return null;
end
$$;

comment on function equity.tg_value_ticks is
    'Moves quotes and conversion rates by new ticks and values the accounts that they move.';

create or replace trigger ticks_after_insert_value_ticks
    after insert on market.ticks
    referencing new table as new_ticks
    for each statement execute function equity.tg_value_ticks();

-- Puts new quotes in force and values what they move. What gets its first price, or a conversion
-- rate that was unknown, may change the path of any conversion: then all is valued exactly. Beyond
-- a quarter of all instruments or classes of legs, valuing all accounts anew costs less than their
-- changes, and bookings go on, at the prices before, while it is computed.
-- Locks: as its caller, then quotes and rates, which only tick statements write; prices; states.
create or replace function equity.move_prices(p_quotes market.quotes[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_instrument_ids bigint[] := array(select instrument_id from unnest(p_quotes));
    v_changes_paths boolean := exists (
        select from market.quotes where instrument_id = any (v_instrument_ids) and bid is null
    );
    v_moves_many boolean := equity.moves_many(v_instrument_ids);
    v_class_ids int[];
    v_before equity.priced_classes[];
begin
    if v_changes_paths or not v_moves_many then
        perform market.lock_prices_to_move();
        perform equity.classify_legs();
        v_class_ids := equity.classes_priced_by(v_instrument_ids);
        v_before := equity.price_classes(v_class_ids);
    end if;

    perform market.move_quotes(p_quotes);
    if v_changes_paths then
        perform market.choose_conversion_paths();
    else
        v_changes_paths := market.move_conversion_rates(v_instrument_ids);
    end if;

    if v_changes_paths then
        perform market.lock_prices_to_move();
        perform equity.value_accounts(array(select distinct account_id from ledger.positions));
    elsif v_moves_many then
        perform equity.value_all_accounts();
    else
        perform equity.value_by_change(v_before, equity.price_classes(v_class_ids));
    end if;
end
$$;

comment on function equity.move_prices is
    'Puts these quotes in force, with the conversion rates through them, '
    'and values every account that they move.';

-- Gives these accounts' states a new version. Notifies: tidemark_account.
create or replace function equity.touch_states(p_account_ids bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update equity.account_states
    set version = version + 1, updated_at = clock_timestamp()
    where account_id = any (p_account_ids);

    perform pg_notify('tidemark_account', account_id::text)
    from unnest(p_account_ids) account_id;
end
$$;

comment on function equity.touch_states is
    'Gives account states a new version, for whoever watches them.';

-- Moves the account's state by the change of the one position that a fill changed.
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

    perform equity.set_legs(array(select f::ledger.fills from new_fills f));
    perform equity.mark_bookings(array_agg(account_id), array_agg(event_at), 'late fill')
    from new_fills;
    perform pg_notify('tidemark_account', account_id::text)
    from (select distinct account_id from new_fills) changed;
    return null;
end
$$;

comment on function equity.tg_value_fills is
    'Moves account states and legs by what new fills changed of their positions.';

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
    perform equity.touch_states(array(select distinct account_id from new_entries));
    perform equity.mark_bookings(array_agg(account_id), array_agg(event_at), 'late entry')
    from new_entries
    where fill_id is null;
    return null;
end
$$;

comment on function equity.tg_version_entries is
    'Gives account states a new version when entries move their balance.';

create or replace trigger entries_after_insert_version_entries
    after insert on ledger.entries
    referencing new table as new_entries
    for each statement execute function equity.tg_version_entries();

-- Every account has a state and a curve from the moment that it is opened.
create or replace function equity.tg_open_state() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into equity.account_states (account_id, money_scale)
    select account_id, money_scale from new_accounts;
    insert into equity.curves (account_id) select account_id from new_accounts;
    return null;
end
$$;

comment on function equity.tg_open_state is 'Makes state and curve of a new account.';

create or replace trigger accounts_after_insert_open_state
    after insert on ledger.accounts
    referencing new table as new_accounts
    for each statement execute function equity.tg_open_state();
