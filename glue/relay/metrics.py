"""The relay's figures for Prometheus."""

import time

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
        self.lag_seconds = Histogram(
            "tidemark_relay_lag_seconds",
            "From a trade's commit (its booking, where commits are not timed), from a "
            "discrepancy's or an alert's record, or from the valuation that an update tells, "
            "until it was sent.",
            ["type"],
            buckets=LATENCY,
            registry=self.registry,
        )
        self.outbox_bytes = Gauge(
            "tidemark_relay_outbox_bytes",
            "Bytes that wait for clients.",
            registry=self.registry,
        )
        self._by_kind: dict[str, tuple[Counter, Histogram]] = {}

    def count_sent(self, kind: str, size: int, at: float | None) -> None:
        """A message of so many bytes was sent, with news of an instant in seconds since 1970."""
        if kind not in self._by_kind:
            self._by_kind[kind] = self.messages.labels(kind), self.lag_seconds.labels(kind)
        messages, lag = self._by_kind[kind]
        messages.inc()
        self.bytes.inc(size)
        if at is not None:
            lag.observe(max(0.0, time.time() - at))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
