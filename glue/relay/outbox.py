"""What one client has yet to be sent: bounded, whatever the client's speed."""

import asyncio
from collections import deque
from collections.abc import Mapping

from glue.relay.database import Mark
from glue.relay.frames import Frame
from glue.relay.metrics import Metrics

MAX_EVENTS = 256
"""Trades, discrepancies and alerts that wait for one client. Overflow: see MAX_BYTES."""
MAX_BYTES = 4 * 1024 * 1024
"""Bytes that wait for one client, or twice its last snapshot where that is more.

Overflow: all that waits is dropped for a fresh snapshot, with a history from the first dropped
event on.
"""


class Outbox:
    """Every event and the latest update of each account; or the wish for a snapshot.

    A snapshot is wanted, then `begin_snapshot`, the query, `end_snapshot`: what is offered while
    the query runs is kept, and then left out where the snapshot holds it already.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.wake = asyncio.Event()
        self.wants_snapshot = True
        self.wants_heartbeat = False
        self.since: dict[int, int] = {}
        """The last event that the client has of an account, where the snapshot must tell more."""
        self.byte_count = 0
        self.max_bytes = MAX_BYTES
        self._metrics = metrics
        self._events: deque[Frame] = deque()
        self._updates: dict[int, Frame] = {}
        self._singles: dict[tuple[str, int], bytes] = {}
        """Messages of which the latest counts, by kind and subject (a curve, the totals)."""
        self._brokers: dict[int, Frame] = {}
        """What each account's broker said last: one a watched account at the most."""
        self._snapshot: Mapping[int, Mark] = {}

    def offer(self, frame: Frame) -> None:
        """Put a frame in line, unless the snapshot sent or wanted holds what it says.

        Frames of an account come in the order of their versions.
        """
        if self.wants_snapshot:
            if frame.kind != "update":
                self._reach_back({frame.account_id: frame.mark.event_seq - 1})
            return
        needed = self.needed(frame)
        if needed is not None:
            self._put(needed)

    def drop_update(self, account_id: int) -> None:
        """Something that is told now has the account's state, a later one."""
        self._count_merged(self._updates.pop(account_id, None))

    def _count_merged(self, older: Frame | None) -> None:
        if older is not None:
            self._metrics.merged.inc()
            self.byte_count -= older.size

    def _put(self, frame: Frame) -> None:
        if frame.kind == "update":
            self._count_merged(self._updates.get(frame.account_id))
            self._updates[frame.account_id] = frame  # keeps its place in line
        else:
            if frame.kind == "trade":
                self.drop_update(frame.account_id)
            self._events.append(frame)
        self.byte_count += frame.size
        if self.byte_count > self.max_bytes or len(self._events) > MAX_EVENTS:
            self.want_snapshot("overflow")
        self.wake.set()

    def offer_single(self, kind: str, data: bytes, subject: int = 0) -> None:
        """Put a message in line in the place of an earlier one of its kind and subject."""
        self.byte_count += len(data) - len(self._singles.get((kind, subject), b""))
        self._singles[kind, subject] = data
        self.wake.set()

    def take_single(self, kind: str, subject: int = 0) -> bytes | None:
        """A message of which there is only one, out of its turn; None where there is none."""
        data = self._singles.pop((kind, subject), None)
        self.byte_count -= len(data or b"")
        return data

    def offer_broker(self, frame: Frame) -> None:
        """Put it in line behind all else, in the place of an earlier one of the account."""
        if self.wants_snapshot:
            return  # which is read after it
        if older := self._brokers.get(frame.account_id):
            self.byte_count -= older.size
        self._brokers[frame.account_id] = frame
        self.byte_count += frame.size
        self.wake.set()

    @property
    def has_prices(self) -> bool:
        """Whether something waits that has to keep the pace."""
        return bool(self._updates or self._brokers)

    @property
    def has_updates(self) -> bool:
        """Whether states wait."""
        return bool(self._updates)

    def take(self, *, with_updates: bool = True) -> Frame | None:
        """The next frame to send: events go first, and what there is only one of."""
        if self._events:
            frame = self._events.popleft()
        elif self._singles:
            key = next(iter(self._singles))
            frame = Frame(key[0], 0, Mark(0, 0), self._singles.pop(key))
        elif self._updates and with_updates:
            frame = self._updates.pop(next(iter(self._updates)))
        elif self._brokers and with_updates:
            frame = self._brokers.pop(next(iter(self._brokers)))
        else:
            return None
        self.byte_count -= frame.size
        return frame

    def unsent(self) -> dict[int, int]:
        """The number of the first event that waits, of each account that has one."""
        first: dict[int, int] = {}
        for frame in self._events:
            first.setdefault(frame.account_id, frame.mark.event_seq)
        return first

    def want_snapshot(self, cause: str, since: Mapping[int, int] | None = None) -> None:
        """Drop what waits for a fresh snapshot, whose history reaches back to what was sent.

        `since` says better than we what the client has.
        """
        if not self.wants_snapshot:
            self._metrics.resyncs.labels(cause).inc()
        self.wants_snapshot = True
        self._drop_all()
        if since is not None:
            self.since = dict(since)
        self.wake.set()

    def want_heartbeat(self) -> None:
        """Tell the client soon how the database is."""
        self.wants_heartbeat = True
        self.wake.set()

    def begin_snapshot(self) -> dict[int, int]:
        """From here on nothing may be lost: the snapshot, since this, is read after it."""
        since, self.since = self.since, {}
        self.wants_snapshot = False
        self._snapshot = {}
        return since

    def abandon_snapshot(self, since: Mapping[int, int]) -> None:
        """It could not be read, and is wanted still."""
        self.wants_snapshot = True
        self._reach_back(since)
        self._drop_all()

    def end_snapshot(self, marks: Mapping[int, Mark], size: int) -> None:
        """Leave out what the snapshot holds already."""
        self._snapshot = marks
        self.max_bytes = max(MAX_BYTES, 2 * size)
        self.take_single("totals")
        waiting = (*self._events, *self._updates.values())
        self._events.clear()
        self._updates.clear()
        self._count_anew()
        for frame in waiting:
            self.offer(frame)

    def needed(self, frame: Frame) -> Frame | None:
        """What of a frame the snapshot does not hold: of a trade perhaps the state alone."""
        known = self._snapshot.get(frame.account_id)
        if known is None:
            return frame
        if frame.kind == "update":
            return frame if frame.mark.version > known.version else None
        if frame.mark.event_seq > known.event_seq:
            return frame
        return self.needed(frame.update) if frame.update is not None else None

    def __len__(self) -> int:
        return len(self._events) + len(self._updates) + len(self._singles) + len(self._brokers)

    def _reach_back(self, since: Mapping[int, int]) -> None:
        for account_id, number in since.items():
            self.since[account_id] = min(number, self.since.get(account_id, number))

    def _drop_all(self) -> None:
        self._reach_back({account: number - 1 for account, number in self.unsent().items()})
        self._events.clear()
        self._updates.clear()
        self._brokers.clear()
        self._count_anew()

    def _count_anew(self) -> None:
        self.byte_count = sum(map(len, self._singles.values())) + sum(
            frame.size for frame in self._brokers.values()
        )
