"""Replays a day of ticks with an open account and compares every bar of its curve with the oracle.

    python -m tests.curve_check FILE [DEPOSIT_AT [AMOUNT]]

The file (ts,symbol,bid,ask; plain or gzip; with EUR/USD and XAU/USD) goes through
`tidemark replay`, which closes bars as it goes, under an account that is long EUR/USD and short
XAU/USD from their first ticks on, with a deposit before them and another at DEPOSIT_AT. Its bars
must equal those of tests/curve_oracle.py. Printed are the lowest performance in the minute from
12:30 UTC by the bars and tick by tick, and what takes how long. A test runs it on generated ticks.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from glue import db, migrate, settings
from tests.curve_oracle import Bar, Source, bars, read, stored_bars
from tests.factories import Connection, account, assert_sound, instrument, one
from tests.replay_check import read as read_file
from tests.servers import running_server

LONG, SHORT = ("EUR/USD", "buy", 3, "100000"), ("XAU/USD", "sell", 2, "100")
"""Symbol, side, the column of the file with the price that it is had at, and units."""
FIRST_DEPOSIT = "100000"
EVERY_TICK = None
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Outcome:
    """What was replayed, and the account's bars: ours, the same rule's, and tick by tick.

    `marks`: how often something came too late for bars that were closed; they are rebuilt.
    """

    source: Source
    max_instants: int
    marks: int
    replay_seconds: float
    oracle_seconds: float
    ours: list[Bar]
    theirs: list[Bar]
    tick_by_tick: list[Bar]

    @property
    def differences(self) -> list[tuple[Bar | None, Bar | None]]:
        """Ours and the oracle's where they are not equal, in order."""
        ours, theirs = ({bar[:3]: bar for bar in bars} for bars in (self.ours, self.theirs))
        keys = sorted(ours.keys() | theirs.keys())
        return [(ours.get(k), theirs.get(k)) for k in keys if ours.get(k) != theirs.get(k)]


def run(dsn: str, file: Path, deposit: tuple[datetime, str] | None = None) -> Outcome:
    """Replay the file into an empty migrated database; `deposit`: when and how much."""
    with db.connect(dsn) as conn:
        set_up(conn, file, deposit)
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "glue", "replay", str(file), "--speed", "max"],
            env={**os.environ, "TIDEMARK_DSN": dsn},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        conn.execute("call api.close_bars()")
        replay_seconds = time.monotonic() - began
        status = one(conn, "select closed_to, max_instants, marks from api.curve_status")
        while one(conn, "select api.rebuild_marked('0 s') as bars")["bars"] is not None:
            pass
        assert_sound(conn)
        ours, source = stored_bars(conn), read(conn)
    closed_to, max_instants = status["closed_to"], status["max_instants"]
    began = time.monotonic()
    theirs = bars(source, closed_to, max_instants)
    oracle_seconds = time.monotonic() - began
    return Outcome(
        source,
        max_instants,
        status["marks"],
        replay_seconds,
        oracle_seconds,
        ours,
        theirs,
        bars(source, closed_to, EVERY_TICK),
    )


def set_up(conn: Connection, file: Path, deposit: tuple[datetime, str] | None) -> None:
    """Instruments, and an account with all of its bookings, each at its time of the file."""
    rows = list(read_file(file))
    for symbol in sorted({row[1] for row in rows}):
        instrument(conn, symbol)
    account_id = account(conn, "USD", None, name="Curve")
    start = datetime.fromisoformat(rows[0][0]) - timedelta(seconds=1)
    for at, amount in [(start, FIRST_DEPOSIT), *([deposit] if deposit else [])]:
        one(
            conn,
            "select * from api.record_entry(%s, 'deposit', %s::numeric, %s)",
            [account_id, amount, at],
        )
    for symbol, side, price, units in (LONG, SHORT):
        first = min((row for row in rows if row[1] == symbol), key=lambda row: row[0])
        one(
            conn,
            "select * from api.record_fill(%s, %s, %s, %s::numeric, %s::numeric, %s)",
            [account_id, symbol, side, units, first[price], first[0]],
        )


def lowest(found: list[Bar], since: datetime) -> Decimal | None:
    """The lowest performance in the bars of the minute from `since`."""
    lows = [bar.low for bar in found if since <= bar.bucket_at < since + MINUTE]
    return min((low for low in lows if low is not None), default=None)


def main(file: str, deposit_at: str | None = None, amount: str = "25000") -> None:
    """Run the check on a server of its own and print what it found."""
    deposit = (datetime.fromisoformat(deposit_at), amount) if deposit_at else None
    with running_server(settings.load(), {}) as dsn:
        migrate.to_head(dsn)
        outcome = run(dsn, Path(file), deposit)
    differences = outcome.differences
    for ours, theirs in differences[:10]:
        print(f"DIFFERS\n  ours   {ours}\n  oracle {theirs}")
    thinned = sum(bar.is_thinned for bar in outcome.ours)
    print(f"{len(outcome.ours)} bars, {len(differences)} of them or the oracle's differ,", end=" ")
    print(f"{thinned} thinned at over {outcome.max_instants} instants;", end=" ")
    print(f"rebuilt for {outcome.marks} marks of what came late")
    day = min(tick.event_at for tick in outcome.source.ticks).astimezone(UTC)
    since = day.replace(hour=12, minute=30, second=0, microsecond=0)
    by_bars, exact = lowest(outcome.ours, since), lowest(outcome.tick_by_tick, since)
    off = None if by_bars is None or exact is None else by_bars - exact
    print(f"lowest from {since:%H:%M}: {by_bars} by the bars, {exact} tick by tick, {off} apart")
    count = len(outcome.source.ticks)
    print(f"{count} ticks: replayed and closed in {outcome.replay_seconds:.1f} s,", end=" ")
    print(f"by the oracle in {outcome.oracle_seconds:.1f} s")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
