"""For tests that break a server: one of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from glue.local.server import EmbeddedServer
from tests.supervisors import home_with_programs


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with the programs, whose server is stopped in the end."""
    with home_with_programs() as path:
        yield path
        EmbeddedServer(path).stop()
