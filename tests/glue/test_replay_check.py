"""A replayed day ends with every figure equal to the independent calculation."""

import csv
import gzip
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tests.conftest import Database
from tests.replay_check import HEADER, run


def write_day(path: Path, seed: int, count: int = 6_000) -> None:
    """A random walk of the three instruments, now and then late or in the same instant."""
    chance = random.Random(seed)
    at = datetime(2014, 5, 2, tzinfo=UTC)
    mids = {"EUR/USD": Decimal("1.387"), "NZD/USD": Decimal("0.863"), "XAU/USD": Decimal("1284")}
    digits = {"EUR/USD": 5, "NZD/USD": 5, "XAU/USD": 3}
    with gzip.open(path, "wt", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(HEADER)
        for _ in range(count):
            at += timedelta(milliseconds=chance.choice([0, 1, 40, 700]))
            when = at - timedelta(seconds=chance.choice([0] * 20 + [3]))
            symbol = chance.choice(list(mids))
            mids[symbol] *= 1 + Decimal(chance.randint(-30, 30)) / 100_000
            bid = round(mids[symbol], digits[symbol])
            ask = bid + Decimal(chance.randint(0, 40)).scaleb(-digits[symbol])
            ts = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            rows.writerow([ts, symbol, bid, ask])


def test_a_day_with_trades_ends_equal_to_the_last_digit(database: Database, tmp_path: Path) -> None:
    write_day(tmp_path / "day.csv.gz", seed=7)
    outcome = run(database.dsn, tmp_path / "day.csv.gz", parts=4)
    for account_id, ours, theirs in outcome.figures:
        assert ours == theirs, f"account {account_id}"
    assert outcome.ticks == 6_000
