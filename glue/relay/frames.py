"""From the database's JSON texts to messages: they go on as they are, in an envelope."""

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from glue.relay.database import Change, Mark
from glue.wire import CurveRequest


class Frame(NamedTuple):
    """A message, encoded once for all who get it, with what it says of which account."""

    kind: str
    account_id: int
    mark: Mark
    data: bytes
    at: float | None = None
    """When what it says became so, in seconds since 1970."""
    update: "Frame | None" = None
    """Of the last trade read: what tells the state alone, for those who know of the trade."""

    @property
    def size(self) -> int:
        """Bytes that it takes while it waits."""
        return len(self.data) + (0 if self.update is None else len(self.update.data))


class FillHead(msgspec.Struct):
    """What the relay itself reads of a fill; the amounts stay text."""

    recorded_at: datetime


class EventHead(msgspec.Struct):
    """What the relay itself reads of an event."""

    type: str
    event_seq: int
    fill: FillHead | None = None
    committed_at: datetime | None = None
    recorded_at: datetime | None = None
    """Of a discrepancy or an alert; a trade's is its fill's."""


class StateHead(msgspec.Struct):
    """What the relay itself reads of a state."""

    version: int


class PortfolioHead(msgspec.Struct):
    """What the relay itself reads of a snapshot's account."""

    account_id: int
    event_seq: int
    state: StateHead
    broker: msgspec.Raw


class SnapshotHead(msgspec.Struct):
    """What the relay itself reads of a snapshot."""

    accounts: list[PortfolioHead]


read_event = msgspec.json.Decoder(EventHead).decode
read_snapshot = msgspec.json.Decoder(SnapshotHead).decode


class Held(NamedTuple):
    """What a snapshot holds of an account."""

    mark: Mark
    broker_hash: str


def snapshot_holds(text: str) -> dict[int, Held]:
    """How much of each account a snapshot holds."""
    return {
        portfolio.account_id: Held(
            Mark(portfolio.state.version, portfolio.event_seq),
            hash_of(bytes(portfolio.broker)),
        )
        for portfolio in read_snapshot(text).accounts
    }


def hash_of(broker: bytes) -> str:
    """What tells one text about a broker from another, as api.broker_changes has it."""
    return hashlib.md5(broker, usedforsecurity=False).hexdigest()


def broker_frame(account_id: int, broker: str) -> Frame:
    """What an account's broker said last."""
    text = f'{{"type":"broker","account_id":{account_id},"broker":{broker}}}'
    return Frame("broker", account_id, Mark(0, 0), text.encode())


def frames(change: Change, held: Mark) -> list[Frame]:
    """What is not held yet: a trade or another event each, and an update if no trade tells it."""
    rest = f'"state":{change.state},"positions":{change.positions}}}'
    made: list[Frame] = []
    last_trade = None
    for text in change.events or ():
        head = read_event(text)
        if head.event_seq <= held.event_seq:
            continue
        at = head.committed_at or head.recorded_at
        if head.fill is not None:
            text = f'{text[:-1]},"read_at":"{now()}",{rest}'  # noqa: PLW2901
            at = at or head.fill.recorded_at
            last_trade = len(made)
        made.append(
            Frame(
                head.type,
                change.account_id,
                Mark(change.version, head.event_seq),
                text.encode(),
                None if at is None else at.timestamp(),
            )
        )
    if last_trade is not None:
        made[last_trade] = made[last_trade]._replace(update=update_frame(change, rest))
    elif change.version > held.version:
        made.append(update_frame(change, rest))
    return made


def update_frame(change: Change, rest: str) -> Frame:
    """The state alone; `rest` is its text, with the positions."""
    text = (
        f'{{"type":"update","account_id":{change.account_id},"event_seq":{change.event_seq},{rest}'
    )
    mark = Mark(change.version, change.event_seq)
    return Frame("update", change.account_id, mark, text.encode(), change.updated_at)


def snapshot_message(text: str, *, may_acknowledge: bool) -> bytes:
    """A snapshot with what the token allows."""
    return f'{text[:-1]},"may_acknowledge":{str(may_acknowledge).lower()}}}'.encode()


def curve_message(request: CurveRequest, columns: str) -> bytes:
    """A curve's columns as the answer to a request."""
    return (
        f'{{"type":"curve","account_id":{request.account_id},"from_at":"{request.from_at}",'
        f'"to_at":"{request.to_at}",{columns[1:]}'
    ).encode()


def now() -> str:
    """This instant, as messages write it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
