"""Ingest: from the Kafka topic to `api.ingest_ticks`, each offset exactly once.

Offsets are stored with the ticks in one transaction, and nowhere else: nothing is committed to
Kafka, and every session with the database begins by asking it where to continue.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

import psycopg
import stamina
import stamina.instrumentation
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import TopicMetadata

from glue import db, errors, kafka, logs, service
from glue.curve import CurveKeeper
from glue.stop import Stop
from glue.ticks import Batch, Span, Stored, interval, read_message, store

ROLE = "tidemark_ingest"
MAX_MESSAGES = 5_000
"""Messages in one transaction at most: larger ones are no faster, and hold up the next ticks."""
POLL = 0.2
"""Seconds that a wait for messages lasts before signals and partitions are looked at."""
LOOK_INTERVAL = 10.0
"""Seconds between two looks at the topic's partitions."""
RETRY_INTERVAL = 1.0
"""Seconds between two attempts while the topic or the cluster cannot be had."""
LOCK_TIMEOUT = 5.0
"""Seconds that ticks wait for a session that books: longer, and it has been left open."""
KAFKA_TIMEOUT = 2.0
"""Seconds for a question to the cluster."""
REPORT_INTERVAL = 60.0
"""Seconds between two lines of progress in the log."""

log = logs.get("ingest")


def main(dsn: str, servers: str, topic: str) -> None:
    """Store the topic's ticks until told to stop.

    Raises ServerError when the database cannot be reached at the start, FeedError when the topic no
    longer holds the stored offset, OffsetError when another process stores the same topic.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    stamina.instrumentation.set_on_retry_hooks([])  # changes of state are logged here
    with closing(Ingest(dsn, servers, topic, stop)) as ingest:
        ingest.check_database()
        with CurveKeeper(dsn, role=ROLE, process="tidemark ingest curve"):
            while not stop.is_set():
                for attempt in stamina.retry_context(
                    on=ingest.is_passing, attempts=None, timeout=None, wait_max=2.0, wait_jitter=0.5
                ):
                    with attempt:
                        ingest.serve()
        log.info("stopped", **ingest.totals())


class Ingest:
    """One consumer of one topic; `serve` is a session with the database."""

    def __init__(self, dsn: str, servers: str, topic: str, stop: Stop) -> None:
        self._dsn = dsn
        self._servers = servers
        self._topic = topic
        self._stop = stop
        self._cluster = ""
        self._topic_id: str | None = None
        self._next: dict[int, int] = {}
        """The next offset of each partition: the stored one, or the oldest of a new partition."""
        self._stored: set[int] = set()
        """The partitions whose offset is in the database."""
        self._kafka_trouble: str | None = None
        self._database_trouble: str | None = None
        self._topic_trouble: str | None = None
        self._consumer_trouble: str | None = None
        self._looked_at = 0.0
        self._accepted = self._rejected = self._transactions = 0
        self._admin = AdminClient({**kafka.QUIET, "bootstrap.servers": servers})
        self._consumer = Consumer(
            {
                **kafka.QUIET,
                "bootstrap.servers": servers,
                "client.id": "tidemark-ingest",
                "group.id": "tidemark-ingest",  # asked for, but never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # A lost range must be an error: any other value jumps over it without a word.
                "auto.offset.reset": "error",
                # The embedded broker answers a waiting fetch only when this time is over.
                "fetch.wait.max.ms": 10,
                "error_cb": self._note_client_error,
            }
        )

    def check_database(self) -> None:
        """Raise ServerError when the database cannot be reached: later that is retried."""
        self._connect().close()

    def is_passing(self, error: Exception) -> bool:
        """Whether a new session may go well where this one did not; logs the first of a row."""
        if self._stop.is_set():
            return False
        if not isinstance(error, psycopg.OperationalError | errors.ServerError):
            return False
        reason = errors.brief(error)
        if isinstance(error, psycopg.errors.LockNotAvailable):
            reason = "others hold the prices: api.booking_sessions names who has not committed"
        if self._database_trouble is None:
            log.warning("the database does not take the ticks, trying again", reason=reason)
        self._database_trouble = reason
        return True

    def serve(self) -> None:
        """Store ticks until told to stop, or until a session that stored some loses the database.

        Raises psycopg.OperationalError or ServerError when the session stored nothing.
        """
        stored_before = self._transactions
        try:
            with self._connect() as connection:
                connection.execute("set synchronous_commit = off")  # the topic keeps the ticks
                connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}s'")
                for batch, following in self._batches(connection):
                    self._store(connection, batch, following)
        except (psycopg.OperationalError, errors.ServerError) as error:
            if not self.is_passing(error):
                if self._stop.is_set():
                    return
                raise
            if self._transactions == stored_before:
                raise

    def close(self) -> None:
        """Let go of the cluster."""
        self._consumer.close()

    def totals(self) -> dict[str, int]:
        """What was stored since the start."""
        return {
            "accepted": self._accepted,
            "rejected": self._rejected,
            "transactions": self._transactions,
        }

    # Database --------------------------------------------------------------------------------

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return db.connect(self._dsn, role=ROLE, process="tidemark ingest")

    def _store(
        self, connection: psycopg.Connection[Any], batch: Batch, following: Mapping[int, int]
    ) -> None:
        """Store the ticks of all partitions, and the offset after those of each, as one.

        The offsets move first and all ticks go in one statement, with the last of them: a second
        statement of ticks would want quotes while the first holds accounts, and a fill that holds
        such a quote and wants such an account could not get out of its way.
        """
        *others, last = sorted(following)
        try:
            with connection.transaction():
                for partition in others:
                    store(connection, Batch(), self._span(partition, following[partition]))
                result = store(connection, batch, self._span(last, following[last]))
        except psycopg.Error as error:
            known = errors.from_database(error)
            if isinstance(known, errors.OffsetError):
                raise errors.OffsetError(
                    f"another process stores the same topic: {known.message}",
                    "Run one tidemark ingest for each cluster and topic.",
                ) from error
            raise
        self._consumer_trouble = None
        self._next.update(following)
        self._stored.update(following)
        self._count(result)

    def _span(self, partition: int, following: int) -> Span:
        return Span(
            self._cluster,
            self._topic,
            partition,
            self._next[partition],
            following,
            self._topic_id,
        )

    def _count(self, result: Stored) -> None:
        self._accepted += result.accepted
        self._rejected += result.rejected
        self._transactions += 1
        if self._database_trouble is not None:
            log.info("database is back")
            self._database_trouble = None

    def _read_offsets(self, connection: psycopg.Connection[Any]) -> dict[int, int]:
        return dict(
            connection.execute(
                "select partition, next_offset from api.ingest_offsets"
                " where cluster_id = %s and topic = %s",
                (self._cluster, self._topic),
            ).fetchall()
        )

    # Kafka -----------------------------------------------------------------------------------

    def _batches(
        self, connection: psycopg.Connection[Any]
    ) -> Iterator[tuple[Batch, dict[int, int]]]:
        """What has arrived, and the offset after it of each partition; ends when told to stop."""
        self._cluster = ""  # a new session asks where to continue
        reported_at = time.monotonic()
        earliest = 0.0
        while not self._stop.is_set():
            if not self._look(connection):
                self._stop.wait(RETRY_INTERVAL)
                continue
            messages = self._consumer.consume(1, POLL)
            if messages:
                wait = max(0.0, earliest - time.monotonic())
                messages += self._consumer.consume(MAX_MESSAGES - 1, wait)
            failed = [message for message in messages if message.error() is not None]
            if self._kafka_trouble is not None:
                if messages:
                    self._cluster = ""  # what came while the cluster was away may be another's
            else:
                if len(messages) > len(failed):
                    began = time.monotonic()
                    yield self._gather(message for message in messages if message.error() is None)
                    earliest = began + interval(time.monotonic() - began)
                self._note_consumer_errors(failed)  # last, for it gives up the cluster's id
            if time.monotonic() - reported_at > REPORT_INTERVAL:
                log.info("stored", **self.totals())
                reported_at = time.monotonic()

    def _gather(self, messages: Iterable[Message]) -> tuple[Batch, dict[int, int]]:
        batch = Batch()
        following: dict[int, int] = {}
        for message in messages:
            partition, offset = _place(message)
            for row in read_message(message.value()):
                batch.add(row, f"{self._topic}/{partition}@{offset}")
            following[partition] = offset + 1
        return batch, following

    def _look(self, connection: psycopg.Connection[Any]) -> bool:
        """Look at the topic now and then, and after trouble; True when it can be consumed."""
        is_settled = self._cluster != "" and self._kafka_trouble is None
        if is_settled and time.monotonic() - self._looked_at < LOOK_INTERVAL:
            return True
        try:
            metadata = self._consumer.list_topics(self._topic, timeout=KAFKA_TIMEOUT)
            if self._kafka_trouble is not None and self._consumer.consume(MAX_MESSAGES, 0):
                self._cluster = ""  # errors that are over went by, and messages: read these anew
            cluster = kafka.cluster_id(metadata, self._servers)
            partitions = self._partitions(metadata.topics[self._topic])
            if partitions is not None and (
                cluster != self._cluster or set(partitions) != set(self._next)
            ):
                self._assign(connection, cluster, partitions)
        except KafkaException as error:
            self._note_kafka_error(error.args[0])
            return False
        self._looked_at = time.monotonic()
        if self._kafka_trouble is not None:
            log.info("cluster is reachable", kafka=self._servers)
            self._kafka_trouble = None
        return partitions is not None

    def _partitions(self, topic: TopicMetadata) -> list[int] | None:
        """The topic's partitions; None, and a line in the log, while it cannot be had."""
        trouble = None
        if topic.error is not None:
            trouble = topic.error.str()
        elif not topic.partitions:
            trouble = "the topic has no partitions"
        if trouble != self._topic_trouble:
            if trouble is not None:
                log.warning("waiting for the topic", topic=self._topic, reason=trouble)
            else:
                log.info("topic is there", topic=self._topic)
            self._topic_trouble = trouble
        return None if trouble is not None else list(topic.partitions)

    def _assign(
        self, connection: psycopg.Connection[Any], cluster: str, partitions: list[int]
    ) -> None:
        """Consume all partitions from where the database stands.

        Raises FeedError for a topic that was made anew: its offsets are others than those stored.
        """
        self._topic_id = kafka.topic_id(self._admin, self._topic, cluster, KAFKA_TIMEOUT)
        self._cluster = cluster
        self._check_topic(connection)
        stored = self._read_offsets(connection)
        self._stored = set(stored)
        self._next = {
            partition: stored[partition] if partition in stored else self._watermarks(partition)[0]
            for partition in partitions
        }
        log.info(
            "consuming"
            if stored
            else "consuming a cluster that is new here, from its oldest ticks",
            topic=self._topic,
            cluster=cluster,
            offsets=self._next,
        )
        self._consumer.assign(
            [
                TopicPartition(self._topic, partition, offset)
                for partition, offset in self._next.items()
            ]
        )

    def _check_topic(self, connection: psycopg.Connection[Any]) -> None:
        (known,) = connection.execute(
            "select min(topic_id) from api.ingest_offsets"
            " where cluster_id = %s and topic = %s and topic_id <> %s",
            (self._cluster, self._topic, self._topic_id),
        ).fetchone() or (None,)
        if known is not None:
            raise errors.FeedError(
                f"the topic {self._topic} was made anew: its id is {self._topic_id},"
                f" and offsets of {known} are stored (cluster {self._cluster})",
                "To store the new topic from its oldest tick, run in psql: delete from"
                f" market.ingest_offsets where cluster_id = '{self._cluster}'"
                f" and topic = '{self._topic}';",
            )

    def _watermarks(self, partition: int) -> tuple[int, int]:
        """The oldest offset that the topic still holds, and the one after its newest."""
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=KAFKA_TIMEOUT
        )
        return low, high

    def _note_consumer_errors(self, failed: list[Message]) -> None:
        """Raise FeedError for ticks that are lost; for anything else look at the topic anew."""
        errors_of = [
            (error, _place(message)[0])
            for message in failed
            if (error := message.error()) is not None
            and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED  # no group is joined
        ]
        for error, partition in errors_of:
            if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION):
                if partition in self._stored:
                    raise self._lost(partition)
            elif error.str() != self._consumer_trouble:
                log.warning("the topic cannot be read, trying again", reason=error.str())
                self._consumer_trouble = error.str()
        if errors_of:
            self._cluster = ""
            self._stop.wait(RETRY_INTERVAL)

    def _note_client_error(self, error: KafkaError) -> None:
        """librdkafka's own errors: only those that leave no way to the cluster are trouble."""
        if error.code() in kafka.UNREACHABLE:
            self._note_kafka_error(error)

    def _note_kafka_error(self, error: KafkaError) -> None:
        """Log the first of a row of errors of the connection to the cluster."""
        if self._kafka_trouble is None:
            log.warning("cluster not reachable, trying again", reason=error.str())
        self._kafka_trouble = error.str()

    def _lost(self, noticed: int) -> errors.FeedError:
        """All partitions whose next offset is gone, also those where it was not noticed yet."""
        lost: dict[int, str] = {}
        for partition in sorted(self._stored & self._next.keys()):
            try:
                low, high = self._watermarks(partition)
            except KafkaException as error:
                if partition == noticed:
                    lost[partition] = f"what the topic holds is not known: {error}"
            else:
                if partition == noticed or not low <= self._next[partition] <= high:
                    lost[partition] = f"the topic holds {low} to {high}"
        places = [
            f"offset {self._next[partition]} of {self._topic}/{partition} is next, but {holds}"
            for partition, holds in lost.items()
        ]
        return errors.FeedError(
            f"{'; '.join(places)} (cluster {self._cluster})",
            "The ticks between are gone; or the topic was made anew, and then leave out the"
            " condition on the partition. To go on with the oldest tick that is there, run in psql:"
            f" delete from market.ingest_offsets where cluster_id = '{self._cluster}'"
            f" and topic = '{self._topic}' and partition in ({', '.join(map(str, lost))});",
        )


def _place(message: Message) -> tuple[int, int]:
    """Partition and offset of a message that has been consumed."""
    partition, offset = message.partition(), message.offset()
    return -1 if partition is None else partition, -1 if offset is None else offset
