create or replace view api.curve_status as
select
    nullif(c.closed_to, '-infinity') as closed_to,
    (select count(*) from equity.curve_marks) as marks,
    s.max_instants,
    s.grace
from equity.curve_clock c cross join equity.curve_settings s;

comment on view api.curve_status is
    'How far the bars of the equity curves are closed, and how they are made.';
comment on column api.curve_status.closed_to is 'All seconds before it are closed; null before the first one is.';
comment on column api.curve_status.marks is
    'How many stretches of curves wait to be rebuilt: api.curve_marks.';
comment on column api.curve_status.max_instants is
    'Instants with ticks of an instrument in a second up to which all of them count.';
comment on column api.curve_status.grace is
    'How long after its end, in event time, a second is closed.';

create or replace view api.curve_marks as
select mark_id, account_id, from_at, nullif(to_at, 'infinity') as to_at, reason, marked_at
from equity.curve_marks;

comment on view api.curve_marks is
    'Stretches of equity curves that something late has made wrong, until they are rebuilt. '
    'account_id is null where every account''s may be, to_at where all that follows is.';

grant select on api.curve_status, api.curve_marks
    to tidemark_trading, tidemark_ingest, tidemark_watch, tidemark_readonly;
