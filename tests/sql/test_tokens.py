"""Dashboard tokens: what can be issued, and what a token opens."""

import psycopg
import pytest

from tests.factories import Connection, account, every, one


def test_a_token_opens_each_named_account_once(conn: Connection) -> None:
    first, second = account(conn), account(conn)
    token = one(
        conn,
        "select token from api.issue_token('desk', %s::bigint[])",
        [[[second, first], [first, second]]],
    )["token"]
    session = one(conn, "select account_ids from api.open_sessions(%s)", [[token]])
    assert session["account_ids"] == [first, second]


def test_accounts_that_are_known_by_their_hash_are_not_listed_again(conn: Connection) -> None:
    first = account(conn)
    tokens = [
        one(conn, "select token from api.issue_token('desk', %s)", [account_ids])["token"]
        for account_ids in (None, [first])
    ]

    def opened(*hashes: int | None) -> list[tuple[list[int] | None, int]]:
        query = "select * from api.open_sessions(%s, %s) order by token <> %s"
        rows = every(conn, query, [tokens, list(hashes), tokens[0]])
        return [(row["account_ids"], row["account_hash"]) for row in rows]

    (all_of_them, all_hash), (named, named_hash) = opened(None, None)
    assert all_of_them == named == [first]
    assert opened(all_hash, named_hash) == [(None, all_hash), (None, named_hash)]
    assert opened(all_hash + 1, named_hash) == [([first], all_hash), (None, named_hash)]
    second = account(conn)
    (all_of_them, later_hash), (named, _) = opened(all_hash, named_hash)
    assert all_of_them == [first, second]
    assert later_hash != all_hash
    assert named is None


@pytest.mark.parametrize(
    "arguments",
    [
        "' '",
        "'desk', '{}'",
        "'desk', '{1}'",
        "'desk', '{null}'",
        "'desk', null, '0'",
        "'desk', null, null",
        "'desk', null, 'infinity'",
        "'desk', null, '10000000 years'",
    ],
)
def test_a_token_that_makes_no_sense_is_refused(conn: Connection, arguments: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select api.issue_token({arguments})")
    assert refused.value.sqlstate == "TM301"
