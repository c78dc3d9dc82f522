"""`tidemark feed`: a broker of its own, its address on the first line, ticks that all count."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from glue import feed as feeds
from glue.demo.market import INSTRUMENTS
from glue.errors import FeedError
from tests.conftest import Connection, Database
from tests.glue.broker import Broker, count, ingest, until

Feed = subprocess.Popen[str]


def start(*arguments: str) -> Feed:
    return subprocess.Popen(
        [sys.executable, "-m", "glue", "feed", "--rate", "500", *arguments],
        env={**os.environ, "TIDEMARK_KAFKA": "never.read:9092"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address(feed: Feed) -> str:
    assert feed.stdout is not None
    line = msgspec.json.decode(feed.stdout.readline())
    assert list(line) == ["kafka"]
    return str(line["kafka"])


@pytest.fixture
def feed() -> Iterator[Feed]:
    with start("--seed", "5") as process:
        yield process
        process.kill()


def test_every_tick_of_the_feed_counts(
    database: Database, conn: Connection, feed: Feed, tmp_path: Path
) -> None:
    for instrument in INSTRUMENTS:
        conn.execute("select api.upsert_instrument(%s, %s, %s, %s, %s)", instrument[:5])
    with ingest(database.dsn, address(feed), tmp_path / "ingest.log"):
        until(lambda: count(conn, "api.quotes") == len(INSTRUMENTS), "a price of everything")
    assert count(conn, "api.rejected_ticks") == 0


def test_it_stops_when_asked(feed: Feed) -> None:
    address(feed)
    feed.send_signal(signal.SIGTERM)
    assert feed.wait(10) == 0


def test_it_sends_to_a_cluster_that_is_named() -> None:
    broker = Broker()
    with start("--kafka", broker.address) as feed:
        assert address(feed) == broker.address
        feed.send_signal(signal.SIGINT)
        assert feed.wait(10) == 0


def test_a_cluster_that_is_not_there_is_an_error() -> None:
    with start("--kafka", "127.0.0.1:1") as feed:
        _, complaint = feed.communicate(timeout=20)
        assert feed.returncode == 1
        assert "no Kafka cluster at 127.0.0.1:1" in complaint


def test_the_answer_is_waited_for_when_the_topic_has_to_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """librdkafka's broker makes no topic on request; it must come to that, and not end before."""
    broker = Broker()
    metadata = SimpleNamespace(topics={"missing": SimpleNamespace(error="unknown topic")})
    monkeypatch.setattr(feeds, "KAFKA_TIMEOUT", 0.5)
    producer = SimpleNamespace(list_topics=lambda topic, timeout: metadata)
    with pytest.raises(FeedError, match=r"missing and cannot be made: .*Timed out"):
        feeds._make_topic(producer, broker.address, "missing")
