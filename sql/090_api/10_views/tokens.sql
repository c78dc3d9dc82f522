create or replace view api.tokens as
select token_id, label, account_ids, issued_at, expires_at, revoked_at,
       revoked_at is null and expires_at > now() as is_valid, may_acknowledge
from relay.tokens;

comment on view api.tokens is
    'Dashboard tokens, without their secrets; '
    'api.issue_token makes one, api.revoke_token ends one.';
comment on column api.tokens.account_ids is 'The accounts that it opens; null opens all.';
comment on column api.tokens.may_acknowledge is
    'Whether its holder may acknowledge discrepancies of these accounts.';
