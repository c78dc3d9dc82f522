"""Dashboard tokens: what can be issued, and what a token opens."""

import psycopg
import pytest

from tests.factories import Connection, account, one


def test_a_token_opens_each_named_account_once(conn: Connection) -> None:
    first, second = account(conn), account(conn)
    token = one(
        conn,
        "select token from api.issue_token('desk', %s::bigint[])",
        [[[second, first], [first, second]]],
    )["token"]
    session = one(conn, "select account_ids from api.open_sessions(%s)", [[token]])
    assert session["account_ids"] == [first, second]


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
