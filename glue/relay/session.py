"""One client: its greeting, what it asks, and what it is sent."""

import asyncio
import contextlib
import random
import re
import socket
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from glue import wire
from glue.relay.database import DeclinedError, OpenSession, UnavailableError
from glue.relay.frames import Frame, curve_message, now, snapshot_message
from glue.relay.limits import MESSAGES_A_CONNECTION, Bucket, Gate
from glue.relay.metrics import Metrics
from glue.relay.outbox import Outbox
from glue.relay.pace import Pace, Round
from glue.relay.refusal import CLOSE_CODES, Refusal, refused

if TYPE_CHECKING:
    from glue.relay.hub import Hub

TOKEN = re.compile(r"\w+", re.ASCII)
"""What can be a token at all."""
HELLO_TIMEOUT = 10.0
"""Seconds for the first message."""
MAX_MESSAGE = 64 * 1024
"""Bytes of a message from the page: a hello may name a thousand accounts."""
SNAPSHOT_INTERVAL = 0.25
"""Seconds from one snapshot for a client to its next."""
CURVE_RETRY = 1.0
"""Seconds from one attempt to read a curve to the next, while the database is away."""
CURVE_PATIENCE = 0.050
"""Seconds that a snapshot waits for the curve that was asked for before it."""
SEND_TIMEOUT = 30.0
"""Seconds that a client may leave one message unread; pings can not tell, they wait behind it."""
CLOSE_TIMEOUT = 0.4
"""Seconds that the last message and the closing handshake may take.

With the time until a token is checked again (hub.TOKEN_INTERVAL) it stays below a second, in which
the connection of a revoked token ends.
"""
SEND_BUFFER = 128 * 1024
"""Bytes that the kernel may hold for a client: what is there can no longer be merged."""

_now = time.monotonic  # the clock of asyncio, too
read_message: Callable[[bytes], wire.FromPage] = msgspec.json.Decoder(wire.FromPage).decode


class Session:
    """The conversation with one client, from hello to the end."""

    def __init__(
        self,
        connection: ServerConnection,
        address: str,
        hub: "Hub",
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        self.token = ""
        self.token_id: int | None = None
        """Set while the gate counts it."""
        self.wants: list[int] | None = None
        """The accounts that it asked for; None is all that the token opens."""
        self.currency: str | None = None
        """Of the totals, where it asked for them."""
        self.only_totals = False
        self.allowed: list[int] = []
        """The accounts that the token opens, in order."""
        self.allowed_hash: int | None = None
        self.may_acknowledge = False
        """Whether the token allows it, for the client to know; the database decides."""
        self.chosen: list[int] = []
        """The accounts that it watches, in order; the totals are of these."""
        self.outbox = Outbox(metrics)
        self.round = Round()
        self._pace = Pace()
        self._connection = connection
        self._address = address
        self._hub = hub
        self._gate = gate
        self._metrics = metrics
        self._messages = Bucket(MESSAGES_A_CONNECTION, _now())
        self._refused: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
        self._is_idle = False
        """Whether all was sent, and the sender waits to be woken."""
        self._reading: asyncio.Task[bytes | None] | None = None
        """Of the snapshot, after which comes what waits."""
        self._lacks_snapshot = False
        """Whether the last one that was wanted could not be read."""
        self._data_at: str | None = None
        self._curve: wire.CurveRequest | None = None
        self._curve_asked = asyncio.Event()
        self._curve_drawn = asyncio.Event()
        """No curve is asked for that has not been put in line."""
        self._curve_drawn.set()

    @property
    def account_ids(self) -> list[int]:
        """The accounts that it is sent, in order."""
        return [] if self.only_totals else self.chosen

    async def run(self) -> None:
        """Serve the client until it goes or is sent away."""
        sender = self._connection.transport.get_extra_info("socket")
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            with self._gate.admit(self._address):
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

    def allow(self, opened: OpenSession) -> bool:
        """Take over the accounts that the token opens now; whether they are others than before."""
        if opened.account_ids is None or opened.account_hash == self.allowed_hash:
            return False
        self.allowed, self.allowed_hash = opened.account_ids, opened.account_hash
        return True

    def choose(self) -> list[int]:
        """The accounts to watch, of those that are allowed; Refusal when these are too few."""
        chosen = self.allowed
        if self.wants is not None:
            if not set(self.wants) <= set(chosen):
                raise Refusal.not_allowed()
            chosen = sorted(set(self.wants))
        if len(chosen) > wire.MAX_ACCOUNTS and not self.only_totals:
            raise Refusal.too_many_accounts(len(chosen))
        return chosen

    @property
    def takes_updates(self) -> bool:
        """Whether what is read for it now would be sent soon."""
        return not (self.outbox.has_updates or self.outbox.wants_snapshot)

    def deliver(self, frame: Frame) -> None:
        """Send a frame at once if nothing waits before it, or else put it in line."""
        outbox = self.outbox
        if (
            not self._is_idle
            or outbox.wake.is_set()
            or outbox.wants_snapshot
            or self._refused.done()
            or self._connection.transport.get_write_buffer_size()
        ):
            outbox.offer(frame)
            return
        needed = outbox.needed(frame)
        if needed is None:
            return
        if needed.kind == "trade":
            outbox.drop_update(needed.account_id)
        elif needed.kind == "update":
            at = _now()
            if self._pace.free_at > at:
                outbox.offer(needed)
                return
            self._pace.count(len(needed.data), at)
        self._write(needed.kind, needed.data, needed.at)

    # What the client says --------------------------------------------------------------------

    async def _receive_hello(self) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                message = await self._receive()
        except TimeoutError:
            raise Refusal.no_hello() from None
        if not isinstance(message, wire.Hello):
            raise Refusal.bad_message("The first message must be a hello.")
        if message.only_totals and message.totals_currency is None:
            raise Refusal.bad_message("The hello asks for totals alone, but names no currency.")
        if TOKEN.fullmatch(message.token) is None:
            raise Refusal.bad_token()
        self.token, self.wants = message.token, message.account_ids
        self.currency, self.only_totals = message.totals_currency, message.only_totals
        self.outbox.since = message.since or {}
        if message.updates_a_second < wire.MAX_UPDATES_A_SECOND:
            self.round.interval = 1 / message.updates_a_second

    async def _receive(self) -> wire.FromPage:
        message = await self._connection.recv()
        self._gate.count_message(self._messages, self._address, self.token_id, _now())
        if isinstance(message, bytes):
            raise Refusal.bad_message("A binary message was sent; messages are JSON texts.")
        data = message.encode()
        if len(data) > MAX_MESSAGE:
            raise Refusal.bad_message(f"A message is longer than {MAX_MESSAGE} bytes.")
        try:
            return read_message(data)
        except msgspec.MsgspecError as error:
            raise Refusal.bad_message(f"A message cannot be read: {error}.") from error

    # What the client is told -----------------------------------------------------------------

    async def _converse(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer())
            tasks.create_task(self._draw())
            tasks.create_task(self._send(tasks))
            raise await self._refused

    async def _answer(self) -> None:
        while True:
            match await self._receive():
                case wire.Resync(since=since):
                    self.outbox.want_snapshot("asked", since or {})
                case wire.Ping(sent_at=sent_at):
                    pong = wire.Pong(sent_at=sent_at, received_at=now())
                    self.outbox.offer_single("pong", msgspec.json.encode(pong))
                case wire.TotalsRequest(currency=currency):
                    if self.only_totals and currency is None:
                        raise Refusal.bad_message("Without totals nothing would be left to send.")
                    self._hub.change_totals(self, currency)
                case wire.CurveRequest() as request:
                    self._ask_curve(request)
                case wire.Acknowledge() as request:
                    await self._acknowledge(request)
                case wire.Hello():
                    raise Refusal.bad_message("A second hello was sent; it counts once only.")

    async def _acknowledge(self, request: wire.Acknowledge) -> None:
        """One at a time: what the client says meanwhile waits. The event is the answer."""
        try:
            await self._hub.acknowledge(self, request)
        except UnavailableError as error:
            sqlstate = error.sqlstate if isinstance(error, DeclinedError) else None
            if sqlstate == "TM303":
                raise Refusal.bad_token() from error
            answer = refused(request.discrepancy_id, sqlstate)
            self.outbox.offer_single("refused", msgspec.json.encode(answer), answer.discrepancy_id)

    def _ask_curve(self, request: wire.CurveRequest) -> None:
        try:
            is_range = _instant(request.from_at) < _instant(request.to_at)
        except ValueError as error:
            raise Refusal.bad_message(f"An instant cannot be read: {error}.") from error
        if not is_range:
            raise Refusal.bad_message("A curve's from_at must be before its to_at.")
        account_id = request.account_id
        if account_id is None:
            if not self.chosen:
                return
            account_id = self.chosen[0]
        if account_id not in self.allowed:
            raise Refusal.not_allowed()
        self._curve = msgspec.structs.replace(request, account_id=account_id)
        self._curve_asked.set()
        self._curve_drawn.clear()

    async def _draw(self) -> None:
        """Read the curve asked for last, one at a time."""
        while True:
            await self._curve_asked.wait()
            self._curve_asked.clear()
            request = self._curve
            assert request is not None  # set before the event
            try:
                columns = await self._hub.curve(request)
            except UnavailableError:
                await asyncio.sleep(CURVE_RETRY)
                self._curve_asked.set()
                continue
            self.outbox.offer_single("curve", curve_message(request, columns))
            if not self._curve_asked.is_set():
                self._curve_drawn.set()

    async def _send(self, tasks: asyncio.TaskGroup) -> None:
        """Write to the client, one message after the other, as it can read.

        While its snapshot is read it is sent heartbeats alone.
        """
        beat_at, snapshot_at = _next_beat(), 0.0
        outbox = self.outbox
        while True:
            outbox.wake.clear()
            if _now() >= beat_at:
                await self._send_heartbeat()
                beat_at = _next_beat()
            elif self._reading is not None and self._reading.done():
                if message := self._reading.result():
                    await self._send_curve()
                    await self._send_text("snapshot", message)
                self._reading, snapshot_at = None, _now() + SNAPSHOT_INTERVAL
            elif self._reading is None and outbox.wants_snapshot and _now() >= snapshot_at:
                self._reading = tasks.create_task(self._read_snapshot())
            elif self._reading is None and (
                frame := outbox.take(with_updates=self._pace.free_at <= _now())
            ):
                await self._send_text(frame.kind, frame.data, at=frame.at)
                if frame.kind in ("update", "broker"):
                    self._pace.count(len(frame.data), _now())
            elif outbox.wants_heartbeat:
                outbox.wants_heartbeat = False
                await self._send_heartbeat()
            else:
                await self._rest(beat_at, snapshot_at)

    async def _rest(self, beat_at: float, snapshot_at: float) -> None:
        """Until there is something to send."""
        until = beat_at
        if self._reading is None:
            if self.outbox.wants_snapshot:
                until = min(until, snapshot_at)
            if self.outbox.has_prices:
                until = min(until, self._pace.free_at)
            self._is_idle = True
        try:
            async with asyncio.timeout_at(until):
                await self.outbox.wake.wait()
        except TimeoutError:
            pass
        finally:
            self._is_idle = False

    async def _read_snapshot(self) -> bytes | None:
        """The message; None where it cannot be read, and is wanted still."""
        try:
            text = await self._hub.snapshot(self)
        except UnavailableError:
            if not self._lacks_snapshot:
                self._lacks_snapshot = True
                self.outbox.want_heartbeat()
            return None
        finally:
            self.outbox.wake.set()
        self._lacks_snapshot = False
        return snapshot_message(text, may_acknowledge=self.may_acknowledge)

    async def _send_curve(self) -> None:
        """The curve that was asked for before a snapshot, so that a page paints both at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CURVE_PATIENCE):
                await self._curve_drawn.wait()
        if curve := self.outbox.take_single("curve"):
            await self._send_text("curve", curve)

    async def _send_heartbeat(self) -> None:
        """Names the last events that were sent: those that wait here are not missing."""
        event_seqs: dict[str, int] = {}
        if self._reading is None and not self.outbox.wants_snapshot:
            event_seqs = self._hub.event_seqs(self.account_ids)
            for account_id, event_seq in self.outbox.unsent().items():
                event_seqs[str(account_id)] = event_seq - 1
            if not self.outbox:
                self._data_at = self._hub.data_at(self)
        heartbeat = wire.Heartbeat(
            sent_at=now(),
            database_ok=self._hub.database_ok and not self._lacks_snapshot,
            data_at=self._data_at,
            event_seqs=event_seqs,
        )
        await self._send_text("heartbeat", msgspec.json.encode(heartbeat))

    async def _send_text(self, kind: str, data: bytes, *, at: float | None = None) -> None:
        if not self._connection.transport.get_write_buffer_size():
            self._write(kind, data, at)
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._connection.send(data, text=True)
        except TimeoutError:
            self._metrics.refusals.labels("too_slow").inc()
            self._connection.transport.abort()  # it reads nothing, so it cannot be told
            raise await _closed(self._connection) from None
        self._metrics.count_sent(kind, len(data), at)

    def _write(self, kind: str, data: bytes, at: float | None) -> None:
        """Write to a line where nothing waits: it need not be watched."""
        broadcast((self._connection,), data, text=True)
        self._metrics.count_sent(kind, len(data), at)

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


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _next_beat() -> float:
    """A little early, by chance: who came together would be told together for ever."""
    return _now() + wire.HEARTBEAT_SECONDS * random.uniform(0.8, 1.0)
