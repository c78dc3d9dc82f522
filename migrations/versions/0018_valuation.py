"""Valuation: positions as a tick reads them, reversals, margin terms, and prices that go stale."""

from glue.migrate import execute, execute_as_owner

revision = "0018_valuation"
down_revision = "0017_equity_triggers"

ROLE = """
do $$
begin
    create role tidemark_watch nologin;  -- judges margins
exception when duplicate_object or unique_violation then
    null;
end;
$$;
"""

SQL = """
alter table market.instruments
    add column stale_after interval not null default '1 minute',
    add constraint stale_after_is_positive check (stale_after > interval '0');

alter table ledger.accounts
    add column hedged_margin text not null default 'larger_side',
    add column margin_call_level numeric not null default 1,
    add column close_out_level numeric not null default 0.5,
    add constraint hedged_margin_is_known check (hedged_margin in ('larger_side', 'net')),
    add constraint margin_levels_are_ordered check (
        close_out_level >= 0 and close_out_level <= margin_call_level and margin_call_level <= 100
    );

alter table ledger.positions
    add column converted_cost numeric;

alter table ledger.fills
    add column converted_cost_after numeric,
    add column reverses_fill_id bigint,
    add constraint fills_reverses_key unique (reverses_fill_id),
    add constraint fills_reverses_fkey foreign key (reverses_fill_id) references ledger.fills,
    drop constraint effect_is_known,
    add constraint effect_is_known check (effect in ('open', 'close', 'flip', 'reversal')),
    add constraint reversal_names_its_fill check (
        (effect = 'reversal') = (reverses_fill_id is not null)
    ),
    drop constraint commission_is_in_range,
    add constraint commission_is_in_range check (
        abs(commission) < 1e15 and (commission >= 0 or reverses_fill_id is not null)
    );

alter table ledger.entries
    add column reverses_entry_id bigint,
    add constraint entries_reverses_key unique (reverses_entry_id),
    add constraint entries_reverses_fkey
        foreign key (reverses_entry_id) references ledger.entries,
    drop constraint sign_fits_kind,
    add constraint sign_fits_kind check (
        case kind
            when 'deposit' then (amount > 0) = (reverses_entry_id is null)
            when 'withdrawal' then (amount < 0) = (reverses_entry_id is null)
            when 'commission' then (amount < 0) = (reverses_entry_id is null)
            else true
        end
    );

-- a booking that waits for a tick statement still sees what was before: pages keep room for three
-- more versions of each row, so that updates stay on them
alter table equity.account_states set (fillfactor = 25);
alter table market.quotes set (fillfactor = 25);
alter table market.conversion_rates set (fillfactor = 25);
-- and none for seconds: a chunk of ticks is not analyzed while it grows, since the snapshot of that
-- would keep every version that ticks have left behind; ticks are read by their index
alter table market.ticks set (
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000000000
);

alter table equity.account_states
    add column money_scale int not null default 2;
update equity.account_states s
set money_scale = a.money_scale
from ledger.accounts a
where a.account_id = s.account_id and a.money_scale <> s.money_scale;

create table equity.leg_classes (
    class_id int not null,
    instrument_id bigint not null,
    is_long boolean not null,
    currency text not null,
    money_scale int not null,
    units_magnitude int not null,
    cost_magnitude int not null,
    constraint leg_classes_pkey primary key (class_id),
    constraint leg_classes_content_key unique (
        instrument_id, is_long, currency, money_scale, units_magnitude, cost_magnitude
    ),
    constraint leg_classes_instrument_fkey
        foreign key (instrument_id) references market.instruments,
    constraint class_ids_count_from_one check (class_id > 0)
);

create table equity.legs (
    account_id bigint not null,
    instrument_id bigint not null,
    units_float double precision not null,
    cost_float double precision not null,
    is_long boolean not null,
    class_id int,
    units numeric not null,
    cost numeric not null,
    constraint legs_pkey primary key (account_id, instrument_id, is_long),
    constraint leg_side_fits_units check (units <> 0 and is_long = (units > 0))
) with (fillfactor = 90);
create index legs_class_idx on equity.legs (class_id);
insert into equity.legs (
    account_id, instrument_id, units_float, cost_float, is_long, units, cost
)
select p.account_id, p.instrument_id, p.quantity * i.contract_size, p.cost,
       p.quantity > 0, p.quantity * i.contract_size, p.cost
from ledger.positions p join market.instruments i using (instrument_id);

create table equity.margin_changes (
    change_id bigint generated always as identity,
    account_id bigint not null,
    previous_state text not null,
    margin_state text not null,
    margin_equity numeric not null,
    margin_used numeric not null,
    judged_at timestamptz not null default clock_timestamp(),
    constraint margin_changes_pkey primary key (change_id),
    constraint margin_changes_account_fkey foreign key (account_id) references ledger.accounts,
    constraint margin_state_is_known check (
        margin_state in ('ok', 'margin_call', 'close_out')
        and previous_state in ('ok', 'margin_call', 'close_out')
    ),
    constraint margin_state_changes check (margin_state <> previous_state)
);
create index margin_changes_account_idx on equity.margin_changes (account_id, change_id desc);

drop function if exists api.upsert_instrument(text, text, text, numeric, numeric);
drop function if exists equity.accounts_moved_by(bigint[], text[], text[]);
drop function if exists market.move_conversion_rates(bigint[]);
drop function if exists ledger.apply_fill(numeric, numeric, numeric, numeric);
drop function if exists ledger.book_entry(
    bigint, text, numeric, timestamptz, text, text, bigint, numeric
);
drop function if exists ledger.set_position(bigint, bigint, text, numeric, numeric);
"""


def upgrade() -> None:
    execute(ROLE)
    execute_as_owner(SQL)
