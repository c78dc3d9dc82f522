"""What a page may ask for, and what it finds after it was away or has lost something."""

import asyncio
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from glue import wire
from glue.relay import http, hub, session
from glue.relay.database import Mark, UnavailableError
from glue.relay.frames import Frame
from glue.relay.limits import Gate, Limits
from glue.relay.metrics import Metrics
from glue.relay.outbox import MAX_BYTES, Outbox
from tests.conftest import Connection, Database
from tests.glue.relays import (
    GUIDE,
    Client,
    Relay,
    converge,
    fill,
    issue_token,
    one,
    open_account,
    refusal,
    tick,
    until,
)


def many_fills(conn: Connection, account_id: int, count: int) -> None:
    conn.execute(
        "select api.record_fill(%s, 'EUR/USD', 'buy', 1, 1.1) from generate_series(1, %s)",
        [account_id, count],
    )


def post(
    conn: Connection, account_id: int, kind: str, subject_id: int, is_open: bool = True
) -> int:
    at = "2026-01-05T09:00:00.000000Z"
    bodies: dict[str, dict[str, Any]] = {
        "discrepancy": {
            "discrepancy_id": subject_id,
            "cause": "missing_fill",
            "severity": "critical",
            "symbol": "EUR/USD",
            "field": "quantity",
            "ours": "1000",
            "theirs": "2000",
            "difference": "-1000",
            "unit": "EUR",
            "status": "open" if is_open else "resolved",
            "opened_at": at,
            "last_seen_at": at,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "note": None,
            "resolved_at": None if is_open else at,
            "message": "A fill of 1,000 EUR/USD is missing here.",
        },
        "alert": {
            "alert_id": subject_id,
            "kind": "test",
            "severity": "info",
            "status": "raised" if is_open else "resolved",
            "title": "A test",
            "message": "Nothing is wrong.",
            "raised_at": at,
            "resolved_at": None if is_open else at,
            "discrepancy_id": None,
        },
    }
    (event_seq,) = one(
        conn,
        "select ledger.post_event(%s, %s, %s, %s, %s)",
        [account_id, kind, subject_id, is_open, json.dumps(bodies[kind])],
    )
    return int(event_seq)


def is_a(kind: type | tuple[type, ...]) -> Any:
    return lambda message: isinstance(message, kind)


# Events ---------------------------------------------------------------------------------------


def test_discrepancies_and_alerts_come_in_order_with_trades(
    relay: Relay, book: SimpleNamespace
) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        fill(book.conn, book.alpha)
        assert post(book.conn, book.alpha, "discrepancy", 5) == 2
        post(book.conn, book.beta, "alert", 6)
        fill(book.conn, book.alpha)
        post(book.conn, book.alpha, "discrepancy", 5, is_open=False)
        found = client.wait_for(is_a(wire.DiscrepancyChanged))
        assert (found.account_id, found.event_seq) == (book.alpha, 2)
        assert found.discrepancy.difference == "-1000"
        resolved = client.wait_for(is_a(wire.DiscrepancyChanged))
        assert (resolved.event_seq, resolved.discrepancy.status) == (4, "resolved")
        while not client.events[book.beta]:
            client.receive()
        assert isinstance(client.events[book.beta][1], wire.AlertChanged)
        assert client.gaps == 0
        for kind, count in (("trade", 2), ("discrepancy", 2), ("alert", 1)):
            assert relay.metric(f'tidemark_relay_lag_seconds_count{{type="{kind}"}}') == count
        converge(client, book.conn, book.alpha, book.beta)


def test_events_read_together_are_each_sent(
    relay: Relay, book: SimpleNamespace, database: Database
) -> None:
    with relay.client(book.token, [book.alpha]) as client:
        client.snapshot()
        with database.connect() as other, other.transaction():
            for number in range(20):
                fill(other, book.alpha)
                post(other, book.alpha, "alert", number)
        while client.event_seqs[book.alpha] < 40:
            client.receive()
        assert client.gaps == 0
        assert sorted(client.fills[book.alpha]) == list(range(1, 41, 2))
        assert sorted(client.events[book.alpha]) == list(range(2, 41, 2))


def test_a_trade_tells_its_way(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        fill(book.conn, book.alpha)
        trade = client.wait_for(is_a(wire.Trade))
        read_at = datetime.fromisoformat(trade.read_at)
        assert timedelta(0) <= datetime.now(UTC) - read_at < timedelta(seconds=5)
        if trade.committed_at is not None:
            committed_at = datetime.fromisoformat(trade.committed_at)
            assert timedelta(0) < read_at - committed_at < timedelta(seconds=5)
        until(lambda: relay.metric('tidemark_relay_lag_seconds_count{type="trade"}') == 1)


@pytest.mark.parametrize(
    ("channel", "payload"),
    [
        ("tidemark_account", ""),
        ("tidemark_account", "999999"),
        ("tidemark_account", "9" * 7000),
        ("tidemark_account", "\u0661"),
        ("tidemark_account", "1; drop table ledger.fills"),
        ("tidemark_prices", "\u00e9"),
        ("tidemark_tokens", "-1"),
    ],
)
def test_forged_notifications_do_nothing(
    relay: Relay, book: SimpleNamespace, channel: str, payload: str
) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        for _ in range(3):
            book.conn.execute("select pg_notify(%s, %s)", [channel, payload])
        fill(book.conn, book.alpha)
        book.conn.execute("select pg_notify('tidemark_account', %s)", [str(book.alpha)])
        client.wait_for(is_a(wire.Trade))
        post(book.conn, book.alpha, "alert", 1)
        client.wait_for(is_a(wire.AlertChanged))
        assert (client.gaps, sorted(client.fills[book.alpha])) == (0, [1])
        assert relay.get("/healthz")[0].status == 200


# Away and back --------------------------------------------------------------------------------


def test_what_happened_while_away_is_in_the_snapshot(relay: Relay, book: SimpleNamespace) -> None:
    many_fills(book.conn, book.alpha, 10)
    with relay.client(book.token) as client:
        client.snapshot()
        held = dict(client.event_seqs)
    many_fills(book.conn, book.alpha, 120)
    post(book.conn, book.alpha, "discrepancy", 1)
    since = {str(account_id): number for account_id, number in held.items()}
    with relay.client(book.token, hello={"since": since}) as client:
        alpha, beta = client.snapshot().accounts
        assert alpha.history_from == 11
        assert [f.event_seq for f in alpha.fills[:120]] == list(range(130, 10, -1))
        assert [event.event_seq for event in alpha.events] == [131]
        assert (beta.event_seq, beta.history_from, beta.fills) == (0, 1, [])


def test_who_was_away_for_too_long_is_told_where_history_begins(
    relay: Relay, book: SimpleNamespace
) -> None:
    post(book.conn, book.alpha, "discrepancy", 1)
    many_fills(book.conn, book.alpha, 600)
    with relay.client(book.token, hello={"since": {str(book.alpha): 0}}) as client:
        alpha = client.snapshot().accounts[0]
        assert (alpha.event_seq, alpha.history_from) == (601, 102)
        assert [f.event_seq for f in alpha.fills] == list(range(601, 101, -1))
        assert [event.event_seq for event in alpha.events] == [1], "still open"


def test_a_gap_is_filled_by_asking_again(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        many_fills(book.conn, book.alpha, 80)
        while client.event_seqs[book.alpha] < 80:
            client.receive()
        client.send({"type": "resync", "since": {str(book.alpha): 3}})
        alpha = client.snapshot().accounts[0]
        assert [f.event_seq for f in alpha.fills] == list(range(80, 3, -1))
        client.send({"type": "resync"})
        assert client.snapshot().accounts[0].history_from == 31


def test_what_an_overflow_drops_is_in_the_history() -> None:
    outbox = Outbox(Metrics())

    def offer(kind: str, account_id: int, number: int, size: int = 1) -> None:
        outbox.offer(Frame(kind, account_id, Mark(number, number), b"x" * size))

    assert outbox.begin_snapshot() == {}
    outbox.end_snapshot({1: Mark(4, 4), 2: Mark(0, 0)}, 0)
    offer("trade", 1, 5)
    offer("update", 2, 1, MAX_BYTES - 1)
    assert (outbox.byte_count, outbox.wants_snapshot) == (MAX_BYTES, False)
    offer("update", 2, 2, MAX_BYTES - 1)
    assert (outbox.byte_count, outbox.wants_snapshot) == (MAX_BYTES, False), "it is merged"
    offer("alert", 1, 6)
    assert (outbox.byte_count, len(outbox), outbox.wants_snapshot) == (0, 0, True)
    offer("trade", 2, 9)
    since = outbox.begin_snapshot()
    assert since == {1: 4, 2: 8}
    offer("trade", 1, 7)
    outbox.abandon_snapshot(since)
    offer("trade", 1, 8)
    assert outbox.begin_snapshot() == {1: 4, 2: 8}
    outbox.end_snapshot({}, MAX_BYTES)
    offer("update", 2, 3, MAX_BYTES + 1)
    assert not outbox.wants_snapshot, "a client with so large a snapshot may have more waiting"


# Totals ---------------------------------------------------------------------------------------


def totals_in_database(conn: Connection, *account_ids: int) -> list[str]:
    return [
        format(value, "f") if isinstance(value, Decimal) else value
        for value in one(
            conn,
            "select balance, equity, margin_used from api.portfolio_totals(%s, 'JPY')",
            [list(account_ids)],
        )
    ]


def has_totals(client: Client, expected: list[str]) -> bool:
    totals = client.totals
    assert totals is not None
    return [totals.balance, totals.equity, totals.margin_used] == expected


def test_totals_follow_fills_and_prices(relay: Relay, book: SimpleNamespace) -> None:
    hello = {"totals_currency": "JPY"}
    with (
        relay.client(book.token, hello=hello) as client,
        relay.client(book.token, hello=hello | {"only_totals": True}) as lean,
        relay.client(book.token, [book.beta], hello=hello) as beta,
    ):
        assert len(client.snapshot().accounts) == 2
        assert lean.snapshot().accounts == []
        beta.snapshot()
        for change in (
            lambda: fill(book.conn, book.alpha, 100_000),
            lambda: tick(book.conn, "EUR/USD", "1.10500", "1.10510"),
            lambda: tick(book.conn, "USD/JPY", "151.000", "151.020"),
        ):
            change()
            expected = totals_in_database(book.conn, book.alpha, book.beta)
            for one_of_them in (client, lean):
                until(lambda c=one_of_them, e=expected: has_totals(c, e) or not c.receive())  # type: ignore[misc]
        expected = totals_in_database(book.conn, book.beta)
        until(lambda: has_totals(beta, expected) or not beta.receive())
        assert not lean.states
        gamma = open_account(book.conn, "Gamma")
        expected = totals_in_database(book.conn, book.alpha, book.beta, gamma)
        until(lambda: has_totals(lean, expected) or not lean.receive())


def test_totals_in_a_currency_without_a_way_are_unknown(
    relay: Relay, book: SimpleNamespace
) -> None:
    with relay.client(book.token, hello={"totals_currency": "SEK"}) as client:
        totals = client.snapshot().totals
        assert totals is not None
        assert (totals.unlinked_currency, totals.equity) == ("USD", None)
        book.conn.execute("select api.upsert_instrument('USD/SEK', 'USD', 'SEK', 0.1)")
        tick(book.conn, "USD/SEK", "10.0", "10.0")
        found = client.wait_for(
            lambda m: isinstance(m, wire.TotalsChanged) and m.totals.equity is not None
        )
        assert found.totals.equity == "200000.00"


def test_totals_in_another_currency_come_without_a_new_snapshot(
    relay: Relay, book: SimpleNamespace
) -> None:
    with relay.client(book.token) as client:
        assert client.snapshot().totals is None
        for currency in ("USD", "JPY"):
            client.send({"type": "totals", "currency": currency})
            client.wait_for(lambda m, c=currency: is_totals(m) and m.totals.currency == c)
        expected = totals_in_database(book.conn, book.alpha, book.beta)
        until(lambda: has_totals(client, expected) or not client.receive())
        client.send({"type": "totals", "currency": None})
        client.send({"type": "ping", "sent_at": 1})
        client.wait_for(lambda m: isinstance(m, wire.Pong))
        tick(book.conn, "USD/JPY", "152.000", "152.020")
        others: list[object] = []
        client.wait_for(lambda m: isinstance(m, wire.Heartbeat) or others.append(m))
        assert not any(is_totals(message) for message in others)
        assert client.snapshots == 1


def test_after_the_database_hung_totals_are_read_as_soon_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    pauses: list[float] = []

    class Hanging:
        async def totals(self, _account_ids: list[int], _currency: str) -> str:
            clock[0] += 30.0
            raise UnavailableError

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    async def read() -> None:
        database: Any = Hanging()
        gate = Gate(Limits(clients=1, clients_per_token=1, clients_per_address=1))
        reader = hub.Hub(database, gate, Metrics())
        reader._totals[(1,), "USD"] = hub.Totals([1], "USD")
        with pytest.raises(asyncio.CancelledError):
            await reader._read_totals()

    monkeypatch.setattr(hub, "_now", lambda: clock[0])
    monkeypatch.setattr(asyncio, "sleep", pause)
    asyncio.run(read())
    assert pauses == [hub.POLL_INTERVAL]


def test_totals_alone_cannot_be_ended(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token, hello={"totals_currency": "JPY", "only_totals": True}) as client:
        client.snapshot()
        client.send({"type": "totals", "currency": None})
        assert refusal(client.connection).code == "bad_message"


def is_totals(message: object) -> bool:
    return isinstance(message, wire.TotalsChanged)


# Curves and clocks ----------------------------------------------------------------------------


def curve(book: SimpleNamespace, **fields: Any) -> dict[str, Any]:
    return {
        "type": "curve",
        "account_id": book.alpha,
        "from_at": "2026-01-01T00:00:00.5Z",
        "to_at": "2200-01-01T00:00:00Z",
        "points": 100,
    } | fields


def test_a_curve_comes_on_demand(relay: Relay, book: SimpleNamespace) -> None:
    fill(book.conn, book.alpha, 100_000)
    tick(book.conn, "EUR/USD", "1.10100", "1.10110")
    book.conn.execute("update equity.curve_settings set grace = '0 seconds'")

    def has_bars() -> bool:
        book.conn.execute("call api.close_bars()")
        return bool(one(book.conn, "select count(*) from api.equity_curve_1s")[0])

    until(has_bars)
    with relay.client(book.token) as client:
        client.snapshot()
        client.send(curve(book))
        drawn = client.wait_for(is_a(wire.Curve))
        assert (drawn.account_id, drawn.from_at) == (book.alpha, "2026-01-01T00:00:00.5Z")
        assert drawn.close[-1] in ("10000.00", "9990.00", "10100.00")
        columns = [drawn.open, drawn.high, drawn.low, drawn.performance, drawn.drawdown]
        assert {len(column) for column in columns} == {len(drawn.at)}
        client.send(curve(book, from_at="2199-01-01T00:00:00Z"))
        assert client.wait_for(is_a(wire.Curve)).at == []


def test_a_curve_of_the_first_account_may_be_asked_for_with_the_hello(
    relay: Relay, book: SimpleNamespace
) -> None:
    with relay.client(book.token, hello={"account_ids": [book.beta]}) as client:
        client.send(curve(book, account_id=None))
        answers = [client.wait_for(is_a((wire.Curve, wire.Snapshot))) for _ in range(2)]
        drawn = next(answer for answer in answers if isinstance(answer, wire.Curve))
        assert drawn.account_id == book.beta
        assert client.snapshots == 1


def test_a_curve_that_is_read_before_the_snapshot_comes_before_it(
    relay: Relay, book: SimpleNamespace, database: Database
) -> None:
    with relay.client(book.token) as early:  # the relay has prepared its questions
        early.snapshot()
        early.send(curve(book))
        early.wait_for(is_a(wire.Curve))
    with database.connect() as holder:
        holder.execute("begin")
        holder.execute("lock table recon.settings in access exclusive mode")  # of the snapshot
        began = one(holder, "select clock_timestamp()")[0]
        with relay.client(book.token) as client:
            client.send(curve(book, account_id=None))
            is_read = (
                "select exists (select from pg_stat_activity"
                " where query ~ 'curve_columns' and state = 'idle' and query_start > %s"
                " and clock_timestamp() - state_change > interval '0.3 s')"  # not only prepared
            )
            until(lambda: one(book.conn, is_read, [began])[0])
            holder.execute("rollback")
            answers = [client.wait_for(is_a((wire.Curve, wire.Snapshot))) for _ in range(2)]
    assert [type(answer) for answer in answers] == [wire.Curve, wire.Snapshot]


def test_a_snapshot_does_not_wait_long_for_a_curve(
    relay: Relay, book: SimpleNamespace, database: Database
) -> None:
    with database.connect() as holder, relay.client(book.token) as client:
        holder.execute("begin")
        holder.execute("lock table equity.curve_bars in access exclusive mode")
        client.send(curve(book, account_id=None))
        client.snapshot()
        holder.execute("rollback")
        client.wait_for(is_a(wire.Curve))


def test_of_many_curves_asked_for_the_last_one_comes(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        for points in range(2, 32):
            client.send(curve(book, to_at=f"2100-01-01T00:00:{points:02}Z"))
        client.wait_for(lambda m: isinstance(m, wire.Curve) and m.to_at == "2100-01-01T00:00:31Z")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"account_id": 10**12}, "not_allowed"),
        ({"from_at": "2026-13-01T00:00:00Z"}, "bad_message"),
        ({"from_at": "2201-01-01T00:00:00Z"}, "bad_message"),
        ({"points": 100_000}, "bad_message"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(
    relay: Relay, book: SimpleNamespace, fields: dict[str, Any], code: str
) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        client.send(curve(book, **fields))
        assert refusal(client.connection).code == code


def test_curves_are_for_those_who_may_see_the_account(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(issue_token(book.conn, [book.beta])) as client:
        client.snapshot()
        client.send(curve(book))
        assert refusal(client.connection).code == "not_allowed"


def test_a_ping_comes_back_with_the_relays_time(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client:
        client.snapshot()
        for sent_at in (1700000000000.25, 0):
            client.send({"type": "ping", "sent_at": sent_at})
            pong = client.wait_for(is_a(wire.Pong))
            assert pong.sent_at == sent_at
            received_at = datetime.fromisoformat(pong.received_at)
            assert abs(datetime.now(UTC) - received_at) < timedelta(seconds=5)


def test_a_heartbeat_says_how_old_the_data_is(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token, hello={"totals_currency": "USD"}) as client:
        client.snapshot()
        beat = client.wait_for(is_a(wire.Heartbeat))
        assert beat.data_at is not None
        age = datetime.fromisoformat(beat.sent_at) - datetime.fromisoformat(beat.data_at)
        assert timedelta(0) <= age < timedelta(seconds=3)


# The guide ------------------------------------------------------------------------------------


def test_the_example_of_the_guide_runs(relay: Relay, book: SimpleNamespace) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    example = example.replace("127.0.0.1:8017", f"{relay.host}:{relay.port}")
    with subprocess.Popen(
        [sys.executable, "-u", "-c", example, book.token], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"{book.alpha} 10000.00 USD\n"
            assert process.stdout.readline() == f"{book.beta} 10000.00 USD\n"
            book.conn.execute("select api.record_entry(%s, 'deposit', 1)", [book.beta])
            assert process.stdout.readline() == f"{book.beta} 10001.00 USD\n"
        finally:
            process.kill()


def test_the_guide_names_every_error_and_every_metric(any_relay: Relay) -> None:
    guide = GUIDE.read_text()
    for code in wire.ErrorCode.__args__:  # type: ignore[attr-defined]
        assert f"`{code}`" in guide
    _, body = any_relay.get("/metrics")
    names = re.findall(r"^# TYPE (tidemark_relay_\w+) ", body.decode(), re.MULTILINE)
    for name in names:
        if not name.endswith("_created"):
            assert f"`{name}`" in guide, name


def test_the_guide_s_times_are_those_of_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = " ".join(GUIDE.read_text().split())
    monkeypatch.setattr(session, "_now", lambda: 0.0)
    beats = []
    for pick in (min, max):
        monkeypatch.setattr(session.random, "uniform", lambda *bounds, pick=pick: pick(bounds))
        beats.append(session._next_beat())
    for told in (
        f"say `hello` within {session.HELLO_TIMEOUT:.0f} seconds",
        "**Heartbeats** come every {:.0f} to {:.0f} seconds".format(*beats),
        "a WebSocket ping every {ping_interval} seconds".format_map(http.LIMITS),
        "not answered it after {ping_timeout} is cut off".format_map(http.LIMITS),
    ):
        assert told in guide
