"""The schema as text: what a reviewer reads, and what two databases are compared by."""

from typing import Any

import psycopg

SCHEMAS = ["market", "ledger", "equity", "recon", "relay", "api"]

# Owners are one role, so they are left out; TimescaleDB's own triggers and chunks differ by
# version.
QUERY = """
with schemas as (select oid, nspname from pg_namespace where nspname = any (%(schemas)s)),
relations as (
    select c.oid, c.relkind, c.relacl, s.nspname || '.' || c.relname as name, c.reloptions
    from pg_class c join schemas s on s.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'S')
),
functions as (
    select p.oid, p.proacl,
           s.nspname || '.' || p.proname
               || '(' || pg_get_function_identity_arguments(p.oid) || ')' as name
    from pg_proc p join schemas s on s.oid = p.pronamespace
),
lines (part, name, line) as (
    select 1, r.name, 'table ' || r.name || coalesce(' with ' || r.reloptions::text, '')
    from relations r where r.relkind = 'r'
    union all
    select 2, r.name, format('    column %%s %%s%%s%%s%%s',
           a.attname, format_type(a.atttypid, a.atttypmod),
           case when a.attnotnull then ' not null' else '' end,
           case when a.attidentity <> '' then ' identity' else '' end,
           ' default ' || pg_get_expr(d.adbin, d.adrelid))
    from relations r join pg_attribute a on a.attrelid = r.oid
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where r.relkind = 'r' and a.attnum > 0 and not a.attisdropped
    union all
    select 3, r.name, '    constraint ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
    from relations r join pg_constraint c on c.conrelid = r.oid where c.contype <> 'n'
    union all
    select 4, r.name, '    index ' || pg_get_indexdef(i.indexrelid)
    from relations r join pg_index i on i.indrelid = r.oid
    union all
    select 5, r.name, '    trigger ' || pg_get_triggerdef(t.oid)
    from relations r join pg_trigger t on t.tgrelid = r.oid
    where not t.tgisinternal and t.tgname not like 'ts\\_%%'
    union all
    select 6, r.name, 'view ' || r.name || E'\\n' || regexp_replace(
        pg_get_viewdef(r.oid), '(_materialized_hypertable_|cagg_watermark.)[0-9]+', '\\1N', 'g'
    )
    from relations r where r.relkind = 'v'
    union all
    select 6, j.proc_name::text,
           format('job %%s.%%s every %%s', j.proc_schema, j.proc_name, j.schedule_interval)
    from timescaledb_information.jobs j join schemas s on s.nspname = j.proc_schema
    union all
    select 7, f.name, format('function %%s returns %%s, %%s%%s, source %%s',
           f.name, pg_get_function_result(f.oid),
           case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
           case when p.prosecdef then ', security definer' else '' end,
           case when p.prokind = 'a'
                then format('%%s, %%s of %%s', g.aggtransfn, g.aggfinalfn, g.aggtranstype::regtype)
                else md5(pg_get_functiondef(f.oid)) end)
    from functions f join pg_proc p using (oid)
    left join pg_aggregate g on g.aggfnoid = p.oid
    union all
    select 8, r.name,
           'comment on ' || r.name || coalesce('.' || a.attname, '') || ': ' || d.description
    from relations r join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = r.oid
    left join pg_attribute a on a.attrelid = r.oid and a.attnum = d.objsubid and d.objsubid > 0
    union all
    select 8, f.name, 'comment on ' || f.name || ': ' || d.description
    from functions f join pg_description d on d.classoid = 'pg_proc'::regclass and d.objoid = f.oid
    union all
    select 9, g.name, format('grant %%s on %%s to %%s', g.privileges, g.name, g.grantee)
    from (
        select o.name, coalesce(nullif(x.grantee, 0)::regrole::text, 'public') as grantee,
               string_agg(lower(x.privilege_type), ', ' order by x.privilege_type) as privileges
        from (
            select name, relacl as acl from relations
            union all select name, proacl from functions
            union all select nspname, nspacl from schemas join pg_namespace using (oid, nspname)
        ) o cross join lateral aclexplode(o.acl) x
        where x.grantee <> 'tidemark_owner'::regrole
        group by o.name, x.grantee
    ) g
)
select line from lines order by part > 5, case when part <= 5 then 0 else part end, name, part, line
"""


def describe(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """Tables, constraints, indexes and triggers; views, functions, comments and grants."""
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog")
        rows = connection.execute(QUERY, {"schemas": SCHEMAS}).fetchall()
    return "\n".join(line for (line,) in rows) + "\n"
