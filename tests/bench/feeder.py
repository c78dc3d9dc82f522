"""A process of its own that stores ticks at a steady rate while the prices' readers are measured.

It stores as `tidemark ingest` does: what has arrived since its last call, as often as the database
is quick, without waiting for the disk.
"""

import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

from glue.ticks import Batch, Row, Span, interval, store
from tests.conftest import Connection, Database
from tests.factories import every

RATE = 5_000
"""Ticks a second."""
STEP = Decimal("0.00001")

spawn = multiprocessing.get_context("spawn")


class Quote(NamedTuple):
    """Where an instrument's price begins."""

    symbol: str
    bid: Decimal
    ask: Decimal


def quotes_of(conn: Connection) -> list[Quote]:
    """The present quote of every instrument."""
    return [Quote(**row) for row in every(conn, "select symbol, bid, ask from api.quotes")]


class Fed(NamedTuple):
    """What a feeder stored."""

    ticks: int
    seconds: float
    statements: list[float]
    """Seconds that each took."""


class Feeder:
    """Stores ticks in a process of its own while the block lasts."""

    def __init__(self, database: Database, quotes: Sequence[Quote]) -> None:
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=feed, args=(other, database, quotes), daemon=True)
        self.fed = Fed(0, 0.0, [])
        """When the block is over."""

    def __enter__(self) -> "Feeder":
        self._process.start()
        assert self._pipe.recv() == "feeding"
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._pipe.send("stop")
            self.fed = self._pipe.recv()
        self._process.kill()
        self._process.join()


def feed(pipe: Pipe, database: Database, quotes: Sequence[Quote]) -> None:
    """Store what arrives at RATE, until told to stop."""
    chance = random.Random(1)
    stored = 0
    statements: list[float] = []
    cluster = f"bench {os.getpid()}"
    with database.connect("tidemark_ingest") as connection:
        connection.execute("set synchronous_commit = off")
        pipe.send("feeding")
        began = earliest = time.monotonic()
        while not pipe.poll():
            time.sleep(max(0.0, earliest - time.monotonic()))
            started = time.monotonic()
            arrived = int((started - began) * RATE)
            batch = Batch()
            for number in range(stored, arrived):
                symbol, bid, ask = chance.choice(quotes)
                move = chance.randint(-20, 20) * STEP
                batch.add(Row(symbol, datetime.now(UTC), bid + move, ask + move), f"bench@{number}")
            if len(batch) > 0:
                asked = time.monotonic()
                with connection.transaction():
                    result = store(connection, batch, Span(cluster, "bench", 0, stored, arrived))
                statements.append(time.monotonic() - asked)
                earliest = started + interval(time.monotonic() - started)
                assert result == (len(batch), 0)
                stored = arrived
        pipe.send(Fed(stored, time.monotonic() - began, statements))
