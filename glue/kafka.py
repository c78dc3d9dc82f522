"""What ingest and feed share about Kafka: which cluster it is, and quiet clients."""

from typing import Any

from confluent_kafka import KafkaError, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

EMBEDDED = "mockCluster"
"""How the broker inside librdkafka begins its cluster id."""

NO_TOPIC_ID = str(Uuid(0, 0))
"""What a broker without topic ids answers."""

QUIET: dict[str, Any] = {"log_level": 2}
"""librdkafka prints a line to standard error at each attempt to reconnect; we log changes."""

UNREACHABLE = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._RESOLVE,
)
"""Errors of the client that leave no way to the cluster; the loss of one connection is none."""


def topic_id(admin: AdminClient, topic: str, cluster: str, timeout: float) -> str | None:
    """The topic's id, which differs when it is made anew; None where the broker gives none.

    The embedded broker and those before Kafka 2.8 give none. Raises KafkaException.
    """
    if cluster.startswith(EMBEDDED):
        return None
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout)
    identity = described[topic].result().topic_id
    text = str(identity)
    return None if text == NO_TOPIC_ID else text


def cluster_id(metadata: ClusterMetadata, servers: str) -> str:
    """The id that offsets are stored under.

    The embedded broker names itself by an address in memory, which a later start may repeat, so its
    port is added. A broker too old to have an id (before 0.10.1) is known by its address.
    """
    identity = metadata.cluster_id
    if identity is None:
        return servers
    if identity.startswith(EMBEDDED):
        return f"{identity}:{','.join(str(b.port) for b in metadata.brokers.values())}"
    return str(identity)
