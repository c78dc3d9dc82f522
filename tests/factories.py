"""Short ways to say what happens in an account; each calls the api function of the same name."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[tuple[Any, ...]]
Row = dict[str, Any]

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def one(conn: Connection, query: str, parameters: Iterable[Any] = ()) -> Row:
    """The single row of a query."""
    rows = every(conn, query, parameters)
    assert len(rows) == 1, f"{len(rows)} rows"
    return rows[0]


def every(conn: Connection, query: str, parameters: Iterable[Any] = ()) -> list[Row]:
    """All rows of a query."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, list(parameters) or None).fetchall()


def instrument(
    conn: Connection, symbol: str, margin_rate: str = "0.05", contract_size: str = "1"
) -> Row:
    """Define an instrument; its symbol names its currencies."""
    base, quote = symbol.split("/")
    return one(
        conn,
        "select * from api.upsert_instrument(%s, %s, %s, %s::numeric, %s::numeric)",
        [symbol, base, quote, margin_rate, contract_size],
    )


def account(
    conn: Connection,
    currency: str = "USD",
    deposit: str | None = "10000",
    mode: str = "netting",
    markup: str = "0",
    scale: int = 2,
    name: str = "Test",
) -> int:
    """Open an account with a first deposit; its id."""
    account_id: int = one(
        conn,
        "select account_id from api.open_account(%s, %s, %s, "
        "p_conversion_markup => %s::numeric, p_money_scale => %s)",
        [name, currency, mode, markup, scale],
    )["account_id"]
    if deposit is not None:
        entry(conn, account_id, "deposit", deposit)
    return account_id


def entry(
    conn: Connection, account_id: int, kind: str, amount: str, external_id: str | None = None
) -> Row:
    """Book a cash movement."""
    return one(
        conn,
        "select * from api.record_entry(%s, %s, %s::numeric, p_external_id => %s)",
        [account_id, kind, amount, external_id],
    )


def fill(
    conn: Connection,
    account_id: int,
    symbol: str,
    side: str,
    quantity: str,
    price: str,
    effect: str = "auto",
    commission: str = "0",
    external_id: str | None = None,
) -> Row:
    """Book a trade."""
    return one(
        conn,
        "select * from api.record_fill(%s, %s, %s, %s::numeric, %s::numeric, "
        "p_external_id => %s, p_commission => %s::numeric, p_effect => %s)",
        [account_id, symbol, side, quantity, price, external_id, commission, effect],
    )


def ticks(conn: Connection, *rows: tuple[str, float, str, str]) -> Row:
    """Ingest ticks in one call: symbol, seconds after START, bid, ask."""
    return one(
        conn,
        "select * from api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
        [
            [row[0] for row in rows],
            [START + timedelta(seconds=row[1]) for row in rows],
            [row[2] for row in rows],
            [row[3] for row in rows],
        ],
    )


def tick(conn: Connection, symbol: str, second: float, bid: str, ask: str) -> Row:
    """Ingest one tick."""
    return ticks(conn, (symbol, second, bid, ask))


def state(conn: Connection, account_id: int) -> Row:
    """The account's row of api.account_states."""
    return one(conn, "select * from api.account_states where account_id = %s", [account_id])


def timeless_state(conn: Connection, account_id: int) -> Row:
    """The account's row of api.account_states, without what changes as time passes."""
    return {name: value for name, value in state(conn, account_id).items() if name != "price_age"}


def positions(conn: Connection, account_id: int) -> list[Row]:
    """The account's rows of api.positions, by symbol and side."""
    return every(
        conn,
        "select * from api.positions where account_id = %s order by symbol, side",
        [account_id],
    )


def assert_sound(conn: Connection) -> None:
    """No invariant is broken."""
    assert every(conn, "select * from api.verify_equity()") == []
    assert every(conn, "select * from api.verify_ledger()") == []


def D(text: str) -> Decimal:
    """Short for a decimal literal."""
    return Decimal(text)
