"""The reconciler's figures for Prometheus, and the address where they are served."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from glue import errors
from glue.settings import Address

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)


class Metrics:
    """All of them in a registry of their own; times in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active = Gauge(
            "tidemark_reconcile_active",
            "1 for the one reconciler that is at work, 0 for one that waits.",
            registry=self.registry,
        )
        self.accounts = Counter(
            "tidemark_reconcile_accounts",
            "Accounts compared, by outcome: passed, discrepancies, failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.skipped = Counter(
            "tidemark_reconcile_skipped_beats",
            "Beats left out because the run before was under way.",
            registry=self.registry,
        )
        self.run_seconds = Histogram(
            "tidemark_reconcile_run_seconds",
            "Duration of a run over all accounts.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.answer_seconds = Histogram(
            "tidemark_reconcile_answer_seconds",
            "From asking for an account to having the broker's whole answer, its turn included.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.compare_seconds = Histogram(
            "tidemark_reconcile_compare_seconds",
            "Duration of storing and comparing one answer, its turn included.",
            buckets=SECONDS,
            registry=self.registry,
        )

    @contextmanager
    def served(self, address: Address | None) -> Iterator[None]:
        """Serve them at an address while the context lasts; ServerError for one that is taken."""
        if address is None:
            yield
            return
        try:
            server, thread = start_http_server(address.port, address.host, self.registry)
        except OSError as error:
            what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had: {error}"
            raise errors.ServerError(
                f"the address {address} {what}",
                "Stop what listens there, or name another address with --metrics-listen.",
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
