"""From the database's JSON texts to messages: they go on as they are, in an envelope."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from glue.relay.database import Change, Mark
from glue.relay.metrics import Metrics


class Frame(NamedTuple):
    """A message, encoded once for all who get it, with what it says of which account."""

    kind: str
    account_id: int
    mark: Mark
    data: bytes


class FillHead(msgspec.Struct):
    """What the relay itself reads of a fill; the amounts stay text."""

    event_seq: int
    recorded_at: datetime


class StateHead(msgspec.Struct):
    """What the relay itself reads of a state."""

    version: int


class PortfolioHead(msgspec.Struct):
    """What the relay itself reads of a snapshot's account."""

    account_id: int
    event_seq: int
    state: StateHead


class SnapshotHead(msgspec.Struct):
    """What the relay itself reads of a snapshot."""

    accounts: list[PortfolioHead]


read_fill = msgspec.json.Decoder(FillHead).decode
read_snapshot = msgspec.json.Decoder(SnapshotHead).decode


def snapshot_message(text: str) -> bytes:
    """A snapshot's text as a message."""
    return f'{{"type":"snapshot",{text[1:]}'.encode()


def snapshot_marks(text: str) -> dict[int, Mark]:
    """How much of each account a snapshot holds."""
    return {
        portfolio.account_id: Mark(portfolio.state.version, portfolio.event_seq)
        for portfolio in read_snapshot(text).accounts
    }


def frames(change: Change, held: Mark, metrics: Metrics) -> list[Frame]:
    """A trade for each fill that is not held yet, or one update."""
    rest = f'"state":{change.state},"positions":{change.positions}}}'
    trades = []
    for fill in change.fills:
        head = read_fill(fill)
        if head.event_seq <= held.event_seq:
            continue
        lag = (datetime.now(UTC) - head.recorded_at).total_seconds()
        metrics.fill_lag_seconds.observe(max(0.0, lag))
        text = (
            f'{{"type":"trade","account_id":{change.account_id},"event_seq":{head.event_seq},'
            f'"fill":{fill},{rest}'
        )
        mark = Mark(change.version, head.event_seq)
        trades.append(Frame("trade", change.account_id, mark, text.encode()))
    if trades:
        return trades
    text = (
        f'{{"type":"update","account_id":{change.account_id},"event_seq":{change.event_seq},{rest}'
    )
    mark = Mark(change.version, change.event_seq)
    return [Frame("update", change.account_id, mark, text.encode())]
