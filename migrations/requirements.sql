-- Refuses a server that cannot carry Tidemark, before anything is changed.
do $$
declare
    v_version text;
    v_table text;
begin
    if current_setting('server_version_num')::int < 170000 then
        raise exception 'PostgreSQL is too old'
            using errcode = 'TM901',
                  detail = format('server version: %s', current_setting('server_version')),
                  hint = 'Tidemark needs PostgreSQL 17 or newer.';
    end if;

    select coalesce(installed_version, default_version) into v_version
    from pg_catalog.pg_available_extensions
    where name = 'timescaledb';
    if not found then
        raise exception 'extension timescaledb is missing'
            using errcode = 'TM901', detail = 'pg_available_extensions does not list timescaledb',
                  hint = 'Install TimescaleDB here, or use the embedded server or compose.yaml.';
    end if;
    if current_setting('timescaledb.disable_load', true) is null then
        raise exception 'extension timescaledb is not loaded'
            using errcode = 'TM901', detail = 'the server was started without it',
                  hint = 'Add timescaledb to shared_preload_libraries and restart the server.';
    end if;
    if string_to_array(split_part(v_version, '-', 1), '.')::int[] < array[2, 19, 0] then
        raise exception 'TimescaleDB is too old'
            using errcode = 'TM901', detail = format('timescaledb version: %s', v_version),
                  hint = 'Tidemark needs TimescaleDB 2.19 or newer: update the package, '
                         'then alter extension timescaledb update.';
    end if;

    -- Before 2.26.4 transition tables hold wrong values for chunks made after a column was dropped.
    if string_to_array(split_part(v_version, '-', 1), '.')::int[] < array[2, 26, 4] then
        select a.attrelid::regclass::text into v_table
        from pg_catalog.pg_attribute a
        where a.attrelid in (to_regclass('market.ticks'), to_regclass('equity.curve_bars'))
          and a.attisdropped;
        if found then
            raise exception 'a column of a hypertable with a transition table was dropped'
                using errcode = 'TM901',
                      detail = format('table: %s, timescaledb version: %s', v_table, v_version),
                      hint = 'Update TimescaleDB to 2.26.4 or newer first: '
                             'older ones would hand wrong rows to the trigger.';
        end if;
    end if;
end
$$;
