-- Bars of a minute, an hour and a day (UTC), each made of the next finer ones by one query.
-- What keeps them on the edition that runs here stands in curve_rollups_edition.sql.

create or replace function equity.edition() returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select case
        when current_setting('timescaledb.license', true) = 'timescale'
             and exists (select from pg_proc where proname = 'convert_to_columnstore')
        then 'community'
        else 'apache'
    end;
end;

comment on function equity.edition is
    'Edition of TimescaleDB that runs: community has continuous aggregates and the columnstore, '
    'apache has not.';

create or replace function equity.rollup_width(p_grain text) returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
return case p_grain
    when '1m' then interval '1 minute'
    when '1h' then interval '1 hour'
    when '1d' then interval '1 day'
end;

comment on function equity.rollup_width is 'Length of the bars of a grain: 1m, 1h or 1d.';

-- Names in braces are columns that bars of a second have not, but which follow from theirs. The
-- first and last bar are those by bucket_at and part; a part is a microsecond, so that one value
-- orders them. An index is unknown for a bucket as soon as it is for one bar.
create or replace function equity.rollup_query(
    p_grain text, p_source text, p_where text default 'true'
) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_of_seconds boolean := p_source = 'equity.curve_bars';
    v_column text[];
    v_query text := $query$
        select
            account_id,
            public.time_bucket(interval '{width}', bucket_at) as bucket_at,
            public.first(open, {place}) as open,
            max({high}) as high,
            min({low}) as low,
            public.last(close, {place}) as close,
            public.first({equity_open}, {place}) as equity_open,
            max({equity_high}) as equity_high,
            min({equity_low}) as equity_low,
            public.last({equity_close}, {place}) as equity_close,
            public.last(balance, {place}) as balance,
            public.first({net_flow_open}, {place}) as net_flow_open,
            public.last(net_flow, {place}) as net_flow,
            {first_index} as index_open,
            case when bool_and({is_indexed}) then max({index_high}) end as index_high,
            case when bool_and({is_indexed}) then min({index_low}) end as index_low,
            {last_index} as index_close,
            equity.deepest_fall({high}, {low}, {fall} order by {order}) as fall,
            case when bool_and({is_indexed})
                then equity.deepest_fall_pct(
                    {index_high}, {index_low}, {fall_pct} order by {order}
                )
            end as fall_pct,
            bool_and(is_priced) as is_priced,
            bool_and({is_indexed}) as is_indexed,
            bool_or(is_thinned) as is_thinned,
            sum({bar_count})::bigint as bar_count
        from {source}
        where {where}
        group by account_id, public.time_bucket(interval '{width}', bucket_at)
    $query$;
begin
    foreach v_column slice 1 in array array[
        ['first_index', 'public.first(index_open, {place})',
         'market.round_div('
         '    public.first(base_index, {place})'
         '        * (public.first(open, {place}) + public.first(net_flow, {place})),'
         '    public.first(base_equity, {place}), 12'
         ')'],
        ['last_index', 'public.last(index_close, {place})',
         'market.round_div('
         '    public.last(base_index, {place})'
         '        * (public.last(close, {place}) + public.last(net_flow, {place})),'
         '    public.last(base_equity, {place}), 12'
         ')'],
        ['place', 'bucket_at', 'bucket_at + part * interval ''1 microsecond'''],
        ['order', 'bucket_at', 'bucket_at, part'],
        ['equity_open', 'equity_open', 'open + net_flow'],
        ['equity_high', 'equity_high', '{high} + net_flow'],
        ['equity_low', 'equity_low', '{low} + net_flow'],
        ['equity_close', 'equity_close', 'close + net_flow'],
        ['net_flow_open', 'net_flow_open', 'net_flow'],
        ['index_high', 'index_high',
         'market.round_div(base_index * ({high} + net_flow), base_equity, 12)'],
        ['index_low', 'index_low',
         'market.round_div(base_index * ({low} + net_flow), base_equity, 12)'],
        ['is_indexed', 'is_indexed', 'base_index is not null'],
        ['bar_count', 'bar_count', '1'],
        ['fall_pct', 'fall_pct',
         'coalesce(fall_pct, market.round_div({fall}, nullif({high} + net_flow, 0), 12))'],
        ['fall', 'fall', 'coalesce(fall, {high} - {low})'],
        ['high', 'high', 'coalesce(high, greatest(open, close))'],
        ['low', 'low', 'coalesce(low, least(open, close))'],
        ['source', p_source, p_source],
        ['where', p_where, p_where],
        ['width', equity.rollup_width(p_grain)::text, equity.rollup_width(p_grain)::text]
    ] loop
        v_query := replace(
            v_query,
            '{' || v_column[1] || '}',
            case when v_is_of_seconds then v_column[3] else v_column[2] end
        );
    end loop;
    return v_query;
end
$$;

comment on function equity.rollup_query is
    'The query that makes bars of a grain of finer ones: of equity.curve_bars, or of what has the '
    'columns of a roll-up.';

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

comment on table equity.rollups_1m is
    'Bars of a minute that are kept on the Apache edition; on the community edition those '
    'that were kept so before, whose seconds are gone. Read equity.curve_1m.';
comment on table equity.rollups_1h is 'As equity.rollups_1m, bars of an hour.';
comment on table equity.rollups_1d is 'As equity.rollups_1m, bars of a day.';
comment on table equity.rollup_clock is
    'How far bars are rolled up, on the Apache edition, and what retention has left: '
    'one row.';
comment on column equity.rollup_clock.to_1m is
    'Minutes before this are in equity.rollups_1m; later ones are made when they are read.';
comment on column equity.rollup_clock.kept_from is
    'Bars of a second before this were dropped; their roll-ups change no more.';
comment on table equity.rebuilt_stretches is
    'Stretches whose bars have been rebuilt and whose roll-ups may not have been, until the job of '
    'the community edition has seen to it. On the Apache edition none.';
comment on column equity.curve_settings.keep_seconds is
    'How long bars of a second are kept, behind the newest closed one; null is forever. Roll-ups '
    'always stay.';
comment on column equity.curve_settings.compress_after is
    'How far behind the newest closed second bars go into the columnstore (community edition).';
