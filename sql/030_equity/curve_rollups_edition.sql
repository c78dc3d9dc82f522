-- Roll-ups on the edition of TimescaleDB that runs here: continuous aggregates on the community
-- edition, tables that triggers keep and a live tail on the Apache edition.

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
        'rollups_' || p_grain, equity.rollup_query(p_grain, p_source, v_where)
    )
    using v_account_ids, v_from, v_to, p_account_ids, p_buckets;
end
$$;

comment on function equity.redo_rollups is
    'Makes these buckets of these accounts anew from the finer bars.';

-- Locks: equity.rollup_clock, in the caller.
create or replace function equity.roll_up(
    p_grain text, p_source text, p_from timestamptz, p_to timestamptz
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
-- @plpgsql_check_options: security_warnings = off
begin
    execute format(
        'insert into equity.%I %s',
        'rollups_' || p_grain,
        equity.rollup_query(p_grain, p_source, 'bucket_at >= $1 and bucket_at < $2')
    )
    using p_from, p_to;
end
$$;

comment on function equity.roll_up is 'Makes the buckets of a stretch that has none yet.';

-- What a statement adds behind the clock, or takes away there, changes the buckets that it touches;
-- what it adds ahead moves the clock when a minute is full. Whoever writes bars keeps the clock
-- until commit, so that no bucket is made without bars that another session is about to commit.
create or replace function equity.tg_roll_up_bars() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
set work_mem = '64MB'
as $$
declare
    v_first timestamptz;
    v_last timestamptz;
    v_clock equity.rollup_clock;
    v_new equity.rollup_clock;
    v_account_ids bigint[];
    v_buckets timestamptz[];
begin
    select min(b.bucket_at), max(b.bucket_at) into v_first, v_last from changed_bars b;
    if v_first is null then
        return null;
    end if;
    select * into v_clock from equity.rollup_clock for no key update;

    if v_first < v_clock.to_1m then
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
    end if;

    if tg_op = 'INSERT' and v_last >= v_clock.to_1m + interval '1 minute' then
        v_new.to_1m := date_trunc('minute', v_last, 'UTC');
        v_new.to_1h := date_trunc('hour', v_last, 'UTC');
        v_new.to_1d := date_trunc('day', v_last, 'UTC');
        perform equity.roll_up('1m', 'equity.curve_bars', v_clock.to_1m, v_new.to_1m);
        if v_new.to_1h > v_clock.to_1h then
            perform equity.roll_up('1h', 'equity.rollups_1m', v_clock.to_1h, v_new.to_1h);
        end if;
        if v_new.to_1d > v_clock.to_1d then
            perform equity.roll_up('1d', 'equity.rollups_1h', v_clock.to_1d, v_new.to_1d);
        end if;
        update equity.rollup_clock
        set to_1m = v_new.to_1m, to_1h = v_new.to_1h, to_1d = v_new.to_1d;
    end if;
    return null;
end
$$;

comment on function equity.tg_roll_up_bars is
    'Keeps the roll-ups of the Apache edition true to the bars, set-based for a whole statement.';

-- Drops whole days of bars, as far as settings and roll-ups allow, and notes from where there are
-- bars now: roll-ups before that can no longer be made anew.
-- Locks: equity.rollup_clock, which keeps writers of bars out; the dropped chunks.
create or replace function equity.drop_bars() returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before timestamptz;
    v_dropped int;
begin
    select date_trunc('day', least(k.closed_to, clock_timestamp()) - s.keep_seconds, 'UTC')
    into v_before
    from equity.curve_settings s, equity.curve_clock k;
    if v_before is null or v_before = '-infinity' then
        return 0;
    end if;

    update equity.rollup_clock c
    set kept_from = v_before
    where c.kept_from < v_before and (equity.edition() = 'community' or c.to_1d >= v_before);
    if not found then
        return 0;
    end if;
    select count(*) into v_dropped from public.drop_chunks('equity.curve_bars', v_before);
    return v_dropped;
end
$$;

comment on function equity.drop_bars is
    'Drops the days of bars that are older than equity.curve_settings.keep_seconds; how many.';

-- It refreshes in transactions of its own, so it is called outside of one and pins no setting.
create or replace procedure equity.refresh_rollups(p_from timestamptz, p_to timestamptz)
language plpgsql
as $$
declare
    v_grain text;
    v_width interval;
    v_from timestamptz;
    v_to timestamptz;
begin
    if equity.edition() <> 'community' then
        return;
    end if;
    foreach v_grain in array array['1m', '1h', '1d'] loop
        -- whole buckets, all of them closed: a bucket that was made half is not read live any more
        v_width := equity.rollup_width(v_grain);
        select public.time_bucket(v_width, greatest(p_from, c.kept_from)),
               public.time_bucket(
                   v_width,
                   least(p_to + v_width - interval '1 microsecond', k.closed_to)
               )
        into v_from, v_to
        from equity.rollup_clock c, equity.curve_clock k;
        if v_from < v_to then
            call public.refresh_continuous_aggregate(
                format('equity.%I', 'continuous_' || v_grain)::regclass,
                nullif(v_from, '-infinity'), v_to
            );
        end if;
    end loop;
end
$$;

comment on procedure equity.refresh_rollups is
    'Brings the continuous aggregates of the community edition up to the bars of a stretch.';

-- One job and not several: two refreshes at a time would fail. Bars are dropped only after their
-- roll-ups have been brought up to them.
create or replace procedure equity.maintain_rollups_job(int, jsonb)
language plpgsql
as $$
-- @plpgsql_check_options: extra_warnings = off
declare
    v_chunk text;
begin
    call equity.refresh_rollups('-infinity', 'infinity');
    for v_chunk in
        select format('%I.%I', c.chunk_schema, c.chunk_name)
        from timescaledb_information.chunks c
        cross join equity.curve_settings s
        cross join equity.curve_clock k
        where not c.is_compressed and c.range_end <= k.closed_to - s.compress_after
          and (
              (c.hypertable_schema, c.hypertable_name) = ('equity', 'curve_bars')
              or (c.hypertable_schema, c.hypertable_name) in (
                  select a.materialization_hypertable_schema, a.materialization_hypertable_name
                  from timescaledb_information.continuous_aggregates a
                  where a.view_schema = 'equity'
              )
          )
        order by c.range_end
    loop
        call public.convert_to_columnstore(v_chunk::regclass, true);
        commit;
    end loop;
    perform equity.drop_bars();
end
$$;

comment on procedure equity.maintain_rollups_job is
    'Refreshes what has changed, wherever it is, puts old bars into the columnstore, and drops '
    'those that are to be kept no longer; a job of the community edition.';

-- The view of a grain: the same columns whatever is below.
create or replace function equity.show_rollups(p_grain text, p_rest text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
-- @plpgsql_check_options: security_warnings = off
begin
    execute format(
        'create or replace view equity.%I as select * from equity.%I union all %s',
        'curve_' || p_grain, 'rollups_' || p_grain, p_rest
    );
    execute format(
        'comment on view equity.%I is %L',
        'curve_' || p_grain,
        format('Bars of %s, made of the finer ones.', equity.rollup_width(p_grain))
    );
end
$$;

comment on function equity.show_rollups is
    'Makes the view of a grain of its table and a query for what the table has not.';

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
    'Where triggers have rolled bars up to, for a grain (1m, 1h or 1d), on the Apache edition.';

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
    create or replace trigger curve_bars_after_delete_roll_up
        after delete on equity.curve_bars
        referencing old table as changed_bars
        for each statement execute function equity.tg_roll_up_bars();

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
    'Lets triggers keep the roll-ups, each with a live tail from where they end.';

-- The roll-ups of triggers give way to continuous aggregates, but for those whose bars are gone.
create or replace function equity.set_up_community() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = error  -- a timestamp plus microseconds is not called immutable
as $$
-- @plpgsql_check_options: security_warnings = off
declare
    v_grain text;
    v_source text;
    v_interval text;
begin
    drop trigger if exists curve_bars_after_insert_roll_up on equity.curve_bars;
    drop trigger if exists curve_bars_after_delete_roll_up on equity.curve_bars;
    if not exists (
        select from timescaledb_information.hypertables h
        where h.hypertable_schema = 'equity' and h.hypertable_name = 'curve_bars'
          and h.compression_enabled
    ) then
        alter table equity.curve_bars set (
            timescaledb.enable_columnstore,
            timescaledb.segmentby = 'account_id',
            timescaledb.orderby = 'bucket_at, part'
        );
    end if;

    for v_grain, v_source, v_interval in values
        ('1m', 'equity.curve_bars', '7 days'),
        ('1h', 'equity.continuous_1m', '365 days'),
        ('1d', 'equity.continuous_1h', '3650 days')
    loop
        continue when to_regclass('equity.continuous_' || v_grain) is not null;
        execute format(
            'create materialized view equity.%I with ('
            '    timescaledb.continuous, timescaledb.materialized_only = false,'
            '    timescaledb.chunk_interval = %L'
            ') as %s with no data',
            'continuous_' || v_grain, v_interval, equity.rollup_query(v_grain, v_source)
        );
        execute format(
            'alter materialized view equity.%I set ('
            '    timescaledb.enable_columnstore, timescaledb.segmentby = ''account_id'','
            '    timescaledb.orderby = ''bucket_at'''
            ')',
            'continuous_' || v_grain
        );
        execute format(
            'comment on view equity.%I is %L',
            'continuous_' || v_grain, 'Continuous aggregate. Read equity.curve_' || v_grain || '.'
        );
        execute format(
            'delete from equity.%I where bucket_at >= (select kept_from from equity.rollup_clock)',
            'rollups_' || v_grain
        );
        perform equity.show_rollups(
            v_grain, format('select * from equity.%I', 'continuous_' || v_grain)
        );
    end loop;
end
$$;

comment on function equity.set_up_community is
    'Makes the continuous aggregates, and lets bars go into the columnstore.';

-- A job runs as who owns it, who must be able to log in, which the owner of the schema is not.
create or replace function equity.set_up_job() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select from timescaledb_information.jobs j
        where j.proc_schema = 'equity' and j.proc_name = 'maintain_rollups_job'
    ) then
        perform public.add_job('equity.maintain_rollups_job', interval '1 minute');
    end if;
end
$$;

comment on function equity.set_up_job is
    'Has the community edition maintain the roll-ups in the background, as the session''s user.';

-- Whatever has been set up stays as it is, so that this may run again at any time.
create or replace function equity.set_up_edition() returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_role text := current_setting('role');
begin
    perform set_config('role', 'tidemark_owner', true);
    if equity.edition() = 'community' then
        perform equity.set_up_community();
        perform set_config('role', 'none', true);
        perform equity.set_up_job();
    else
        perform equity.set_up_apache();
    end if;
    perform set_config('role', v_role, true);
    return equity.edition();
end
$$;

comment on function equity.set_up_edition is
    'Sets up what the edition of TimescaleDB that runs here can do, and says which one it is.';

-- Here and not at the end of sql/: later files need the views that it makes.
select equity.set_up_edition();
