-- ISO 8601 in UTC, with microseconds; bound when it is created, so that it can be inlined.
create or replace function recon.iso(p_instant timestamptz) returns text
language sql stable strict parallel safe
return to_char(p_instant at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

comment on function recon.iso is 'An instant as the page reads it.';

-- Rows of differences that are put together in one place.
create or replace function recon.account_difference(
    p_account ledger.accounts, p_subject text, p_cause text, p_field text,
    p_ours numeric, p_theirs numeric, p_message text
) returns setof recon.differences
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select p_subject, p_cause, p_field, null::text, round(p_ours, p_account.money_scale), p_theirs,
           p_theirs - round(p_ours, p_account.money_scale), p_account.currency, p_message,
           '{}'::jsonb, false;
$$;

comment on function recon.account_difference is
    'A difference of an account''s own figure, in its currency.';

create or replace function recon.not_judged(p_subject text) returns setof recon.differences
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select p_subject, null::text, null::text, null::text, null::numeric, null::numeric,
           null::numeric, null::text, null::text, null::jsonb, false;
$$;

comment on function recon.not_judged is 'Says that this could not be judged this time.';
