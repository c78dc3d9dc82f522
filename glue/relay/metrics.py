"""The relay's figures for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """All of them in a registry of their own; times in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.clients = Gauge(
            "tidemark_relay_clients", "Clients that are being served.", registry=self.registry
        )
        self.accounts = Gauge(
            "tidemark_relay_watched_accounts",
            "Accounts that somebody is watching.",
            registry=self.registry,
        )
        self.messages = Counter(
            "tidemark_relay_messages",
            "Messages sent, by type.",
            ["type"],
            registry=self.registry,
        )
        self.bytes = Counter(
            "tidemark_relay_bytes", "Bytes of the messages sent.", registry=self.registry
        )
        self.merged = Counter(
            "tidemark_relay_merged_updates",
            "Updates that a newer state replaced before they were sent.",
            registry=self.registry,
        )
        self.resyncs = Counter(
            "tidemark_relay_resyncs",
            "Snapshots sent after the first one of a client, by cause.",
            ["cause"],
            registry=self.registry,
        )
        self.refusals = Counter(
            "tidemark_relay_refusals",
            "Clients that were sent away, by error code.",
            ["code"],
            registry=self.registry,
        )
        self.listener_up = Gauge(
            "tidemark_relay_listener_up",
            "1 while the relay hears the database's notifications.",
            registry=self.registry,
        )
        self.database_up = Gauge(
            "tidemark_relay_database_up",
            "1 while the database answers the relay's reads.",
            registry=self.registry,
        )
        self.read_seconds = Histogram(
            "tidemark_relay_read_seconds",
            "Duration of the reads of what changed.",
            ["lane"],
            buckets=LATENCY,
            registry=self.registry,
        )
        self.fill_lag_seconds = Histogram(
            "tidemark_relay_fill_lag_seconds",
            "From a fill's booking, shortly before its commit, to its trade message being made.",
            buckets=LATENCY,
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
