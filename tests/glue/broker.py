"""A Kafka broker in the test's process, and `tidemark ingest` in one of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
from confluent_kafka import Producer

from glue import kafka
from tests.conftest import Connection

TOPIC = "fx-stream-global"
PARTITIONS = 4
"""What librdkafka's broker gives a topic."""
SYMBOLS = ("EUR/USD", "GBP/USD", "XAU/USD")


class Broker:
    """librdkafka's broker; it ends with the object."""

    def __init__(self) -> None:
        self._producer = Producer(
            {**kafka.QUIET, "bootstrap.servers": "embedded:0", "test.mock.num.brokers": 1}
        )
        self.metadata = self._producer.list_topics(timeout=5)
        (node,) = self.metadata.brokers.values()
        self.address = f"{node.host}:{node.port}"
        self.cluster = kafka.cluster_id(self.metadata, self.address)

    def make_topic(self, topic: str = TOPIC) -> None:
        """The broker makes what it is asked for."""
        self._producer.list_topics(topic, timeout=5)

    def send(self, *messages: bytes | None, partition: int = 0, topic: str = TOPIC) -> None:
        """Send messages and wait until the broker has them."""
        for message in messages:
            self._producer.produce(topic, value=message, partition=partition)
            self._producer.poll(0)
        assert self._producer.flush(10) == 0


def message(number: int, symbol: str = "EUR/USD", ts: str = "2026-01-05T10:00:00Z") -> bytes:
    """A tick that its bid tells apart from any other."""
    bid = Decimal(100_000 + number).scaleb(-5)
    return msgspec.json.encode(
        {
            "symbol": symbol,
            "ts": ts,
            "bid": f"{bid:f}",
            "ask": f"{bid + Decimal('0.0001'):f}",
        }
    )


class IngestProcess:
    """A running `tidemark ingest` with its log in a file."""

    def __init__(self, dsn: str, address: str, log: Path, topic: str = TOPIC) -> None:
        self.log = log
        command = [sys.executable, "-m", "glue", "ingest", "--kafka", address, "--topic", topic]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "TIDEMARK_DSN": dsn, "TIDEMARK_LOG": "json"},
                stderr=output,
                stdout=output,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def logged(self) -> str:
        """What it wrote so far."""
        return self.log.read_text()

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it without any notice."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit code when it has ended by itself."""
        return self._process.wait(20)


@contextlib.contextmanager
def ingest(dsn: str, address: str, log: Path, topic: str = TOPIC) -> Iterator[IngestProcess]:
    """Run `tidemark ingest` as long as the block lasts."""
    process = IngestProcess(dsn, address, log, topic)
    try:
        yield process
    finally:
        process.kill()


def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def stored_bids(connection: Connection) -> list[Decimal]:
    """Every stored tick's bid."""
    return [bid for (bid,) in connection.execute("select bid from api.ticks order by bid")]


def count(connection: Connection, relation: str = "market.ticks") -> int:
    """The number of rows."""
    (rows,) = connection.execute(f"select count(*) from {relation}").fetchone() or (0,)
    return int(rows)
