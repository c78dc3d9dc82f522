"""Replays a day of ticks with trading accounts and compares every figure with the independent one.

    python -m tests.replay_check FILE [PARTS]

The file (ts,symbol,bid,ask; plain or gzip; EUR/USD, NZD/USD and XAU/USD) goes through
`tidemark replay` in PARTS parts, with fills before the first and after each; figures and ticks per
second are printed. A test runs it on generated ticks.
"""

import csv
import gzip
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from glue import db, migrate, settings
from tests.factories import Connection, account, assert_sound, fill, instrument, state
from tests.oracle import Figures, Oracle
from tests.servers import running_server

INSTRUMENTS = {
    "EUR/USD": ("0.0333", "1", "100000"),
    "NZD/USD": ("0.05", "1", "100000"),
    "XAU/USD": ("0.05", "1", "100"),
}
"""Margin rate, contract size and the usual quantity."""
ACCOUNTS = [
    ("USD", "netting", "0"),
    ("USD", "hedging", "0"),
    ("EUR", "netting", "0.005"),
    ("EUR", "hedging", "0"),
    ("NZD", "netting", "0"),
    ("NZD", "hedging", "0.01"),
]
HEADER = ["ts", "symbol", "bid", "ask"]
Row = list[str]


@dataclass(frozen=True)
class Outcome:
    """What was replayed, and each account's figures, ours and the independent ones."""

    ticks: int
    seconds: float
    figures: list[tuple[int, Figures, Figures]]

    @property
    def is_equal(self) -> bool:
        return all(ours == theirs for _, ours, theirs in self.figures)


def run(dsn: str, file: Path, parts: int, seed: int = 1) -> Outcome:
    """Replay the file into an empty migrated database; `seed` chooses the trades."""
    chance = random.Random(seed)
    oracle = Oracle()
    rows = list(read(file))
    seconds = 0.0
    with db.connect(dsn) as conn, tempfile.TemporaryDirectory() as folder:
        ids = set_up(conn, oracle)
        first_prices = {row[1]: Decimal(row[2]) for row in reversed(rows)}
        trade(conn, oracle, ids, first_prices, chance)
        for part in split(rows, parts):
            path = Path(folder, "part.csv")
            with path.open("w", newline="") as output:
                csv.writer(output).writerows([HEADER, *part])
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "glue", "replay", str(path), "--speed", "max"],
                env={**os.environ, "TIDEMARK_DSN": dsn},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds += time.monotonic() - began
            for ts, symbol, bid, ask in part:
                oracle.tick(symbol, datetime.fromisoformat(ts), bid, ask)
            trade(conn, oracle, ids, {row[1]: Decimal(row[3]) for row in part}, chance)
        assert_sound(conn)
        figures = [(each, seen(conn, each), oracle.figures(each)) for each in ids]
    return Outcome(len(rows), seconds, figures)


def read(file: Path) -> Iterator[Row]:
    """The file's rows, without its header."""
    is_gzip = file.read_bytes()[:2] == b"\x1f\x8b"
    with (gzip.open if is_gzip else open)(file, "rt", newline="") as lines:
        yield from (row for row in csv.reader(lines) if row != HEADER)


def split(rows: list[Row], parts: int) -> Iterator[list[Row]]:
    """The rows in this many parts, in order."""
    size = -(-len(rows) // parts)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def set_up(conn: Connection, oracle: Oracle) -> list[int]:
    """Instruments, and accounts with a deposit of 100,000 each; their ids."""
    for symbol, (margin_rate, contract_size, _) in INSTRUMENTS.items():
        instrument(conn, symbol, margin_rate, contract_size)
        oracle.instrument(symbol, *symbol.split("/"), margin_rate, contract_size)
    ids = []
    for currency, mode, markup in ACCOUNTS:
        ids.append(account(conn, currency, "100000", mode, markup))
        oracle.account(ids[-1], currency, mode, markup)
        oracle.entry(ids[-1], "deposit", 100_000)
    return ids


def trade(
    conn: Connection,
    oracle: Oracle,
    ids: list[int],
    prices: dict[str, Decimal],
    chance: random.Random,
) -> None:
    """Fills in every account and instrument at these prices: opens, adds, closes and flips."""
    for account_id in ids:
        book = oracle.accounts[account_id]
        for symbol, price in prices.items():
            quantity = Decimal(INSTRUMENTS[symbol][2]) * chance.randint(1, 9) / 10
            side, effect = chance.choice(["buy", "sell"]), "auto"
            if book.hedging:
                leg = "long" if side == "sell" else "short"
                held = abs(book.positions.get((symbol, leg), (0, 0))[0])
                effect = "close" if held >= quantity else "open"
            fill(conn, account_id, symbol, side, str(quantity), str(price), effect)
            oracle.fill(account_id, symbol, side, quantity, price, 0, effect)


def seen(conn: Connection, account_id: int) -> Figures:
    """What api.account_states says."""
    now = state(conn, account_id)
    return Figures(**{name: now[name] for name in Figures.__dataclass_fields__})


def main(file: str, parts: str = "6") -> None:
    """Run the check on a server of its own and print what it found."""
    with running_server(settings.load(), {}) as dsn:
        migrate.to_head(dsn)
        outcome = run(dsn, Path(file), int(parts))
    for account_id, ours, theirs in outcome.figures:
        verdict = "equal" if ours == theirs else f"DIFFERS from {theirs}"
        print(f"account {account_id}: {ours} {verdict}")
    print(f"{outcome.ticks} ticks in {outcome.seconds:.1f} s", end=", ")
    print(f"{outcome.ticks / outcome.seconds:,.0f} ticks/s with {len(outcome.figures)} accounts")
    sys.exit(0 if outcome.is_equal else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
