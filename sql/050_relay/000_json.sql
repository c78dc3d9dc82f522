-- How the page's JSON is written: as text, put together piece by piece, which takes a fifth of the
-- time of json_build_object. Every amount becomes a decimal string here, since a driver would read
-- a JSON number as a float. The bodies are bound when they are created, which is why these
-- functions pin no search_path: pinned, they could not be inlined into a statement. For the same
-- reason none claims to be less volatile than what it calls.

create or replace function relay.iso(p_instant timestamptz) returns text
language sql stable strict parallel safe
return to_char(p_instant at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

comment on function relay.iso is 'ISO 8601 in UTC, with microseconds.';

create or replace function relay.amount(p_amount numeric) returns text
language sql immutable parallel safe
return coalesce('"' || p_amount::text || '"', 'null');

comment on function relay.amount is 'An amount as JSON: a decimal string, or null.';

-- What is wider than the scale keeps its digits.
create or replace function relay.whole(p_amount numeric, p_scale int) returns numeric
language sql immutable parallel safe
return round(p_amount, greatest(p_scale, min_scale(p_amount)));

comment on function relay.whole is 'The same amount with p_scale decimals at the least.';

create or replace function relay.instant(p_instant timestamptz) returns text
language sql stable parallel safe
return coalesce('"' || relay.iso(p_instant) || '"', 'null');

comment on function relay.instant is 'An instant as JSON, or null.';

create or replace function relay.words(p_text text) returns text
language sql stable parallel safe
return coalesce(to_json(p_text)::text, 'null');

comment on function relay.words is 'A text as JSON, or null.';
