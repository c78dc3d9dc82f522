"""A process of its own with librdkafka's broker and a producer that sends ticks at a steady rate.

A tick's `ts` is the clock at the moment that it is handed to the producer, in microseconds.
"""

import ctypes
import itertools
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from confluent_kafka import Producer

from glue import kafka

SLICE = 0.002
"""Seconds from one handful of ticks to the next."""
MOST = 1_000
"""Ticks in a handful."""
STEP = Decimal("0.00001")
CLIENT = {
    **kafka.QUIET,
    "bootstrap.servers": "embedded:0",
    "test.mock.num.brokers": 1,
    # The broker keeps 5 MB of each partition, as they came: compressed, a backlog fits in.
    "compression.type": "zstd",
    "queue.buffering.max.messages": 1_000_000,
}

spawn = multiprocessing.get_context("spawn")


class Quote(NamedTuple):
    """Where an instrument's price begins."""

    symbol: str
    bid: Decimal
    ask: Decimal


class Sent(NamedTuple):
    """What the producer sent between start and stop."""

    ticks: int
    seconds: float
    """Until told to stop; what was handed over is then with the broker."""

    @property
    def rate(self) -> float:
        """Ticks a second."""
        return self.ticks / self.seconds


class ProducerProcess:
    """The process; it ends with the block."""

    def __init__(self, topic: str, quotes: Sequence[Quote]) -> None:
        self._pipe, other = spawn.Pipe()
        self._count = spawn.Value(ctypes.c_int64)
        self._process = spawn.Process(
            target=_run, args=(other, self._count, topic, quotes), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid
        self.address: str = self._pipe.recv()

    def __enter__(self) -> "ProducerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def sent(self) -> int:
        """Ticks sent so far, since the process began."""
        return self._count.value

    def start(self, rate: float) -> None:
        """Send at this rate from now on."""
        self._pipe.send(rate)

    def stop(self) -> Sent:
        """Send no more; what was sent since the last start, all of it with the broker."""
        self._pipe.send(None)
        answer: Sent = self._pipe.recv()
        return answer


def _run(pipe: Connection, count: Any, topic: str, quotes: Sequence[Quote]) -> None:
    producer = Producer(CLIENT)
    metadata = producer.list_topics(topic, timeout=5)
    pipe.send(",".join(f"{b.host}:{b.port}" for b in metadata.brokers.values()))
    ticks = _ticks(quotes)
    while True:
        rate = pipe.recv()
        before, began = count.value, time.monotonic()
        while not pipe.poll():
            due = before + int((time.monotonic() - began) * rate) - count.value
            for symbol, tick in itertools.islice(ticks, min(due, MOST)):
                producer.produce(topic, value=tick, key=symbol)
            count.value += min(due, MOST)
            producer.poll(0)
            if due < MOST:
                time.sleep(SLICE)
        pipe.recv()
        seconds = time.monotonic() - began
        assert producer.flush(60) == 0
        pipe.send(Sent(count.value - before, seconds))


def _ticks(quotes: Sequence[Quote]) -> Iterator[tuple[bytes, bytes]]:
    """Symbol and message; each price is a few steps from the instrument's first one."""
    chance = random.Random(1)
    begins, ends = {}, []
    for quote in quotes:
        begins[quote.symbol] = f'{{"symbol":"{quote.symbol}","ts":"'.encode()
        ends += [
            (quote.symbol.encode(), begins[quote.symbol], _end(quote, place * STEP))
            for place in range(-20, 21)
        ]
    chance.shuffle(ends)
    second, written = 0, b""
    while True:
        for symbol, begin, end in ends:
            now, fraction = divmod(time.time_ns() // 1_000, 1_000_000)
            if now != second:
                second = now
                written = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(now)).encode()
            yield symbol, b"%b%b%06dZ%b" % (begin, written, fraction, end)
        chance.shuffle(ends)


def _end(quote: Quote, move: Decimal) -> bytes:
    return f'","bid":"{quote.bid + move:.5f}","ask":"{quote.ask + move:.5f}"}}'.encode()
