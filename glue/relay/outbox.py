"""What one client has yet to be sent: bounded, whatever the client's speed."""

import asyncio
from collections import deque
from collections.abc import Mapping

from glue.relay.database import Mark
from glue.relay.frames import Frame
from glue.relay.metrics import Metrics

MAX_TRADES = 256
"""Trades that wait for one client. Overflow: all that waits is dropped for a fresh snapshot."""


class Outbox:
    """The latest update of each account, and every trade; or the wish for a snapshot.

    A snapshot is wanted, then `begin_snapshot`, the query, `end_snapshot`: what is offered while
    the query runs is kept, and then left out where the snapshot holds it already.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.wake = asyncio.Event()
        self.wants_snapshot = True
        self.wants_heartbeat = False
        self._metrics = metrics
        self._trades: deque[Frame] = deque()
        self._updates: dict[int, Frame] = {}
        self._snapshot: Mapping[int, Mark] = {}

    def offer(self, frame: Frame) -> None:
        """Put a frame in line, unless the snapshot sent or wanted holds what it says.

        Frames of an account come in the order of their versions.
        """
        if self.wants_snapshot or self._is_known(frame):
            return
        if frame.account_id in self._updates:
            self._metrics.merged.inc()
        if frame.kind == "update":
            self._updates[frame.account_id] = frame  # keeps its place in line
        elif len(self._trades) < MAX_TRADES:
            self._updates.pop(frame.account_id, None)
            self._trades.append(frame)
        else:
            self.want_snapshot("overflow")
        self.wake.set()

    def take(self) -> Frame | None:
        """The next frame to send: trades go first."""
        if self._trades:
            return self._trades.popleft()
        for account_id in self._updates:
            return self._updates.pop(account_id)
        return None

    def unsent(self) -> dict[int, int]:
        """The number of the first trade that waits, of each account that has one."""
        first: dict[int, int] = {}
        for frame in self._trades:
            first.setdefault(frame.account_id, frame.mark.event_seq)
        return first

    def want_snapshot(self, cause: str) -> None:
        """Drop what waits for a fresh snapshot."""
        if not self.wants_snapshot:
            self._metrics.resyncs.labels(cause).inc()
        self.wants_snapshot = True
        self._clear()
        self.wake.set()

    def want_heartbeat(self) -> None:
        """Tell the client soon how the database is."""
        self.wants_heartbeat = True
        self.wake.set()

    def begin_snapshot(self) -> None:
        """From here on nothing may be lost: the snapshot is read after this."""
        self.wants_snapshot = False
        self._snapshot = {}
        self._clear()

    def end_snapshot(self, marks: Mapping[int, Mark]) -> None:
        """Leave out what the snapshot holds already."""
        self._snapshot = marks
        self._trades = deque(frame for frame in self._trades if not self._is_known(frame))
        self._updates = {
            frame.account_id: frame for frame in self._updates.values() if not self._is_known(frame)
        }

    def __len__(self) -> int:
        return len(self._trades) + len(self._updates)

    def _is_known(self, frame: Frame) -> bool:
        known = self._snapshot.get(frame.account_id)
        if known is None:
            return False
        if frame.kind == "trade":
            return frame.mark.event_seq <= known.event_seq
        return frame.mark.version <= known.version

    def _clear(self) -> None:
        self._trades.clear()
        self._updates.clear()
