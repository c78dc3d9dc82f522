-- Messages to the page, which the relay sends on; to a snapshot it adds what the token allows.
-- Their shapes are those of glue/wire.py. The relay has checked that its client may see these
-- accounts.

create or replace function api.snapshot_message(
    p_account_ids bigint[],
    p_since_account_ids bigint[],
    p_since_event_seqs bigint[],
    p_total_account_ids bigint[],
    p_currency text
) returns text
language sql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
as $$
    select relay.snapshot(
        p_account_ids, p_since_account_ids, p_since_event_seqs, p_total_account_ids, p_currency
    );
$$;

comment on function api.snapshot_message is
    'All that a page needs to start, of these accounts, with the history since the events named; '
    'and the totals of p_total_account_ids, where a currency is given.';

create or replace function api.totals_message(p_account_ids bigint[], p_currency text) returns text
language sql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
as $$
    select '{"type":"totals","totals":' || relay.totals(p_account_ids, p_currency) || '}';
$$;

comment on function api.totals_message is 'The totals of these accounts in one currency.';

create or replace function api.broker_changes(p_account_ids bigint[], p_hashes text[])
returns table (account_id bigint, broker text)
language sql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
as $$
    select account_id, broker from relay.brokers(p_account_ids, p_hashes);
$$;

comment on function api.broker_changes is
    'What brokers said last, of those accounts where it is not what the relay has: its MD5 is '
    'another one.';

-- The rest of a curve's message, after what was asked for. A point is a bucket of the narrowest
-- usual width that gives at most p_points of them (2 to 2,000).
-- Raises: TM101 unknown account, TM160 empty range.
create or replace function api.curve_columns(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_points int
) returns text
language plpgsql stable
security definer  -- the relay may read what it serves, but not the tables
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bucket interval;
begin
    perform equity.check_curve_request(
        array[p_account_id], false, null, p_from, p_to, '1 day'
    );
    v_bucket := equity.chart_bucket(
        p_account_id, p_from, p_to, greatest(2, least(p_points, 2000))
    );
    return (
        select
            '{"at":[' || coalesce(string_agg(relay.instant(c.bucket_at), ','), '')
            || '],"open":[' || coalesce(string_agg(relay.amount(c.equity_open), ','), '')
            || '],"high":[' || coalesce(string_agg(relay.amount(c.equity_high), ','), '')
            || '],"low":[' || coalesce(string_agg(relay.amount(c.equity_low), ','), '')
            || '],"close":[' || coalesce(string_agg(relay.amount(c.equity_close), ','), '')
            || '],"performance":[' || coalesce(string_agg(relay.amount(c.close), ','), '')
            || '],"drawdown":[' || coalesce(string_agg(relay.amount(c.deepest), ','), '')
            || '],"drawdown_pct":[' || coalesce(string_agg(relay.amount(c.deepest_pct), ','), '')
            || ']}'
        from (
            select u.*
            from equity.underwater(array[p_account_id], null, p_from, p_to, v_bucket) u
            order by u.bucket_at
        ) c
    );
end
$$;

comment on function api.curve_columns is
    'The curve of an account in columns: equity with its extremes, performance, and drawdown where '
    'it was deepest since p_from.';

grant execute on function
    api.snapshot_message, api.totals_message, api.broker_changes, api.curve_columns
    to tidemark_relay;
