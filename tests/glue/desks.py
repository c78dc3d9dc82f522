"""A desk: accounts that ledger and broker both have, and `tidemark reconcile` between them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from glue import db
from glue.brokers.simulated import SimulatedBroker
from tests.conftest import Connection
from tests.factories import Row, every, instrument, one

BEAT = 0.5
"""Seconds, instead of 30."""
GRACE = 0.25
"""Seconds, instead of 5; prices move within less."""
PRICES = {
    "EUR/USD": ("1.10000", "1.10010"),
    "USD/JPY": ("150.000", "150.010"),
}


class Desk:
    """Accounts that both sides have, at first with the same bookings."""

    def __init__(self, dsn: str, connection: Connection, broker: SimulatedBroker) -> None:
        self.dsn = dsn
        self.connection = connection
        self.number_of: dict[int, str] = {}
        """What the broker calls an account."""
        self.broker = broker
        self.books = broker.books
        if not every(connection, "select from api.instruments limit 1"):
            self._set_up()

    def _set_up(self) -> None:
        for symbol in PRICES:
            instrument(self.connection, symbol)
        self.tick(PRICES)
        self.connection.execute(
            "select from api.set_reconciliation_settings(make_interval(secs => %s),"
            " p_price_window => make_interval(secs => %s))",
            [GRACE, GRACE / 2],
        )

    @classmethod
    def beside(cls, other: "Desk") -> "Desk":
        """The same desk for another thread."""
        desk = cls(other.dsn, db.connect(other.dsn), other.broker)
        desk.number_of = other.number_of
        return desk

    def tick(self, prices: dict[str, tuple[str, str]]) -> None:
        """Both sides have these prices from now on."""
        self.books.set_prices([(s, Decimal(b), Decimal(a)) for s, (b, a) in prices.items()])
        self.connection.execute(
            "select from api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
            [
                list(prices),
                [datetime.now(UTC)] * len(prices),
                [bid for bid, _ in prices.values()],
                [ask for _, ask in prices.values()],
            ],
        )

    def open(self, number: str = "D-1", currency: str = "USD", broker: str = "demo") -> int:
        """An account with 10,000 on both sides; its id in the ledger."""
        self.books.create_account(number, currency, Decimal(10_000), money_scale=2)
        account_id: int = one(
            self.connection,
            "select account_id from api.open_account(%s, %s, p_broker => %s,"
            " p_broker_account_id => %s)",
            [f"Desk {number}", currency, broker, number],
        )["account_id"]
        self.number_of[account_id] = number
        self.connection.execute(
            "select from api.record_entry(%s, 'deposit', 10000, p_external_id => '2')",
            [account_id],
        )
        return account_id

    def trade(
        self,
        account_id: int,
        side: str = "buy",
        quantity: int = 1000,
        symbol: str = "EUR/USD",
    ) -> str:
        """A trade that both sides book, the broker first; the broker's id."""
        transaction_id = self.trade_at_broker(account_id, side, quantity, symbol)
        self.trade_in_ledger(account_id, side, quantity, symbol, transaction_id)
        return transaction_id

    def trade_at_broker(
        self, account_id: int, side: str = "buy", quantity: int = 1000, symbol: str = "EUR/USD"
    ) -> str:
        """A trade that only the broker has."""
        return self.books.record_fill(
            self.number_of[account_id], symbol, side, Decimal(quantity), self.price(symbol, side)
        )

    def trade_in_ledger(
        self,
        account_id: int,
        side: str = "buy",
        quantity: int = 1000,
        symbol: str = "EUR/USD",
        external_id: str | None = None,
    ) -> int:
        """A trade that only the ledger has; its id there."""
        fill_id: int = one(
            self.connection,
            "select fill_id from api.record_fill(%s, %s, %s, %s, %s, p_external_id => %s)",
            [account_id, symbol, side, quantity, self.price(symbol, side), external_id],
        )["fill_id"]
        return fill_id

    def price(self, symbol: str, side: str) -> Decimal:
        """What a trade costs now."""
        price = self.books.prices[symbol]
        return price.ask if side == "buy" else price.bid

    def discrepancies(self, account_id: int | None = None) -> list[Row]:
        """All that there were, oldest first."""
        return every(
            self.connection,
            "select * from api.discrepancies where %s::bigint is null or account_id = %s"
            " order by discrepancy_id",
            [account_id, account_id],
        )

    def open_causes(self) -> list[str]:
        """Of the discrepancies that last."""
        return [row["cause"] for row in self._lasting()]

    def lasting(self) -> str:
        """The discrepancies that last, for the message of a failure."""
        return "\n".join(
            f"account {row['account_id']}: {row['cause']} ({row['status']}): {row['message']}"
            for row in self._lasting()
        )

    def _lasting(self) -> list[Row]:
        return [row for row in self.discrepancies() if row["status"] != "resolved"]

    def has_first_answers(self) -> bool:
        """Whether every account has been compared."""
        accounts = every(self.connection, "select * from api.accounts_to_reconcile")
        return all(account["last_transaction_id"] is not None for account in accounts)

    def runs(self, account_id: int | None = None) -> list[Row]:
        """All runs, oldest first."""
        return every(
            self.connection,
            "select * from api.reconciliation_runs where %s::bigint is null or account_id = %s"
            " order by run_id",
            [account_id, account_id],
        )

    def outcomes(self, account_id: int | None = None) -> list[str]:
        """Of the runs, oldest first."""
        return [row["outcome"] for row in self.runs(account_id)]

    def alerts(self) -> list[Row]:
        """All alerts, oldest first."""
        return every(self.connection, "select * from api.alerts order by alert_id")


class Reconciler:
    """A running `tidemark reconcile` with its log in a file."""

    def __init__(self, desk: Desk, log: Path, *arguments: str, **variables: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "glue", "reconcile", *arguments],
                env=environment(desk) | variables,
                stdout=output,
                stderr=output,
            )

    def logged(self) -> str:
        """What it wrote so far."""
        return self.log.read_text()

    def kill(self) -> None:
        """End it without any notice."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(20)


def environment(desk: Desk) -> dict[str, str]:
    """What a command finds its database and its broker by."""
    return {
        **os.environ,
        "TIDEMARK_DSN": desk.dsn,
        "TIDEMARK_DEMO_BROKER": desk.broker.url,
        "TIDEMARK_RECONCILE_BEAT": f"{BEAT:g}",
        "TIDEMARK_LOG": "json",
    }


@contextlib.contextmanager
def reconciler(desk: Desk, log: Path, *arguments: str, **variables: str) -> Iterator[Reconciler]:
    """Run `tidemark reconcile` as long as the block lasts."""
    running = Reconciler(desk, log, *arguments, **variables)
    try:
        yield running
    finally:
        running.kill()


def once(desk: Desk, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run `tidemark reconcile --once` or the like; exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "glue", "reconcile", *(arguments or ("--once",))],
        env=environment(desk) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def once_json(desk: Desk, *arguments: str, **variables: str) -> tuple[int, list[dict[str, Any]]]:
    """The same with --json, read."""
    code, output = once(desk, *arguments, "--json", **variables)
    return code, msgspec.json.decode(output)
