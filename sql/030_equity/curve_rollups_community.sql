-- Roll-ups on the community edition: hierarchical continuous aggregates, read in real time, and the
-- columnstore.

-- It refreshes in transactions of its own, so it is called outside of one and pins no setting. One
-- refresh at a time: two would fail. The lock is the session's, since it must outlast transactions.
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
    perform pg_advisory_lock(hashtextextended('tidemark rollups', 0));
    foreach v_grain in array array['1m', '1h', '1d'] loop
        -- Whole buckets, all of them closed: a bucket that was made half is not read live any more.
        -- And from no later than where the aggregate ends: nor is a gap before what was made.
        v_width := equity.rollup_width(v_grain);
        select least(
                   public.time_bucket(v_width, greatest(p_from, c.kept_from)),
                   (select coalesce(
                        _timescaledb_functions.to_timestamp(
                            _timescaledb_functions.cagg_watermark(a.mat_hypertable_id)
                        ),
                        '-infinity'
                    )
                    from _timescaledb_catalog.continuous_agg a
                    where a.user_view_schema = 'equity'
                      and a.user_view_name = 'continuous_' || v_grain)
               ),
               public.time_bucket(
                   v_width,
                   least(p_to + v_width - interval '1 microsecond', k.closed_to)
               )
        into v_from, v_to
        from equity.rollup_clock c, equity.curve_clock k;
        if v_from < v_to then
            call equity.refresh_aggregate(
                format('equity.%I', 'continuous_' || v_grain)::regclass,
                nullif(v_from, '-infinity'), v_to
            );
        end if;
    end loop;
    perform pg_advisory_unlock(hashtextextended('tidemark rollups', 0));
end
$$;

comment on procedure equity.refresh_rollups is
    'Brings the continuous aggregates of the community edition up to the bars of a stretch.';

-- One job and not several, for bars are dropped only after their
-- roll-ups have been brought up to them.
create or replace procedure equity.maintain_rollups_job(int, jsonb)
language plpgsql
as $$
-- @plpgsql_check_options: extra_warnings = off
declare
    v_stretch_ids constant bigint[] := array(select stretch_id from equity.rebuilt_stretches);
    v_chunk text;
begin
    call equity.refresh_rollups('-infinity', 'infinity');
    delete from equity.rebuilt_stretches where stretch_id = any (v_stretch_ids);
    commit;
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
    drop trigger if exists curve_bars_after_update_roll_up on equity.curve_bars;
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

    -- Oldest first: what is older than the newest bucket that was made is not read live any more.
    execute format(
        $sql$
        create or replace procedure equity.refresh_aggregate(
            p_aggregate regclass, p_from timestamptz, p_to timestamptz
        )
        language plpgsql
        as $body$
        begin
            call public.refresh_continuous_aggregate(p_aggregate, p_from, p_to%s);
        end
        $body$
        $sql$,
        case when exists (  -- older versions have no batches
            select from pg_proc
            where proname = 'refresh_continuous_aggregate' and 'options' = any (proargnames)
        ) then
            ', options => ''{"buckets_per_batch": 1440, "refresh_newest_first": false}'''
        end
    );
    comment on procedure equity.refresh_aggregate is
        'Refreshes a continuous aggregate from its oldest buckets on.';

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
