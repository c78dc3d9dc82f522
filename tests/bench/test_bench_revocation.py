"""From the revocation of a token to the end of its connections: a second is promised.

The clients are idle, in this process, on one machine. A client that does not read cannot see the
end of its connection: of these the relay's own count of clients tells, asked for all the time.
"""

import asyncio
import itertools
import json
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from glue import wire
from glue.relay.hub import TOKEN_INTERVAL
from tests.bench import books
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Connection, Database
from tests.factories import one
from tests.glue.relays import Relay, running_relay, until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

CLIENTS = int(os.environ.get("TIDEMARK_BENCH_CLIENTS", "1000"))
TIMES = 50
"""That one of many clients loses its token, and that one that does not read does."""
ACCOUNTS = 1000
"""The snapshot of so many does not fit between the relay and a client that does not read."""
REVOKE = {
    "heard": "select api.revoke_token(%s)",
    "never sent": "update relay.tokens set revoked_at = now() where token_id = %s",
}
"""By what becomes of the notification."""


class Stage:
    """A relay with clients that lose their tokens."""

    def __init__(self, conn: Connection, relay: Relay, clients: AsyncExitStack) -> None:
        self._conn = conn
        self._relay = relay
        self._clients = clients

    def issue(self, account_ids: list[int] | None) -> tuple[int, str]:
        """A token for these accounts or all: its id and its secret."""
        row = one(
            self._conn, "select token_id, token from api.issue_token('bench', %s)", [account_ids]
        )
        return row["token_id"], row["token"]

    async def revoke(self, token_id: int, how: str) -> float:
        """When that was committed."""
        await asyncio.sleep(random.uniform(0, TOKEN_INTERVAL))
        self._conn.execute(REVOKE[how].encode(), [token_id])
        return time.monotonic()

    async def open(self, token: str) -> "asyncio.Task[float]":
        """A client that watches one account, and when its connection ended."""
        connection = await self._connect(max_size=None)
        await connection.send(json.dumps({"type": "hello", "token": token, "account_ids": [1]}))
        await connection.recv()
        return asyncio.create_task(_end(connection))

    async def open_deaf(self, token: str) -> None:
        """A client that asks for everything and reads nothing."""
        small = socket.create_connection((self._relay.host, self._relay.port))
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection = await self._connect(sock=small, ping_interval=None, close_timeout=0)
        connection.transport.pause_reading()
        snapshots = self._snapshots()
        await connection.send(json.dumps({"type": "hello", "token": token}))
        await asyncio.to_thread(until, lambda: self._snapshots() > snapshots)

    async def left(self, count: int) -> float:
        """When the relay has so many clients left."""
        await asyncio.to_thread(
            until, lambda: self._relay.metric("tidemark_relay_clients") == count
        )
        return time.monotonic()

    def _snapshots(self) -> float:
        return self._relay.metric('tidemark_relay_messages_total{type="snapshot"}')

    async def _connect(self, **options: object) -> ClientConnection:
        url = f"ws://{self._relay.host}:{self._relay.port}/ws"
        opened = connect(url, subprotocols=[wire.SUBPROTOCOL], compression=None, **options)
        return await self._clients.enter_async_context(opened)


async def one_of_many(stage: Stage, how: str, count: int) -> list[float]:
    """Clients of a token each, of which some lose theirs, one after the other."""
    tokens = [stage.issue([1]) for _ in range(count)]
    ends = [await stage.open(token) for _, token in tokens]
    took = []
    for (token_id, _), end in list(zip(tokens, ends, strict=True))[:TIMES]:
        began = await stage.revoke(token_id, how)
        took.append(await end - began)
    return took


async def all_at_once(stage: Stage, how: str, count: int) -> list[float]:
    """Clients of one token."""
    token_id, token = stage.issue([1])
    ends = [await stage.open(token) for _ in range(count)]
    began = await stage.revoke(token_id, how)
    return [end - began for end in await asyncio.gather(*ends)]


async def deaf(stage: Stage, how: str, count: int) -> list[float]:
    """Clients that do not read, one after the other, beside others of a token each that opens all
    accounts.
    """
    others = [await stage.open(stage.issue(None)[1]) for _ in range(count)]
    took = []
    for _ in range(TIMES):
        token_id, token = stage.issue(None)
        await stage.open_deaf(token)
        began = await stage.revoke(token_id, how)
        took.append(await stage.left(len(others)) - began)
    return took


async def _end(connection: ClientConnection) -> float:
    try:
        while True:
            await connection.recv()
    except ConnectionClosed:
        return time.monotonic()


Measure = Callable[[Stage, str, int], Awaitable[list[float]]]
CASES = (
    ("one of {}", one_of_many, TIMES),
    ("one of {}", one_of_many, CLIENTS),
    ("all {} of one token", all_at_once, CLIENTS),
    ("one that does not read", deaf, 0),
    ("one that does not read, beside {}", deaf, CLIENTS - 1),
)


def test_bench_revocation(conn: Connection, database: Database) -> None:
    books.load(conn, ACCOUNTS, 2)
    limits = [f"--max-clients{of}={CLIENTS}" for of in ("", "-per-token", "-per-address")]

    async def measured(relay: Relay, measure: Measure, how: str, count: int) -> list[float]:
        async with AsyncExitStack() as clients:
            return await measure(Stage(conn, relay, clients), how, count)

    rows = []
    for (whose, measure, count), how in itertools.product(CASES, REVOKE):
        with running_relay(database.dsn, *limits) as relay:
            took = asyncio.run(measured(relay, measure, how, count))
        late = percentile(took, 0.99)
        rows.append(
            [
                *(whose.format(f"{count:,}"), how, milliseconds(percentile(took, 0.5))),
                *(milliseconds(late), f"{late:.2f}"),
            ]
        )
    table(
        "From a token's revocation to the end of its clients",
        ["clients", "notification", "p50", "p99", "p99 ÷ 1 s"],
        rows,
    )
