-- Makes a dashboard token. The secret is returned once and stored only as its hash.
-- Raises: TM301 terms not usable.
create or replace function api.issue_token(
    p_label text,
    p_account_ids bigint[] default null,
    p_valid_for interval default interval '30 days',
    p_may_acknowledge boolean default false
) returns table (token text, token_id bigint, expires_at timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_unknown bigint[] := array(
        select unnest(p_account_ids) except select account_id from ledger.accounts
    );
begin
    if coalesce(p_label, '') !~ '[^[:space:]]'
        or p_valid_for is null or p_valid_for <= interval '0' or p_valid_for > interval '100 years'
        or cardinality(p_account_ids) = 0 or cardinality(v_unknown) > 0
        or p_may_acknowledge is null then
        raise exception 'token cannot be issued so'
            using errcode = 'TM301',
                  detail = format(
                      'label: %s, valid for: %s, accounts: %s, unknown accounts: %s, '
                      'may acknowledge: %s',
                      p_label, p_valid_for, p_account_ids, v_unknown, p_may_acknowledge
                  ),
                  hint = 'A token needs a label, a time to live (up to 100 years), existing '
                         'accounts (or null for all), and whether it may acknowledge.';
    end if;

    token := 'tm_' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
    insert into relay.tokens (token_hash, label, account_ids, expires_at, may_acknowledge)
    values (
        relay.token_hash(token), p_label,
        case when p_account_ids is not null
            then array(select distinct unnest(p_account_ids) as account_id order by account_id) end,
        now() + p_valid_for,
        p_may_acknowledge
    )
    returning token_id, expires_at into token_id, expires_at;
    return next;
end
$$;

comment on function api.issue_token is
    'Makes a dashboard token for these accounts (null: all) and returns the secret, '
    'which is not stored. It lets its holder look, and acknowledge discrepancies if it may.';

-- Ends a token at once; ending it again changes nothing.
-- Notifies: tidemark_tokens. Raises: TM302 unknown token.
create or replace function api.revoke_token(p_token_id bigint) returns api.tokens
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_token api.tokens;
begin
    update relay.tokens set revoked_at = now() where token_id = p_token_id and revoked_at is null;
    select * into v_token from api.tokens where token_id = p_token_id;
    if not found then
        raise exception 'token does not exist'
            using errcode = 'TM302', detail = format('token_id: %s', p_token_id),
                  hint = 'api.tokens lists the tokens.';
    end if;
    perform pg_notify('tidemark_tokens', p_token_id::text);
    return v_token;
end
$$;

comment on function api.revoke_token is
    'Ends a dashboard token at once and returns it as it stands in api.tokens.';

-- What tokens open: no row for one that is unknown, expired or revoked. All at once, since a relay
-- asks twice a second for those of all its clients, and without the accounts that it knows: those
-- of a thousand tokens take longer to write and to read than all the rest.
create or replace function api.open_sessions(
    p_tokens text[], p_account_hashes bigint[] default null
)
returns table (
    token text,
    token_id bigint,
    account_ids bigint[],
    account_hash bigint,
    expires_at timestamptz,
    may_acknowledge boolean
)
language sql stable
security definer  -- the relay may check a token, but not read the table
set search_path = pg_catalog, pg_temp
as $$
    with every_account as materialized (
        select ids, hash_array_extended(ids, 0) as hash
        from (select array(select account_id from ledger.accounts order by account_id)) a (ids)
    )
    select
        wanted.token,
        t.token_id,
        case when opened.hash is distinct from wanted.account_hash
            then coalesce(t.account_ids, e.ids) end,
        opened.hash,
        t.expires_at,
        t.may_acknowledge
    from unnest(p_tokens, p_account_hashes) wanted (token, account_hash)
    join relay.tokens t on t.token_hash = relay.token_hash(wanted.token)
    cross join every_account e
    cross join lateral (
        select coalesce(hash_array_extended(t.account_ids, 0), e.hash) as hash offset 0
    ) opened
    where t.revoked_at is null and t.expires_at > now();
$$;

comment on function api.open_sessions is
    'The accounts that each of these dashboard tokens opens, or null where their hash is the one '
    'given, and whether it may acknowledge; no row for one that is not valid.';

grant execute on function api.open_sessions to tidemark_relay;
