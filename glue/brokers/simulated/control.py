"""The control of a simulated broker that runs in another process."""

from typing import Any

import httpx2
import msgspec

from glue.brokers.simulated.account import SimulationError
from glue.brokers.simulated.server import TOKEN

TIMEOUT = 5.0
"""Seconds for a command."""


class Control:
    """Calls the methods of SimulatedBroker and Books by their names; COMMANDS lists them."""

    def __init__(self, url: str, token: str = TOKEN) -> None:
        self._client = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT
        )

    def call(self, command: str, **arguments: Any) -> Any:
        """What the method returns.

        Raises SimulationError for what the broker will not do, and httpx2.TransportError where it
        is not there.
        """
        response = self._client.post(f"/control/{command}", content=msgspec.json.encode(arguments))
        answer = msgspec.json.decode(response.content)
        if not response.is_success:
            raise SimulationError(answer["errorMessage"])
        return answer

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()
