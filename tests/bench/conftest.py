"""Benchmarks run on a server that keeps what it commits, with its data on disk."""

import os
from collections.abc import Iterator

import pytest

from glue import settings
from tests.servers import embedded_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The dsn of TIDEMARK_TEST_DSN, or of an embedded server with its own settings."""
    if dsn := os.environ.get("TIDEMARK_TEST_DSN"):
        yield dsn
        return
    with embedded_server(settings.load(), {}, on_disk=True) as dsn:
        yield dsn
