-- The dashboard's messages, made where the numbers are: every amount becomes a decimal string here,
-- since a driver would read a JSON number as a float. The shapes are those of glue/wire.py.
-- The first two functions are bound when they are created and pin no search_path: pinned, they
-- could not be inlined. The others are PL/pgSQL and forced to generic plans: a relay asks twenty
-- times a second, and planning anew takes longer than running.

create or replace function relay.iso(p_instant timestamptz) returns text
language sql stable strict parallel safe
return to_char(p_instant at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

comment on function relay.iso is 'ISO 8601 in UTC, with microseconds.';

create or replace function relay.fill_json(p_fill api.fills) returns jsonb
language sql stable
return jsonb_build_object(
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

comment on function relay.fill_json is 'A fill as the page reads it.';

create or replace function relay.portfolios(p_account_ids bigint[])
returns table (account_id bigint, version bigint, event_seq bigint, state json, positions json)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    select
        s.account_id,
        s.version,
        a.last_event_seq,
        json_build_object(
            'account_id', s.account_id,
            'name', a.name,
            'currency', s.currency,
            'position_mode', a.position_mode,
            'balance', s.balance::text,
            'credit', s.credit::text,
            'unrealized_pnl', s.unrealized_pnl::text,
            'equity', s.equity::text,
            'margin_equity', s.margin_equity::text,
            'margin_used', s.margin_used::text,
            'margin_available', s.margin_available::text,
            'margin_level', s.margin_level::text,
            'is_priced', s.is_priced,
            'priced_at', relay.iso(s.priced_at),
            'version', s.version,
            'updated_at', relay.iso(s.updated_at)
        ),
        coalesce(p.positions, '[]')
    from api.account_states s
    join ledger.accounts a on a.account_id = s.account_id
    left join (
        select
            account_id,
            json_agg(json_build_object(
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
            ) order by symbol, side) as positions
        from api.positions
        where account_id = any (p_account_ids)
        group by account_id
    ) p on p.account_id = s.account_id
    where s.account_id = any (p_account_ids)
    order by s.account_id;
end
$$;

comment on function relay.portfolios is
    'State and open positions of these accounts, as the page reads them.';

-- All that a page needs to start, from one snapshot of the database.
create or replace function api.portfolio_snapshot(p_account_ids bigint[]) returns jsonb
language plpgsql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
    return jsonb_build_object(
        'as_of', relay.iso(clock_timestamp()),
        'accounts', (
            select coalesce(jsonb_agg(jsonb_build_object(
                'account_id', p.account_id,
                'event_seq', p.event_seq,
                'state', p.state,
                'positions', p.positions,
                'fills', fills.latest
            ) order by p.account_id), '[]')
            from relay.portfolios(p_account_ids) p
            cross join lateral (
                select coalesce(jsonb_agg(relay.fill_json(f) order by f.event_seq desc), '[]')
                           as latest
                from (
                    select * from api.fills
                    where account_id = p.account_id
                    order by event_seq desc
                    limit 50
                ) f
            ) fills
        )
    );
end
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
language plpgsql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_changed bigint[] := array(
        select held.account_id
        from unnest(p_account_ids, p_versions) held (account_id, version)
        join equity.account_states hot
            on hot.account_id = held.account_id and hot.version <> held.version
    );
begin
    if cardinality(v_changed) = 0 then
        return;
    end if;
    return query
    select
        p.account_id,
        p.version,
        p.event_seq,
        p.state::text,
        p.positions::text,
        array(
            select relay.fill_json(f)::text
            from api.fills f
            where f.account_id = p.account_id and f.event_seq > held.event_seq
            order by f.event_seq
        )
    from relay.portfolios(v_changed) p
    join unnest(p_account_ids, p_event_seqs) held (account_id, event_seq)
        on held.account_id = p.account_id;
end
$$;

comment on function api.portfolio_changes is
    'State, positions and new fills, as JSON texts, '
    'of those accounts whose version is not the one held.';

grant execute on function api.portfolio_snapshot, api.portfolio_changes to tidemark_relay;
