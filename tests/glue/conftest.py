"""A relay on a real database, and a small book to watch."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import Connection, Database, drop
from tests.glue.relays import Relay, issue_token, open_account, running_relay, tick


@pytest.fixture
def book(conn: Connection) -> SimpleNamespace:
    """Two accounts, two instruments with prices, and a token for all accounts."""
    for symbol, base, quote, bid, ask in (
        ("EUR/USD", "EUR", "USD", "1.10000", "1.10010"),
        ("USD/JPY", "USD", "JPY", "150.000", "150.020"),
    ):
        conn.execute("select api.upsert_instrument(%s, %s, %s, 0.0333)", [symbol, base, quote])
        tick(conn, symbol, bid, ask)
    accounts = [open_account(conn, name) for name in ("Alpha", "Beta")]
    return SimpleNamespace(alpha=accounts[0], beta=accounts[1], token=issue_token(conn), conn=conn)


@pytest.fixture
def relay(database: Database) -> Iterator[Relay]:
    """A relay on the test's database."""
    with running_relay(database.dsn) as running:
        yield running


@pytest.fixture(scope="module")
def any_relay(admin: Connection, server: str, template: str) -> Iterator[Relay]:
    """A relay for the tests that change nothing, on a database without accounts."""
    name = f"{template}_relay"
    admin.execute(f'create database "{name}" template "{template}"'.encode())
    try:
        with running_relay(
            make_conninfo(server, dbname=name), "--allow-origin", "HTTPS://Desk.example:443/"
        ) as running:
            yield running
    finally:
        drop(admin, name)
