"""`tidemark token`: what it prints is what opens the dashboard."""

import os
import re
import subprocess
import sys

from tests.conftest import Connection, Database


def token(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glue", "token", *arguments],
        env=os.environ | {"TIDEMARK_DSN": database.dsn, "TIDEMARK_LISTEN": "0.0.0.0:9017"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def secret_of(output: str) -> str:
    found = re.search(r"#token=(tm_[0-9a-f]{64})$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def opened(conn: Connection, secret: str) -> list[int] | None:
    row = conn.execute("select account_ids from api.open_sessions(%s)", [[secret]]).fetchone()
    return None if row is None else list(row[0])


def test_issue_list_revoke(database: Database, conn: Connection) -> None:
    for name in ("Alpha", "Beta"):
        conn.execute("select api.open_account(%s, 'USD')", [name])

    done = token(database, "issue", "--label", "risk desk", "--account", "2", "--days", "7")
    assert done.returncode == 0, done.stderr
    secret = secret_of(done.stdout)
    assert f"http://127.0.0.1:9017/#token={secret}" in done.stdout
    assert opened(conn, secret) == [2]
    assert done.stdout.count(secret) == 2

    done = token(database, "issue", "--may-acknowledge")
    assert done.returncode == 0, done.stderr
    everything = secret_of(done.stdout)
    assert opened(conn, everything) == [1, 2]

    done = token(database, "revoke", "1")
    assert done.returncode == 0, done.stderr
    assert "risk desk" in done.stdout
    assert opened(conn, secret) is None
    assert opened(conn, everything) == [1, 2]
    assert token(database, "revoke", "1").returncode == 0, "again changes nothing"

    done = token(database, "list")
    head, first, second = done.stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "LABEL", "ACCOUNTS", "MAY", "ISSUED", "EXPIRES"]
    assert first.split()[:6] == ["1", "revoked", "risk", "desk", "2", "look"]
    assert second.split()[:5] == ["2", "valid", "dashboard", "all", "acknowledge"]
    assert secret not in done.stdout


def test_problems_are_told_with_their_remedy(database: Database) -> None:
    done = token(database, "issue", "--account", "77")
    assert done.returncode == 1
    assert "token cannot be issued so" in done.stderr
    assert "77" in done.stderr
    assert "existing accounts" in done.stderr

    done = token(database, "revoke", "77")
    assert done.returncode == 1
    assert "token does not exist (token_id: 77)" in done.stderr
    assert "api.tokens" in done.stderr

    for days in ("0", "nan", "1e9"):
        assert token(database, "issue", "--days", days).returncode == 2
    assert token(database, "revoke", "x").returncode == 2
