-- Roll-ups on the Apache edition: tables that closing goes on with and triggers keep true, and a
-- live tail.

-- The query for a table of roll-ups, where no aggregate has to serve other queries too.
create or replace function equity.table_query(
    p_grain text, p_source text, p_where text
) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_grain <> '1m' then
        return equity.rollup_query(p_grain, p_source, p_where);
    end if;
    return format(
        $query$
        select (m.minute).*
        from (
            select equity.roll_up_minute(array_agg(b order by b.bucket_at, b.part)) as minute
            from %s b
            where %s
            group by account_id, date_trunc('minute', bucket_at, 'UTC')
            offset 0  -- each minute once
        ) m
        $query$,
        p_source, p_where
    );
end
$$;

comment on function equity.table_query is
    'The query that makes roll-ups of a grain of finer ones, as equity.rollup_query, for a table.';

-- Locks: the rows of equity.rollups_<grain>; the caller holds equity.rollup_clock.
create or replace function equity.redo_rollups(
    p_grain text, p_source text, p_account_ids bigint[], p_buckets timestamptz[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
-- @plpgsql_check_options: security_warnings = off
declare
    v_from timestamptz;
    v_to timestamptz;
    v_account_ids bigint[];
    v_where text := '
        account_id = any ($1) and bucket_at >= $2 and bucket_at < $3
        and (account_id, public.time_bucket(%L::interval, bucket_at)) in (
            select account_id, bucket_at from unnest($4, $5) touched (account_id, bucket_at)
        )';
begin
    select min(t.bucket_at), max(t.bucket_at) + equity.rollup_width(p_grain),
           array_agg(distinct t.account_id)
    into v_from, v_to, v_account_ids
    from unnest(p_account_ids, p_buckets) t (account_id, bucket_at);

    v_where := format(v_where, equity.rollup_width(p_grain));
    execute format('delete from equity.%I where %s', 'rollups_' || p_grain, v_where)
    using v_account_ids, v_from, v_to, p_account_ids, p_buckets;
    execute format(
        'insert into equity.%I %s',
        'rollups_' || p_grain, equity.table_query(p_grain, p_source, v_where)
    )
    using v_account_ids, v_from, v_to, p_account_ids, p_buckets;
end
$$;

comment on function equity.redo_rollups is
    'Makes these buckets of these accounts anew from the finer bars.';

-- Account by account, since indexes begin with it: a day of bars is not read for each minute.
-- A query that was planned before a chunk was made does not read it, and would miss what the clock
-- says is there. So a new chunk is shown when no such query is left: they hold the table.
-- Locks: equity.rollup_clock, in the caller; the table, where it gets a chunk.
-- Raises: lock_not_available where queries hold the table for too long.
create or replace function equity.roll_up(
    p_grain text, p_source text, p_from timestamptz, p_to timestamptz
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
set max_parallel_workers_per_gather = 0
set lock_timeout = '100ms'  -- queries that come wait as long
as $$
-- @plpgsql_check_options: security_warnings = off
declare
    v_table constant regclass := 'equity.rollups_' || p_grain;
    v_chunks constant bigint := (select count(*) from pg_inherits where inhparent = v_table);
begin
    execute format(
        'insert into %s %s',
        v_table,
        equity.table_query(
            p_grain, p_source,
            'account_id in (select c.account_id from equity.curves c)'
            ' and bucket_at >= $1 and bucket_at < $2'
        )
    )
    using p_from, p_to;
    if (select count(*) from pg_inherits where inhparent = v_table) > v_chunks then
        execute format('lock table only %s in access exclusive mode', v_table);
    end if;
end
$$;

comment on function equity.roll_up is 'Makes the buckets of a stretch that has none yet.';

-- Rolls up the full buckets of the finest grain that has any, in a transaction of its own: no
-- closing waits for it, and until then such buckets are made when they are read. False when there
-- is none, or while someone writes bars or reads for long what gets a new chunk.
-- Locks: equity.rollup_clock; the table of the grain, where it gets a chunk.
create or replace function equity.roll_up_next() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_clock equity.rollup_clock;
    v_closed_to constant timestamptz := (select closed_to from equity.curve_clock);
    v_to timestamptz;
begin
    select * into v_clock from equity.rollup_clock for no key update skip locked;
    if not found or v_closed_to = '-infinity' then
        return false;
    end if;

    v_to := date_trunc('minute', v_closed_to, 'UTC');
    if v_to > v_clock.to_1m then
        perform equity.roll_up('1m', 'equity.curve_bars', v_clock.to_1m, v_to);
        update equity.rollup_clock set to_1m = v_to;
        return true;
    end if;
    v_to := date_trunc('hour', v_clock.to_1m, 'UTC');
    if v_to > v_clock.to_1h then
        perform equity.roll_up('1h', 'equity.rollups_1m', v_clock.to_1h, v_to);
        update equity.rollup_clock set to_1h = v_to;
        return true;
    end if;
    v_to := date_trunc('day', v_clock.to_1h, 'UTC');
    if v_to > v_clock.to_1d then
        perform equity.roll_up('1d', 'equity.rollups_1h', v_clock.to_1d, v_to);
        update equity.rollup_clock set to_1d = v_to;
        return true;
    end if;
    return false;
exception
    when lock_not_available then
        return false;
end
$$;

comment on function equity.roll_up_next is
    'Rolls up the full buckets of one grain, as far as bars are closed, on the Apache edition; '
    'false when there are none.';

-- What a statement adds, changes or takes away behind the clock changes the buckets that it
-- touches. Whoever writes bars keeps the clock until commit, so that no bucket is made without bars
-- that another session is about to commit.
create or replace function equity.tg_roll_up_bars() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
set work_mem = '64MB'
as $$
declare
    v_first timestamptz;
    v_clock equity.rollup_clock;
    v_account_ids bigint[];
    v_buckets timestamptz[];
begin
    select min(b.bucket_at) into v_first from changed_bars b;
    if v_first is null then
        return null;
    end if;
    select * into v_clock from equity.rollup_clock for no key update;
    if v_first >= v_clock.to_1m then
        return null;
    end if;

    select array_agg(t.account_id), array_agg(t.bucket_at)
    into v_account_ids, v_buckets
    from (
        select distinct b.account_id, date_trunc('minute', b.bucket_at, 'UTC') as bucket_at
        from changed_bars b
        where b.bucket_at >= v_clock.kept_from and b.bucket_at < v_clock.to_1m
    ) t;
    if v_buckets is not null then
        perform equity.redo_rollups('1m', 'equity.curve_bars', v_account_ids, v_buckets);
    end if;

    select array_agg(t.account_id), array_agg(t.bucket_at)
    into v_account_ids, v_buckets
    from (
        select distinct m.account_id, date_trunc('hour', m.bucket_at, 'UTC') as bucket_at
        from unnest(v_account_ids, v_buckets) m (account_id, bucket_at)
        where m.bucket_at < v_clock.to_1h
    ) t;
    if v_buckets is not null then
        perform equity.redo_rollups('1h', 'equity.rollups_1m', v_account_ids, v_buckets);
    end if;

    select array_agg(t.account_id), array_agg(t.bucket_at)
    into v_account_ids, v_buckets
    from (
        select distinct h.account_id, date_trunc('day', h.bucket_at, 'UTC') as bucket_at
        from unnest(v_account_ids, v_buckets) h (account_id, bucket_at)
        where h.bucket_at < v_clock.to_1d
    ) t;
    if v_buckets is not null then
        perform equity.redo_rollups('1d', 'equity.rollups_1h', v_account_ids, v_buckets);
    end if;
    return null;
end
$$;

comment on function equity.tg_roll_up_bars is
    'Keeps the roll-ups of the Apache edition true to bars that change behind the clock.';

-- Immutable is what the planner must believe, to leave out the chunks before it, for a live tail
-- would else be planned with every chunk there is. A plan that is kept with an older value stays
-- right, since the clock only goes forward and each view compares with the clock as well.
create or replace function api.rolled_up_before(p_grain text) returns timestamptz
language sql immutable
security definer  -- views call it as whoever reads them
set search_path = pg_catalog, pg_temp
begin atomic
    select case p_grain when '1m' then c.to_1m when '1h' then c.to_1h when '1d' then c.to_1d end
    from equity.rollup_clock c;
end;

comment on function api.rolled_up_before is
    'Up to where bars are rolled up for a grain (1m, 1h or 1d), on the Apache edition.';

grant execute on function api.rolled_up_before to public;

create or replace function equity.set_up_apache() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    create or replace trigger curve_bars_after_insert_roll_up
        after insert on equity.curve_bars
        referencing new table as changed_bars
        for each statement execute function equity.tg_roll_up_bars();
    create or replace trigger curve_bars_after_update_roll_up
        after update on equity.curve_bars
        referencing new table as changed_bars
        for each statement execute function equity.tg_roll_up_bars();
    create or replace trigger curve_bars_after_delete_roll_up
        after delete on equity.curve_bars
        referencing old table as changed_bars
        for each statement execute function equity.tg_roll_up_bars();

    create or replace procedure equity.refresh_aggregate(
        p_aggregate regclass, p_from timestamptz, p_to timestamptz
    )
    language plpgsql
    as $body$
    -- @plpgsql_check_options: extra_warnings = off
    begin
        null;
    end
    $body$;
    comment on procedure equity.refresh_aggregate is
        'Nothing: there are no continuous aggregates on the Apache edition.';

    perform equity.show_rollups(g.grain, equity.rollup_query(
        g.grain, g.source,
        format(
            'bucket_at >= (select %I from equity.rollup_clock)'
            ' and bucket_at >= api.rolled_up_before(%L)',
            'to_' || g.grain, g.grain
        )
    ))
    from (values
        ('1m', 'equity.curve_bars'), ('1h', 'equity.curve_1m'), ('1d', 'equity.curve_1h')
    ) g (grain, source);
end
$$;

comment on function equity.set_up_apache is
    'Lets triggers keep the roll-ups true, each with a live tail from where they end.';
