-- A token is a secret: only its hash is kept.
create or replace function relay.token_hash(p_token text) returns bytea
language sql immutable strict parallel safe
return sha256(convert_to(p_token, 'UTF8'));

comment on function relay.token_hash is
    'What is stored of a token: SHA-256 of so many random bits needs no salt.';
comment on table relay.tokens is
    'Dashboard tokens, hashed. account_ids null opens every account; '
    'expired and revoked ones open nothing.';
comment on column relay.tokens.may_acknowledge is
    'Whether its holder may acknowledge discrepancies, in the name of the label.';
