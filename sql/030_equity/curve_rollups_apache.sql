-- Roll-ups on the Apache edition: tables that triggers keep, and a live tail.

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

-- What a statement adds, changes or takes away behind the clock changes the buckets that it
-- touches; what it adds ahead moves the clock when a minute is full. Whoever writes bars keeps the
-- clock until commit, so that no bucket is made without bars that another session is about to
-- commit.
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
    'Lets triggers keep the roll-ups, each with a live tail from where they end.';
