"""Relay: one process that serves the built page and pushes what changes to those who watch.

Nothing rests on a notification having arrived: what is pushed was read from the database, and all
that is watched is read again every second and after every reconnect.
"""

import asyncio
import errno
import gc
import resource
import signal
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack

from websockets.asyncio.server import Server
from websockets.protocol import State

from glue import db, errors, logs, paths, service
from glue.relay.database import CHANNELS, ROLE, Database
from glue.relay.http import SPARE_CONNECTIONS, Door, MetricsDoor
from glue.relay.hub import Hub
from glue.relay.limits import Gate, Limits
from glue.relay.metrics import Metrics
from glue.relay.peers import Peers
from glue.relay.tls import Certificate
from glue.settings import Address, Network

__all__ = ["CHANNELS", "Certificate", "Limits", "main"]

STOP_TIMEOUT = 3.0
"""Seconds that clients have for the closing handshake when the relay stops."""
NEW_OBJECTS = 10_000
"""More than are in use at a time before the cycles among them are collected. By default it is 700,
and all that a thousand clients keep is looked through every few seconds, a tenth of a second long.
"""
SPARE_FILES = 2 * SPARE_CONNECTIONS
"""Open files besides the clients' connections."""

log = logs.get("relay")


def main(
    dsn: str,
    listen: Address,
    metrics_listen: Address | None = None,
    *,
    allowed_origins: Sequence[str] = (),
    trusted_proxies: Sequence[Network] = (),
    limits: Limits,
    certificate: Certificate | None = None,
) -> None:
    """Serve until told to stop.

    Raises ServerError when the database cannot be reached at the start, or when an address is
    taken; SchemaError when the database has no schema of ours; SettingsError for a certificate
    that cannot be used.
    """
    db.check(
        dsn,
        "select api.timeline_id() from api.portfolio_changes('{}', '{}', '{}')",
        role=ROLE,
        process="tidemark relay",
    )
    peers = Peers(trusted_proxies, "http" if certificate is None else "https")
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    allow_files(limits.clients + SPARE_FILES)
    asyncio.run(serve(dsn, listen, metrics_listen, allowed_origins, peers, limits, certificate))
    log.info("stopped")


def allow_files(count: int) -> None:
    """Let this process have so many files open, as far as it may; by default many may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < count:
        log.warning("fewer files than --max-clients needs: raise ulimit -n", has=hard, needs=count)


async def serve(
    dsn: str,
    listen: Address,
    metrics_listen: Address | None,
    allowed_origins: Sequence[str],
    peers: Peers,
    limits: Limits,
    certificate: Certificate | None,
) -> None:
    """Open the doors, keep the hub running, and close all connections when told to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    service.stop_on_signals(stop)
    if certificate is not None:
        loop.add_signal_handler(signal.SIGHUP, certificate.renew)

    metrics = Metrics()
    gate = Gate(limits)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn))
        hub = Hub(database, gate, metrics)
        door = Door(hub, gate, metrics, paths.PAGE, allowed_origins, peers)
        server = await open_door(door, listen, None if certificate is None else certificate.context)
        stack.push_async_callback(close_door, door, server)
        if metrics_listen is not None:
            metrics_door = MetricsDoor(hub, metrics)
            metrics_server = await open_door(metrics_door, metrics_listen)
            stack.push_async_callback(close_door, metrics_door, metrics_server)
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(hub.run())
            scheme = "http" if certificate is None else "https"
            log.info("serving", address=f"{scheme}://{address_of(server)}/", has_page=door.has_page)
            await stopped.wait()
            work.cancel()


async def open_door(
    door: Door | MetricsDoor, address: Address, tls: ssl.SSLContext | None = None
) -> Server:
    """Listen on an address; ServerError, naming it, where that fails."""
    try:
        return await door.open(address, tls)
    except OSError as error:
        what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had: {error}"
        raise errors.ServerError(
            f"the address {address} {what}",
            "Stop what listens there, or name another address: --listen, TIDEMARK_LISTEN.",
        ) from error


async def close_door(door: Door | MetricsDoor, server: Server) -> None:
    """Say goodbye (1001) to all clients; who does not answer in time is cut off.

    Cut off at once are those who would not hear it: a goodbye would wait behind what they have not
    read, and a browser's spare connection has asked for nothing yet.
    """
    for connection in set(door.connections):
        if connection.state is not State.OPEN or connection.transport.get_write_buffer_size():
            connection.transport.abort()
    server.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await server.wait_closed()
    except TimeoutError:
        for connection in set(door.connections):
            connection.transport.abort()
        await server.wait_closed()


def address_of(server: Server) -> Address:
    """Where a server listens, also when it was asked for any free port."""
    host, port = server.sockets[0].getsockname()[:2]
    return Address(host, port)
