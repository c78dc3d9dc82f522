"""relay: the tokens that open the dashboard."""

from glue.migrate import execute_as_owner

revision = "0004_relay"
down_revision = "0003_ledger"

SQL = """
create table relay.tokens (
    token_id bigint generated always as identity,
    token_hash bytea not null,
    label text not null,
    account_ids bigint[],
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    constraint tokens_pkey primary key (token_id),
    constraint tokens_hash_key unique (token_hash),
    constraint accounts_are_named_or_all check (cardinality(account_ids) > 0),
    constraint expiry_after_issue check (expires_at > issued_at)
);
"""


def upgrade() -> None:
    execute_as_owner(SQL)
