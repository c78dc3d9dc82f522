"""The doors: one port for page, socket, health and metrics; and one for metrics alone."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from glue import wire
from glue.relay import page, peers
from glue.relay.hub import Hub
from glue.relay.limits import BYTES_A_CONNECTION, Bucket, Gate, count_down, key_of
from glue.relay.metrics import Metrics
from glue.relay.peers import Peers
from glue.relay.session import Session
from glue.settings import Address

SPARE_CONNECTIONS = 200
"""Connections besides those of clients: pages being loaded. Further ones are cut off at once."""
SPARE_AN_ADDRESS = 50
"""The same of one address, so that one that opens many and says nothing keeps no other out."""
TLS_TIMEOUT = 10.0
"""Seconds for TLS to be agreed on: until then a connection is not counted."""
MAX_FRAME = 128 * 1024
"""Bytes of a message at which the connection is cut without a word; see session.MAX_MESSAGE."""
LIMITS: dict[str, Any] = {
    "compression": None,  # costs as much again as all the rest of a delivery
    "server_header": None,
    "open_timeout": 30,  # the whole page has to go through a slow line in that time
    "ping_interval": 10,
    "ping_timeout": 20,
    "close_timeout": 5,
    "max_size": MAX_FRAME,
    "max_queue": 4,
    "write_limit": (32 * 1024, 0),  # a response counts as sent when none of it is left here
}
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP")


class _Door:
    """What both doors share: they know who is connected, also those who have asked nothing yet."""

    max_connections = SPARE_CONNECTIONS
    max_connections_an_address = SPARE_AN_ADDRESS

    def __init__(self, hub: Hub, metrics: Metrics) -> None:
        self.connections: dict[ServerConnection, str] = {}
        """Each with what counts as its address."""
        self._by_address: Counter[str] = Counter()
        self._hub = hub
        self._metrics = metrics

    async def open(self, address: Address, tls: ssl.SSLContext | None = None) -> Server:
        """Begin to serve; OSError when the address cannot be had."""
        door = self

        class TrackedConnection(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                self.incoming = Bucket(BYTES_A_CONNECTION, self.loop.time())
                if not door._has_come(self):
                    self.transport.abort()

            def data_received(self, data: bytes) -> None:
                if self.incoming.take(self.loop.time(), len(data)):
                    super().data_received(data)
                else:
                    self.transport.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                door._has_gone(self)
                super().connection_lost(exc)

        return await serve(
            self._talk,
            address.host,
            address.port,
            process_request=self._answer,
            subprotocols=[Subprotocol(wire.SUBPROTOCOL)],
            create_connection=TrackedConnection,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else TLS_TIMEOUT,
            **LIMITS,
        )

    def _has_come(self, connection: ServerConnection) -> bool:
        """Count a connection; whether there was room for it."""
        peer = _peer(connection)
        address = self.connections[connection] = key_of(peer)
        self._by_address[address] += 1
        return len(self.connections) <= self.max_connections and (
            self._by_address[address] <= self.max_connections_an_address or self._is_proxy(peer)
        )

    def _has_gone(self, connection: ServerConnection) -> None:
        count_down(self._by_address, self.connections.pop(connection))

    def _is_proxy(self, _peer: str) -> bool:
        """Whether others come through it."""
        return False

    async def _talk(self, connection: ServerConnection) -> None:
        """Serve a socket whose handshake was let through."""

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer over HTTP; None lets the socket's handshake go on."""
        raise NotImplementedError


class Door(_Door):
    """The page, `/ws`, `/healthz`, and `/metrics` for this machine."""

    def __init__(
        self,
        hub: Hub,
        gate: Gate,
        metrics: Metrics,
        directory: Path,
        allowed_origins: Sequence[str],
        peers: Peers,
    ) -> None:
        super().__init__(hub, metrics)
        self.max_connections += gate.limits.clients
        self.max_connections_an_address += min(gate.limits.clients, gate.limits.clients_per_address)
        self._gate = gate
        self._files = page.load(directory)
        self._allowed_origins = frozenset(allowed_origins)
        self._peers = peers

    @property
    def has_page(self) -> bool:
        """Whether the page was built."""
        return len(self._files) > 1

    def _is_proxy(self, peer: str) -> bool:
        return self._peers.is_proxy(peer)

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None  # the handshake's
        address = key_of(self._peers.address(_peer(connection), connection.request.headers))
        await Session(connection, address, self._hub, self._gate, self._metrics).run()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ws":
            return self._refuse_socket(connection, request)
        return _refuse_method(request) or self._serve(path, connection, request)

    def _serve(self, path: str, connection: ServerConnection, request: Request) -> Response:
        if path == "/healthz":
            return _health(self._hub, request)
        if path == "/metrics":
            if not is_local(connection, request):
                return _plain(HTTPStatus.FORBIDDEN, "Metrics are for this machine only.", request)
            return _metrics(self._metrics, request)
        if file := self._files.get(path):
            return _respond(file.status, file.headers, file.body, request)
        return _plain(HTTPStatus.NOT_FOUND, "There is nothing here.", request)

    def _refuse_socket(self, connection: ServerConnection, request: Request) -> Response | None:
        if self._is_allowed_origin(_peer(connection), request.headers):
            return None
        return _plain(
            HTTPStatus.FORBIDDEN,
            "This origin is not allowed; the relay's --allow-origin adds one.",
            request,
        )

    def _is_allowed_origin(self, peer: str, headers: Headers) -> bool:
        """A browser names the page's origin: ours, or an allowed one. Others name none."""
        origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
        if not origins:
            return True
        if len(origins) > 1 or len(hosts) != 1:
            return False
        ours = f"{self._peers.scheme(peer, headers)}://{hosts[0]}"
        return origins[0] == ours or origins[0] in self._allowed_origins


class MetricsDoor(_Door):
    """`/metrics` and `/healthz` at an address of their own, for whoever can reach it."""

    def _answer(self, _connection: ServerConnection, request: Request) -> Response:
        path = request.path.partition("?")[0]
        if refusal := _refuse_method(request):
            return refusal
        if path == "/healthz":
            return _health(self._hub, request)
        if path == "/metrics":
            return _metrics(self._metrics, request)
        return _plain(HTTPStatus.NOT_FOUND, "There is nothing here.", request)


def is_local(connection: ServerConnection, request: Request) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    if any(name in request.headers for name in FORWARDED):
        return False
    address = peers.parse(_peer(connection))
    return address is not None and address.is_loopback


def _peer(connection: ServerConnection) -> str:
    address = connection.remote_address  # None for who has gone before the greeting
    return str(address[0]) if address else "0.0.0.0"


def _refuse_method(request: Request) -> Response | None:
    if request.method in ("GET", "HEAD"):
        return None
    response = _plain(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered.", request)
    response.headers["Allow"] = "GET, HEAD"
    return response


def _health(hub: Hub, request: Request) -> Response:
    health = {"database": hub.database_ok, "listener": hub.is_listening, "clients": len(hub)}
    is_well = hub.database_ok and hub.is_listening
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return _respond(status, headers, msgspec.json.encode(health) + b"\n", request)


def _metrics(metrics: Metrics, request: Request) -> Response:
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return _respond(HTTPStatus.OK, headers, metrics.text(), request)


def _plain(status: HTTPStatus, text: str, request: Request) -> Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return _respond(status, headers, f"{text}\n".encode(), request)


def _respond(
    status: HTTPStatus, headers: dict[str, str], body: bytes, request: Request
) -> Response:
    """A whole response; HEAD gets the same without its body."""
    everything = Headers(
        headers | page.SECURITY_HEADERS | {"Content-Length": str(len(body)), "Connection": "close"}
    )
    return Response(status, status.phrase, everything, b"" if request.method == "HEAD" else body)
