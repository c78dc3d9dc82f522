"""Feed: the simulated market, sent to a Kafka topic at a steady rate."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from glue import kafka, logs, service
from glue.demo.market import Market, Quote
from glue.errors import FeedError
from glue.stop import Stop

NEVER_ASKED = "embedded:0"
KAFKA_TIMEOUT = 5.0
"""Seconds."""

log = logs.get("feed")


class Tick(msgspec.Struct):
    """A topic message; prices are decimal strings."""

    symbol: str
    ts: str
    bid: str
    ask: str


def main(servers: str | None, topic: str, rate: float, seed: int | None) -> None:
    """Send simulated ticks until told to stop; without `servers` to a broker in this process.

    Prints one line of JSON with the cluster's address, {"kafka": "host:port"}, once the topic is
    there. Raises FeedError when the cluster cannot be reached or the topic cannot be made.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    with _producer(servers) as producer:
        address = _address(producer, servers)
        _make_topic(producer, servers, topic)
        click.echo(msgspec.json.encode({"kafka": address}))
        log.info("sending", kafka=address, topic=topic, ticks_per_second=rate)
        sent = _send(producer, topic, Market(seed), rate, stop)
    log.info("stopped", sent=sent)


@contextmanager
def _producer(servers: str | None) -> Iterator[Producer]:
    broker = {"test.mock.num.brokers": 1} if servers is None else {}
    producer = Producer(
        {
            **kafka.QUIET,
            **broker,
            "bootstrap.servers": servers or NEVER_ASKED,
            "client.id": "tidemark-feed",
            "message.timeout.ms": 10_000,  # a price that is older is worth nothing
        }
    )
    yield producer
    producer.flush(1.0)


def _address(producer: Producer, servers: str | None) -> str:
    try:
        metadata = producer.list_topics(timeout=KAFKA_TIMEOUT)
    except KafkaException as error:
        raise FeedError(
            f"no Kafka cluster at {servers}: {error.args[0].str()}", "Check --kafka."
        ) from error
    return servers or ",".join(f"{b.host}:{b.port}" for b in metadata.brokers.values())


def _make_topic(producer: Producer, servers: str | None, topic: str) -> None:
    """Make the topic where it is missing; the embedded broker makes it when it is asked for."""
    metadata = producer.list_topics(topic, timeout=KAFKA_TIMEOUT)
    if servers is None or metadata.topics[topic].error is None:
        return
    # Held until there is an answer: a client that goes takes its requests with it.
    admin = AdminClient({**kafka.QUIET, "bootstrap.servers": servers})
    try:
        admin.create_topics([NewTopic(topic)], request_timeout=KAFKA_TIMEOUT)[topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise FeedError(
                f"topic {topic} is missing and cannot be made: {error.args[0].str()}",
                "Make it with the cluster's own tools.",
            ) from error


def _send(producer: Producer, topic: str, market: Market, rate: float, stop: Stop) -> int:
    """Send ticks at `rate` a second on average; returns how many."""
    sent = 0
    due_at = time.monotonic()
    while not stop.wait(due_at - time.monotonic()):
        pause = market.pause(rate)
        market.advance(pause)
        quote = market.quote(market.pick())
        try:
            producer.produce(topic, value=_message(quote), key=quote.symbol)
            sent += 1
        except BufferError:  # the cluster does not keep up, or is away: this tick is left out
            producer.poll(0.1)
        producer.poll(0)
        due_at = max(due_at + pause, time.monotonic() - 1.0)
    return sent


def _message(quote: Quote) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode(Tick(quote.symbol, now, f"{quote.bid:f}", f"{quote.ask:f}"))
