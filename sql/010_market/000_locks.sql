-- The two locks by which writers keep out of each other's way. Both are held to the end of the
-- transaction, and whoever takes both takes that of the tick statements first. Settings of the
-- transaction's own remember what it holds.
--
-- Prices stand still while somebody books: bookings share the lock of the prices, and a tick
-- statement has it alone from before its first account is valued until it commits. Waiting
-- writers are served in order, so a booking waits for one tick statement at the most, and a tick
-- statement for the bookings under way. Quotes and rates move before it waits: nobody else writes
-- them, and bookings read the ones before until it commits. One lock for all instruments, and not
-- a row lock a quote: a transaction of many bookings holds it from the first on, so it can never
-- close a circle with a tick statement.

-- Raises: TM141.
create or replace function market.refuse_old_snapshots() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transaction could not see what others have just committed'
            using errcode = 'TM141',
                  detail = format(
                      'transaction isolation: %s', current_setting('transaction_isolation')
                  ),
                  hint = 'Write in a transaction of isolation level READ COMMITTED.';
    end if;
end
$$;

comment on function market.refuse_old_snapshots is
    'Raises an error in a transaction whose snapshot may be older than the lock that it waits for.';

-- Who has booked holds the prices that a waiting tick statement wants: were it to wait for that
-- one, both would wait for ever.
-- Raises: TM141, TM142.
create or replace function market.lock_tick_statements() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform market.refuse_old_snapshots();
    if current_setting('tidemark.has_booked', true) = 'yes'
        and current_setting('tidemark.has_ticked', true) is distinct from 'yes' then
        raise exception 'ticks or instruments come after a booking in one transaction'
            using errcode = 'TM142',
                  hint = 'Put them before the bookings, or into a transaction of their own.';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('tidemark ticks', 0));
    perform set_config('tidemark.has_ticked', 'yes', true);
end
$$;

comment on function market.lock_tick_statements is
    'Waits until no other transaction stores ticks, and keeps others out until this one ends.';

create or replace function market.lock_prices_to_move() returns void
language sql
set search_path = pg_catalog, pg_temp
return pg_advisory_xact_lock(hashtextextended('tidemark prices', 0));

comment on function market.lock_prices_to_move is
    'Waits until no other transaction books, and keeps bookings out until this one ends.';

create or replace function market.lock_prices_to_book() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform market.refuse_old_snapshots();
    perform pg_advisory_xact_lock_shared(hashtextextended('tidemark prices', 0));
    perform set_config('tidemark.has_booked', 'yes', true);
end
$$;

comment on function market.lock_prices_to_book is
    'Waits until no other transaction moves prices, and holds them still until this one ends.';
