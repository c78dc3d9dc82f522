create or replace view api.margin_changes as
select change_id, account_id, previous_state, margin_state, margin_equity, margin_used, judged_at
from equity.margin_changes;

comment on view api.margin_changes is
    'When an account came into margin_call or close_out, and out of it; '
    'api.judge_margins finds them, once a second.';
comment on column api.margin_changes.previous_state is 'ok, margin_call or close_out before.';
comment on column api.margin_changes.margin_state is 'ok, margin_call or close_out since.';
comment on column api.margin_changes.judged_at is 'When it was found.';

grant select on api.margin_changes
    to tidemark_trading, tidemark_reconcile, tidemark_readonly, tidemark_watch;
