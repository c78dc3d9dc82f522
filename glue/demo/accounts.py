"""The demo's accounts: who they are, and the books they live in."""

from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg

from glue import db
from glue.demo.market import INSTRUMENTS
from glue.errors import SettingsError

BROKER = "demo"
"""Names the demo's own accounts."""
ROLE = "tidemark_trading"
Connection = psycopg.Connection[tuple[Any, ...]]


class Account(NamedTuple):
    """What `api.open_account` takes, with what the account does."""

    number: str
    """The broker's account id."""
    name: str
    currency: str
    deposit: Decimal
    symbols: tuple[str, ...]
    """What it trades; it starts with positions in the first three."""
    position_mode: str = "netting"
    conversion_markup: Decimal = Decimal(0)
    money_scale: int = 2
    commission: Decimal = Decimal(0)
    """Per 100,000 base units, in account currency."""


ACCOUNTS = (
    Account(
        number="D-1001",
        name="Meridian Macro",
        currency="USD",
        deposit=Decimal(250_000),
        symbols=("EUR/USD", "USD/JPY", "XAU/USD", "GBP/USD"),
    ),
    Account(
        number="D-1002",
        name="Nordsee Kapital",
        currency="EUR",
        deposit=Decimal(180_000),
        symbols=("EUR/USD", "EUR/GBP", "EUR/JPY", "EUR/CHF"),
        conversion_markup=Decimal("0.005"),
    ),
    Account(
        number="D-1003",
        name="Thames Carry",
        currency="GBP",
        deposit=Decimal(120_000),
        symbols=("GBP/JPY", "AUD/USD", "GBP/USD", "GBP/AUD"),
        commission=Decimal("2.50"),
    ),
    Account(
        number="D-1004",
        name="Sakura Trend",
        currency="JPY",
        deposit=Decimal(30_000_000),
        symbols=("USD/JPY", "EUR/JPY", "AUD/JPY", "CHF/JPY"),
        money_scale=0,
    ),
    Account(
        number="D-1005",
        name="Alpen Hedge",
        currency="CHF",
        deposit=Decimal(150_000),
        symbols=("EUR/CHF", "USD/CHF", "GBP/CHF"),
        position_mode="hedging",
    ),
    Account(
        number="D-1006",
        name="Southern Cross",
        currency="AUD",
        deposit=Decimal(160_000),
        symbols=("AUD/USD", "AUD/NZD", "NZD/USD", "AUD/CAD"),
    ),
)


def refuse_others(dsn: str) -> None:
    """Raise SettingsError for a database with accounts that are not the demo's; changes nothing."""
    with db.connect(dsn, process="tidemark demo") as connection:
        row = connection.execute("select to_regclass('api.accounts') is not null").fetchone()
        assert row is not None
        if not row[0]:
            return
        found = connection.execute(
            "select format('%%s (%%s)', name, account_id) from api.accounts"
            " where broker is distinct from %s order by account_id limit 3",
            [BROKER],
        ).fetchall()
    if found:
        raise SettingsError(
            "the demo does not touch a database with accounts that are not its own: "
            + ", ".join(name for (name,) in found),
            "Give it an empty database with --dsn, or another TIDEMARK_HOME.",
        )


def set_up(dsn: str) -> dict[str, int]:
    """Instruments, accounts and their first deposits, where they are missing; ids by number."""
    with (
        db.connect(dsn, role=ROLE, process="tidemark demo") as connection,
        connection.transaction(),
    ):
        _register_instruments(connection)
        return {account.number: _open(connection, account) for account in ACCOUNTS}


def _register_instruments(connection: Connection) -> None:
    terms = "symbol, base_currency, quote_currency, margin_rate, contract_size"
    present = set(connection.execute(f"select {terms} from api.instruments").fetchall())
    with connection.cursor() as cursor:
        cursor.executemany(
            "select from api.upsert_instrument(%s, %s, %s, %s, %s)",
            [instrument[:5] for instrument in INSTRUMENTS if instrument[:5] not in present],
        )


def _open(connection: Connection, account: Account) -> int:
    row = connection.execute(
        "select account_id from api.open_account(%s, %s, %s, %s, %s, %s, %s)",
        [
            *(account.name, account.currency, account.position_mode, BROKER, account.number),
            *(account.conversion_markup, account.money_scale),
        ],
    ).fetchone()
    assert row is not None  # a function's one row
    connection.execute(
        "select from api.record_entry(%s, 'deposit', %s, p_external_id => 'first deposit')",
        [row[0], account.deposit],
    )
    # what the broker has and the ledger lacks is booked, unless somebody has decided otherwise
    connection.execute(
        "select from api.reconciliation_status s"
        " cross join lateral api.set_reconciliation_terms(s.account_id, p_repair => true)"
        " where s.account_id = %s and s.last_run_at is null",
        [row[0]],
    )
    return int(row[0])


class Watch:
    """Sees whether prices have come since it was made."""

    def __init__(self, dsn: str) -> None:
        self._connection = db.connect(dsn, role=ROLE, process="tidemark demo")
        self._newest = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._connection.close()

    def has_ticked(self) -> bool:
        """Whether a quote is newer than the newest was."""
        return self._read() != self._newest

    def _read(self) -> object:
        row = self._connection.execute("select max(received_at) from api.quotes").fetchone()
        assert row is not None
        return row[0]
