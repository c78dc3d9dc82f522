-- The dashboard's messages, made where the numbers are: every amount becomes a decimal string here,
-- since a driver would read a JSON number as a float. The shapes are those of glue/wire.py.

create or replace function relay.iso(p_instant timestamptz) returns text
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
return to_char(p_instant at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

comment on function relay.iso is 'ISO 8601 in UTC, with microseconds.';

create or replace function relay.fill_json(p_fill api.fills) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'fill_id', p_fill.fill_id,
        'event_seq', p_fill.event_seq,
        'symbol', p_fill.symbol,
        'side', p_fill.side,
        'quantity', p_fill.quantity::text,
        'price', p_fill.price::text,
        'effect', p_fill.effect,
        'realized_pnl', p_fill.realized_pnl::text,
        'commission', p_fill.commission::text,
        'event_at', relay.iso(p_fill.event_at),
        'recorded_at', relay.iso(p_fill.recorded_at),
        'external_id', p_fill.external_id
    );
$$;

comment on function relay.fill_json is 'A fill as the page reads it.';

create or replace function relay.state_json(p_state api.account_states) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'account_id', a.account_id,
        'name', a.name,
        'currency', a.currency,
        'position_mode', a.position_mode,
        'balance', p_state.balance::text,
        'credit', p_state.credit::text,
        'unrealized_pnl', p_state.unrealized_pnl::text,
        'equity', p_state.equity::text,
        'margin_equity', p_state.margin_equity::text,
        'margin_used', p_state.margin_used::text,
        'margin_available', p_state.margin_available::text,
        'margin_level', p_state.margin_level::text,
        'is_priced', p_state.is_priced,
        'priced_at', relay.iso(p_state.priced_at),
        'version', p_state.version,
        'updated_at', relay.iso(p_state.updated_at)
    )
    from ledger.accounts a
    where a.account_id = p_state.account_id;
$$;

comment on function relay.state_json is 'An account''s state as the page reads it.';

create or replace function relay.positions_json(p_account_id bigint) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'symbol', symbol,
        'quote_currency', quote_currency,
        'side', side,
        'quantity', quantity::text,
        'average_price', average_price::text,
        'price', price::text,
        'unrealized_pnl', unrealized_pnl::text,
        'unrealized_pnl_quote', unrealized_pnl_quote::text,
        'conversion_rate', conversion_rate::text,
        'margin_used', margin_used::text,
        'is_priced', is_priced,
        'priced_at', relay.iso(priced_at)
    ) order by symbol, side), '[]')
    from api.positions
    where account_id = p_account_id;
$$;

comment on function relay.positions_json is 'An account''s open positions as the page reads them.';

-- All that a page needs to start, from one snapshot of the database.
create or replace function api.portfolio_snapshot(p_account_ids bigint[]) returns jsonb
language sql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'as_of', relay.iso(clock_timestamp()),
        'accounts', coalesce(jsonb_agg(jsonb_build_object(
            'account_id', s.account_id,
            'event_seq', a.last_event_seq,
            'state', relay.state_json(s),
            'positions', relay.positions_json(s.account_id),
            'fills', fills.latest
        ) order by s.account_id), '[]')
    )
    from api.account_states s
    join ledger.accounts a using (account_id)
    cross join lateral (
        select coalesce(jsonb_agg(relay.fill_json(f) order by f.event_seq desc), '[]') as latest
        from (
            select * from api.fills where account_id = s.account_id order by event_seq desc limit 50
        ) f
    ) fills
    where s.account_id = any (p_account_ids);
$$;

comment on function api.portfolio_snapshot is
    'Everything that a page needs to start, of these accounts: '
    'state, open positions and the last 50 fills; amounts are decimal strings.';

-- What differs from what the relay holds of these accounts: a row for each account with another
-- version, with the fills after the event number held, oldest first. One snapshot of the database.
-- A version below the one held says that the database was set back: a crash takes commits with it
-- that did not wait for the disk.
create or replace function api.portfolio_changes(
    p_account_ids bigint[], p_versions bigint[], p_event_seqs bigint[]
)
returns table (
    account_id bigint,
    version bigint,
    event_seq bigint,
    state text,
    positions text,
    fills text[]
)
language sql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
as $$
    select
        s.account_id,
        s.version,
        a.last_event_seq,
        relay.state_json(s)::text,
        relay.positions_json(s.account_id)::text,
        array(
            select relay.fill_json(f)::text
            from api.fills f
            where f.account_id = s.account_id and f.event_seq > held.event_seq
            order by f.event_seq
        )
    from unnest(p_account_ids, p_versions, p_event_seqs) held (account_id, version, event_seq)
    join equity.account_states hot
        on hot.account_id = held.account_id and hot.version <> held.version
    join api.account_states s on s.account_id = held.account_id
    join ledger.accounts a on a.account_id = held.account_id;
$$;

comment on function api.portfolio_changes is
    'State, positions and new fills, as JSON texts, of those accounts whose version is not the one '
    'held.';

grant execute on function api.portfolio_snapshot, api.portfolio_changes to tidemark_relay;
