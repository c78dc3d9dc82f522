-- The curve logger. (Component 17.4.)

comment on table equity.curve_settings is 'How curves are made: one row.';
comment on column equity.curve_settings.max_instants is
    'Instants with ticks of an instrument in a second up to which all of them count.';
comment on column equity.curve_settings.grace is
    'How long after its end, in event time, a second is closed.';
comment on table equity.curve_clock is
    'How far bars are closed: one row. What comes with an event time before announced_to is late.';
comment on table equity.curves is
    'Where the curve of each account stands at its last closed bar, and its extremes so far.';
comment on column equity.curves.performance is
    'Equity less net flows, of the positions that have a price.';
comment on column equity.curves.high_water_mark is 'Highest performance so far.';
comment on column equity.curves.index_high is
    'Highest growth index since it last began; null while it is unknown.';
comment on table equity.curve_marks is
    'Stretches of curves (of every account where account_id is null) that something late has made '
    'wrong, until they are rebuilt.';
