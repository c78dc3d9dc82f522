"""One client: its greeting, what it asks, and what it is sent."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from glue import wire
from glue.relay.database import UnavailableError
from glue.relay.frames import snapshot_message
from glue.relay.metrics import Metrics
from glue.relay.outbox import Outbox

if TYPE_CHECKING:
    from glue.relay.hub import Hub

HELLO_TIMEOUT = 10.0
"""Seconds for the first message."""
MAX_MESSAGE = 4096
"""Bytes of a message from the page."""
SNAPSHOT_INTERVAL = 0.25
"""Seconds from one snapshot for a client to its next."""
SEND_TIMEOUT = 30.0
"""Seconds that a client may leave one message unread; pings can not tell, they wait behind it."""
CLOSE_TIMEOUT = 1.0
"""Seconds that the last message and the closing handshake may take."""
SEND_BUFFER = 128 * 1024
"""Bytes that the kernel may hold for a client: what is there can no longer be merged."""

CLOSE_CODES: dict[wire.ErrorCode, int] = {
    "bad_message": 1008,
    "bad_token": 1008,
    "not_allowed": 1008,
    "unavailable": 1013,
    "too_slow": 1013,
    "too_many": 1013,
    "rate_limited": 1013,
}

read_message: Callable[[str], wire.FromPage] = msgspec.json.Decoder(wire.FromPage).decode


class Refusal(Exception):
    """Why a client is sent away; becomes an error message."""

    def __init__(self, code: wire.ErrorCode, message: str, remedy: str) -> None:
        super().__init__(message)
        self.error = wire.Error(code=code, message=message, remedy=remedy)

    @classmethod
    def bad_message(cls, message: str) -> Self:
        """It does not speak the protocol."""
        return cls("bad_message", message, "See glue/wire.py for the messages of tidemark.v1.")

    @classmethod
    def bad_token(cls) -> Self:
        """Unknown, expired and revoked look the same from outside."""
        return cls(
            "bad_token",
            "The token is unknown, has expired or was revoked.",
            "Get a new one: tidemark token issue",
        )

    @classmethod
    def not_allowed(cls) -> Self:
        """An account that does not exist looks the same from outside."""
        return cls(
            "not_allowed",
            "The token does not open all of the accounts asked for.",
            "Leave account_ids out to see all that it opens, or get a token for these accounts.",
        )

    @classmethod
    def unavailable(cls) -> Self:
        """The database is away."""
        return cls(
            "unavailable",
            "The relay has no connection to its database.",
            "Try again soon; the relay's log names the reason.",
        )

    @classmethod
    def set_back(cls) -> Self:
        """Versions have gone back: what the client holds would count as newer for ever."""
        return cls(
            "unavailable",
            "The database was set back to an earlier state.",
            "Connect again and begin with the new snapshot.",
        )


class Session:
    """The conversation with one client, from hello to the end."""

    def __init__(self, connection: ServerConnection, hub: "Hub", metrics: Metrics) -> None:
        self.token = ""
        self.wants: list[int] | None = None
        """The accounts that it asked for; None is all that the token opens."""
        self.account_ids: list[int] = []
        """The accounts that it is sent, in order."""
        self.outbox = Outbox(metrics)
        self._connection = connection
        self._hub = hub
        self._metrics = metrics
        self._refused: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve the client until it goes or is sent away."""
        sender = self._connection.transport.get_extra_info("socket")
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            await self._receive_hello()
            await self._hub.join(self)
            await self._converse()
        except* Refusal as refusals:
            await self._send_away(refusals)
        except* ConnectionClosed:
            pass
        finally:
            self._hub.leave(self)

    def refuse(self, refusal: Refusal) -> None:
        """Send the client away soon, whatever it is doing."""
        if not self._refused.done():
            self._refused.set_result(refusal)

    def choose(self, allowed: list[int]) -> list[int]:
        """The accounts to send, of those that the token opens; Refusal when it opens too few."""
        if self.wants is None:
            return allowed
        if not set(self.wants) <= set(allowed):
            raise Refusal.not_allowed()
        return sorted(set(self.wants))

    # What the client says --------------------------------------------------------------------

    async def _receive_hello(self) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                message = await self._receive()
        except TimeoutError:
            raise Refusal.bad_message("No hello has come in time.") from None
        if not isinstance(message, wire.Hello):
            raise Refusal.bad_message("The first message must be a hello.")
        if message.account_ids == []:
            raise Refusal.bad_message("The hello asks for no account at all.")
        if not (message.token.isascii() and message.token.isprintable()):
            raise Refusal.bad_token()
        self.token, self.wants = message.token, message.account_ids

    async def _receive(self) -> wire.FromPage:
        message = await self._connection.recv()
        if isinstance(message, bytes):
            raise Refusal.bad_message("A binary message was sent; messages are JSON texts.")
        if len(message) > MAX_MESSAGE:
            raise Refusal.bad_message(f"A message is longer than {MAX_MESSAGE} bytes.")
        try:
            return read_message(message)
        except msgspec.MsgspecError as error:
            raise Refusal.bad_message(f"A message cannot be read: {error}.") from error

    # What the client is told -----------------------------------------------------------------

    async def _converse(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer())
            tasks.create_task(self._send())
            raise await self._refused

    async def _answer(self) -> None:
        while True:
            if not isinstance(await self._receive(), wire.Resync):
                raise Refusal.bad_message("A second hello was sent; it counts once only.")
            self.outbox.want_snapshot("asked")

    async def _send(self) -> None:
        """The one place that writes to the client: one message after the other, as it can read."""
        now = asyncio.get_running_loop().time
        beat_at, snapshot_at = now() + wire.HEARTBEAT_SECONDS, 0.0
        outbox = self.outbox
        while True:
            outbox.wake.clear()
            if now() >= beat_at:
                await self._send_heartbeat()
                beat_at = now() + wire.HEARTBEAT_SECONDS
            elif outbox.wants_snapshot and now() >= snapshot_at:
                await self._send_snapshot()
                snapshot_at = now() + SNAPSHOT_INTERVAL
            elif frame := outbox.take():
                await self._send_text(frame.kind, frame.data)
            elif outbox.wants_heartbeat:
                outbox.wants_heartbeat = False
                await self._send_heartbeat()
            else:
                until = min(beat_at, snapshot_at) if outbox.wants_snapshot else beat_at
                try:
                    async with asyncio.timeout_at(until):
                        await outbox.wake.wait()
                except TimeoutError:
                    pass

    async def _send_snapshot(self) -> None:
        try:
            text = await self._hub.snapshot(self)
        except UnavailableError:
            return  # wanted still
        await self._send_text("snapshot", snapshot_message(text))

    async def _send_heartbeat(self) -> None:
        """Names the last events that were sent: those that wait here are not missing."""
        event_seqs: dict[str, int] = {}
        if not self.outbox.wants_snapshot:
            event_seqs = self._hub.event_seqs(self.account_ids)
            for account_id, event_seq in self.outbox.unsent().items():
                event_seqs[str(account_id)] = event_seq - 1
        heartbeat = wire.Heartbeat(
            sent_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            database_ok=self._hub.database_ok,
            data_at=None,
            event_seqs=event_seqs,
        )
        await self._send_text("heartbeat", msgspec.json.encode(heartbeat))

    async def _send_text(self, kind: str, data: bytes, timeout: float = SEND_TIMEOUT) -> None:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
                await self._connection.send(data, text=True)
        except TimeoutError:
            self._metrics.refusals.labels("too_slow").inc()
            self._connection.transport.abort()  # it reads nothing, so it cannot be told
            raise await _closed(self._connection) from None
        self._metrics.messages.labels(kind).inc()
        self._metrics.bytes.inc(len(data))

    async def _send_away(self, refusals: BaseExceptionGroup[Refusal]) -> None:
        """Say why, and hang up; who does not listen is cut off."""
        error = _first(refusals).error
        self._metrics.refusals.labels(error.code).inc()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send_text("error", msgspec.json.encode(error))
                await self._connection.close(CLOSE_CODES[error.code], error.code)
        except (TimeoutError, ConnectionClosed):
            self._connection.transport.abort()


async def _closed(connection: ServerConnection) -> ConnectionClosed:
    """The exception that tells how a connection ended, once it has."""
    await connection.wait_closed()
    closed: ConnectionClosed = connection.protocol.close_exc
    return closed


def _first(group: BaseExceptionGroup[Refusal]) -> Refusal:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Refusal)
    return error
