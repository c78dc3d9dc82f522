"""A relay as a process of its own, and clients that speak to it, for the tests."""

import contextlib
import http.client
import json
import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from glue import wire
from tests import contract
from tests.conftest import Connection, Database

Event = wire.DiscrepancyChanged | wire.AlertChanged
GUIDE = contract.ROOT / "docs" / "relay.md"
PATIENCE = 15.0
"""Seconds after which something that should happen has not happened."""
read_message = msgspec.json.Decoder(wire.FromRelay, strict=True).decode


@dataclass
class Relay:
    """A running relay: where it listens, and what it has logged that no test has waited for."""

    process: subprocess.Popen[str]
    scheme: str = "ws"
    host: str = ""
    port: int = 0
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    log: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next line of the log that tells this event."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                entry = _entry(self.lines.get(timeout=0.05))
            except queue.Empty:
                assert self.process.poll() is None, f"the relay ended: {self.log}"
                continue
            if entry["event"] == event:
                return entry
            self.log.append(entry)
        raise AssertionError(f"no {event!r} in the log: {self.log}")

    def assert_nothing_failed(self) -> None:
        """It has logged no error, and no traceback, which is a line of another form."""
        while not self.lines.empty():
            self.log.append(_entry(self.lines.get()))
        failures = [e for e in self.log if e.get("level") not in ("info", "warning")]
        assert not failures, "".join(f"{entry}\n" for entry in failures)

    def get(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """An HTTP answer with its body."""
        connection = self._connection()
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        if self.scheme == "ws":
            return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=tls)

    def metric(self, name: str) -> float:
        """A sample of /metrics, 0 where there is none."""
        _, body = self.get("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", body.decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def open(self, **options: Any) -> ClientConnection:
        """A socket that has said nothing yet."""
        return connect(
            f"{self.scheme}://{self.host}:{self.port}/ws",
            **{
                "subprotocols": [wire.SUBPROTOCOL],
                "compression": None,
                "max_size": None,
                "proxy": None,
                "close_timeout": 1,
                **options,
            },
        )

    @contextlib.contextmanager
    def client(
        self,
        token: str,
        account_ids: list[int] | None = None,
        hello: dict[str, Any] | None = None,
        **options: Any,
    ) -> Iterator["Client"]:
        """A client that has said hello, with more in it perhaps."""
        with self.open(**options) as connection:
            client = Client(connection)
            client.send(
                {"type": "hello", "token": token, "account_ids": account_ids} | (hello or {})
            )
            yield client


def _entry(line: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {"event": line}
    return entry


def with_constants(*assignments: str) -> Sequence[str]:
    """The command of a relay with other constants, such as `session.SEND_TIMEOUT = 0.5`."""
    lines = "from glue import cli", "from glue.relay import http, hub, session", *assignments
    return sys.executable, "-c", "\n".join([*lines, "cli.main()"])


@contextlib.contextmanager
def running_relay(
    dsn: str, *arguments: str, listen: str = "127.0.0.1:0", command: Sequence[str] = ()
) -> Iterator[Relay]:
    """A relay on this database, on a free port; killed in the end if it still runs.

    What it logs as a failure is one.
    """
    process = subprocess.Popen(
        [*(command or (sys.executable, "-m", "glue")), "relay", "--listen", listen, *arguments],
        env=os.environ | {"TIDEMARK_DSN": dsn, "TIDEMARK_LOG": "json"},
        stderr=subprocess.PIPE,
        text=True,
    )
    relay = Relay(process)

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            relay.lines.put(line)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        address = re.fullmatch(r"http(s?)://(.*):(\d+)/", relay.wait_for("serving")["address"])
        assert address is not None
        relay.scheme, relay.host, relay.port = f"ws{address[1]}", address[2], int(address[3])
        until(lambda: relay.get("/healthz")[0].status == 200)
        yield relay
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()
    relay.assert_nothing_failed()


@dataclass
class Client:
    """What a page would hold, from what the relay has sent; each message is checked."""

    connection: ClientConnection
    states: dict[int, wire.AccountState] = field(default_factory=dict)
    positions: dict[int, list[wire.Position]] = field(default_factory=dict)
    fills: dict[int, dict[int, wire.Fill]] = field(default_factory=dict)
    events: dict[int, dict[int, Event]] = field(default_factory=dict)
    totals: wire.Totals | None = None
    event_seqs: dict[int, int] = field(default_factory=dict)
    heartbeat: wire.Heartbeat | None = None
    snapshots: int = 0
    gaps: int = 0

    def send(self, message: object) -> None:
        self.connection.send(json.dumps(message))

    def receive(self, timeout: float = PATIENCE) -> Any:
        """The next message, checked against the contract and applied."""
        text = self.connection.recv(timeout)
        message = decode(text)
        self.apply(message)
        return message

    def wait_for(self, condition: Callable[[Any], bool]) -> Any:
        """The next message for which this holds."""
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            message = self.receive(left)
            if condition(message):
                return message
        raise AssertionError("no such message came")

    def snapshot(self) -> wire.Snapshot:
        """The next snapshot."""
        snapshot: wire.Snapshot = self.wait_for(lambda m: isinstance(m, wire.Snapshot))
        return snapshot

    def apply(self, message: object) -> None:
        """As the page's store does."""
        if isinstance(message, wire.Snapshot):
            self.snapshots += 1
            self.totals = message.totals
            for portfolio in message.accounts:
                self._keep(portfolio.account_id, portfolio.state, portfolio.positions)
                known = self.fills.setdefault(portfolio.account_id, {})
                known |= {fill.event_seq: fill for fill in portfolio.fills}
                told = self.events.setdefault(portfolio.account_id, {})
                told |= {event.event_seq: event for event in portfolio.events}
                self.event_seqs[portfolio.account_id] = portfolio.event_seq
        elif isinstance(message, wire.Update | wire.Trade):
            self._keep(message.account_id, message.state, message.positions)
            if isinstance(message, wire.Trade):
                self.fills[message.account_id][message.event_seq] = message.fill
                self._count(message)
        elif isinstance(message, wire.DiscrepancyChanged | wire.AlertChanged):
            self.events[message.account_id][message.event_seq] = message
            self._count(message)
        elif isinstance(message, wire.TotalsChanged):
            self.totals = message.totals
        elif isinstance(message, wire.Heartbeat):
            self.heartbeat = message

    def _count(self, message: wire.Trade | Event) -> None:
        self.gaps += message.event_seq != self.event_seqs[message.account_id] + 1
        self.event_seqs[message.account_id] = message.event_seq

    def _keep(
        self, account_id: int, state: wire.AccountState, positions: list[wire.Position]
    ) -> None:
        held = self.states.get(account_id)
        if held is None or state.version >= held.version:
            self.states[account_id], self.positions[account_id] = state, positions


def decode(text: str | bytes) -> Any:
    """A message of the relay, checked against types and document of the contract."""
    plain = json.loads(text)
    contract.check(plain, "fromRelay")
    return read_message(text)


def until(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Wait until something holds that nothing notifies of."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)


# The book that is watched ------------------------------------------------------------------------


def open_account(conn: Connection, name: str) -> int:
    (account_id,) = one(conn, "select account_id from api.open_account(%s, 'USD')", [name])
    conn.execute("select api.record_entry(%s, 'deposit', 10000)", [account_id])
    return int(account_id)


def issue_token(
    conn: Connection,
    account_ids: list[int] | None = None,
    lasts: str = "1 day",
    *,
    may_acknowledge: bool = False,
) -> str:
    (token,) = one(
        conn,
        "select token from api.issue_token('t', %s, %s, %s)",
        [account_ids, lasts, may_acknowledge],
    )
    return str(token)


def tick(conn: Connection, symbol: str, bid: str, ask: str) -> None:
    conn.execute(
        "select api.ingest_ticks(array[%s], array[clock_timestamp()], array[%s::numeric],"
        " array[%s::numeric])",
        [symbol, bid, ask],
    )


def fill(conn: Connection, account_id: int, quantity: int = 1000, side: str = "buy") -> None:
    conn.execute("select api.record_fill(%s, 'EUR/USD', %s, %s, 1.1)", [account_id, side, quantity])


@contextlib.contextmanager
def trading(database: Database, account_id: int) -> Iterator[None]:
    """Fills and ticks without a pause, while the block lasts."""
    stop = threading.Event()

    def trade_on() -> None:
        with database.connect() as conn:
            while not stop.is_set():
                fill(conn, account_id)
                tick(conn, "EUR/USD", "1.10000", "1.10010")

    writer = threading.Thread(target=trade_on)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def one(conn: Connection, query: str, parameters: list[Any] | None = None) -> tuple[Any, ...]:
    row = conn.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row


def stored(conn: Connection, account_id: int) -> dict[str, Any]:
    """A row of api.account_states as the wire writes it."""
    cursor = conn.execute(
        "select balance, credit, unrealized_pnl, equity, margin_equity, margin_used,"
        " margin_available, margin_level, is_priced, version, currency"
        " from api.account_states where account_id = %s",
        [account_id],
    )
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    row = cursor.fetchone()
    assert row is not None
    return {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in zip(names, row, strict=True)
    }


def is_same(client: Client, conn: Connection, account_id: int) -> bool:
    """Whether a client holds exactly what the database has of an account."""
    if account_id not in client.states:
        return False
    in_database = stored(conn, account_id)
    state = client.states[account_id]
    positions = conn.execute(
        "select symbol, side, quantity::text, unrealized_pnl::text from api.positions"
        " where account_id = %s order by 1, 2",
        [account_id],
    ).fetchall()
    (event_seq,) = one(
        conn, "select max(event_seq) from api.fills where account_id = %s", [account_id]
    )
    return (
        {name: getattr(state, name) for name in in_database} == in_database
        and positions
        == [(p.symbol, p.side, p.quantity, p.unrealized_pnl) for p in client.positions[account_id]]
        and max(client.fills[account_id], default=None) == event_seq
    )


def converge(client: Client, conn: Connection, *account_ids: int) -> None:
    """Receive until the client holds what the database has."""
    deadline = time.monotonic() + PATIENCE
    while not all(is_same(client, conn, account_id) for account_id in account_ids):
        assert time.monotonic() < deadline, "the client is not what the database is"
        with contextlib.suppress(TimeoutError):
            client.receive(0.2)


def refusal(connection: ClientConnection) -> wire.Error:
    """The error that the relay sends before it closes the connection, the last of all messages."""
    deadline = time.monotonic() + PATIENCE
    while True:
        message = decode(connection.recv(deadline - time.monotonic()))
        if isinstance(message, wire.Error):
            with pytest.raises(ConnectionClosed):
                connection.recv(PATIENCE)
            return message
