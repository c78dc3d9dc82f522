"""The relay before those who mean no good: limits, proxies, certificates, and nonsense."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode

from glue import db, wire
from glue.relay import http, limits, session
from glue.relay.http import SPARE_AN_ADDRESS, SPARE_CONNECTIONS
from glue.relay.limits import Bucket, Buckets, Gate, Limits, key_of
from glue.relay.peers import Peers
from glue.relay.refusal import Refusal
from glue.settings import Network
from tests.conftest import Connection, Database
from tests.glue.nonsense import Message, fitting_message, instants, spoilt, valid, values
from tests.glue.relays import (
    GUIDE,
    PATIENCE,
    Relay,
    decode,
    fill,
    issue_token,
    one,
    refusal,
    running_relay,
    trading,
    until,
    with_constants,
)

PROXY = ["--trusted-proxy", "127.0.0.1"]
ACCOUNT_IDS = (1, 2)
"""Of the book, so that random numbers often name an account."""


# Limits ---------------------------------------------------------------------------------------


def test_no_more_clients_than_allowed(database: Database, book: SimpleNamespace) -> None:
    other = issue_token(book.conn)
    with (
        running_relay(
            database.dsn,
            *("--max-clients", "5", "--max-clients-per-address", "4"),
            *("--max-clients-per-token", "2", *PROXY),
        ) as relay,
        contextlib.ExitStack() as stack,
    ):

        def join(token: str, address: str = "192.0.2.1") -> wire.Error | None:
            connection = stack.enter_context(
                relay.open(additional_headers={"X-Forwarded-For": address})
            )
            with contextlib.suppress(ConnectionClosed):  # it may be told at once
                connection.send(json.dumps({"type": "hello", "token": token}))
            message = decode(connection.recv(PATIENCE))
            return message if isinstance(message, wire.Error) else None

        assert join(book.token) is join(book.token) is None
        error = join(book.token)
        assert error is not None
        assert (error.code, "--max-clients-per-token" in error.remedy) == ("too_many", True)
        assert join(other) is join(other) is None
        error = join(issue_token(book.conn))
        assert error is not None
        assert (error.code, "--max-clients-per-address" in error.remedy) == ("too_many", True)
        third = issue_token(book.conn)
        assert join(third, "192.0.2.2") is None
        error = join(third, "192.0.2.3")
        assert error is not None
        assert (error.code, "--max-clients allows" in error.remedy) == ("too_many", True)
        assert relay.metric('tidemark_relay_refusals_total{code="too_many"}') == 3
        stack.close()
        until(lambda: relay.metric("tidemark_relay_clients") == 0)
        assert join(book.token) is None


def test_who_talks_too_much_is_sent_away(relay: Relay, book: SimpleNamespace) -> None:
    with relay.client(book.token) as client, relay.client(book.token) as quiet:
        client.snapshot()
        quiet.snapshot()
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                client.send({"type": "ping", "sent_at": 0})
        error = refusal(client.connection)
        assert error.code == "rate_limited"
        assert "Wait" in error.remedy
        fill(book.conn, book.alpha)
        quiet.wait_for(lambda m: isinstance(m, wire.Trade))


def test_a_flood_of_pings_is_cut_off(any_relay: Relay) -> None:
    """Control frames are answered by the library, and the answers would pile up."""
    with any_relay.open(ping_interval=None) as connection:
        with contextlib.suppress(ConnectionClosed, OSError):
            for _ in range(20_000):
                connection.socket.sendall(
                    Frame(Opcode.PING, b"x" * 100).serialize(mask=True, extensions=[])
                )
        connection.socket.close()
    assert_alive(any_relay)


@pytest.mark.parametrize(
    ("letter", "length", "answer"),
    [
        ("x", session.MAX_MESSAGE, "A message cannot be read: "),
        ("x", session.MAX_MESSAGE + 1, "A message is longer than 65536 bytes."),
        ("x", http.MAX_FRAME, "A message is longer than 65536 bytes."),
        ("\u20ac", session.MAX_MESSAGE, "A message cannot be read: "),
        ("\u20ac", session.MAX_MESSAGE + 3, "A message is longer than 65536 bytes."),
    ],
)
def test_a_long_message_is_refused_with_words(
    any_relay: Relay, letter: str, length: int, answer: str
) -> None:
    """Bytes count, not letters."""
    size = len(letter.encode())
    head, tail = '{"type":"hello","token":"', '"}'
    padding = (length - len(head) - len(tail)) % size
    message = head + letter * ((length - len(head) - len(tail)) // size) + tail + " " * padding
    assert len(message.encode()) == length
    with any_relay.open() as connection:
        connection.send(message)
        error = refusal(connection)
        assert error.code == "bad_message"
        assert error.message.startswith(answer)


def test_a_longer_message_ends_the_connection(any_relay: Relay) -> None:
    with any_relay.open() as connection:
        connection.send("x" * (http.MAX_FRAME + 1))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG


def test_who_answers_no_pings_is_cut_off(database: Database, book: SimpleNamespace) -> None:
    quickly = with_constants(
        "http.LIMITS |= dict(ping_interval=0.05, ping_timeout=0.5, close_timeout=0.05)"
    )
    hello = json.dumps({"type": "hello", "token": book.token}).encode()
    with running_relay(database.dsn, command=quickly) as relay, raw(relay) as silent:
        silent.sendall(frame(1, hello))
        assert b"keepalive ping timeout" in ending(silent)
        until(lambda: relay.metric("tidemark_relay_clients") == 0)


def test_a_token_for_more_accounts_than_a_page_shows(relay: Relay, book: SimpleNamespace) -> None:
    book.conn.execute("select api.open_account('more', 'USD') from generate_series(1, 999)")
    with relay.client(book.token) as client:
        error = refusal(client.connection)
        assert error.code == "too_many"
        assert "1001" in error.message
    with relay.client(book.token, [book.alpha]) as client:
        client.snapshot()
    with relay.client(book.token, hello={"only_totals": True, "totals_currency": "USD"}) as client:
        totals = client.snapshot().totals
        assert totals is not None
        assert totals.accounts == 1001


def test_a_bucket_fills_again() -> None:
    bucket = Bucket((2.0, 3.0), now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert not bucket.is_full(1.9)
    assert bucket.is_full(2.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS", 10)
    buckets = Buckets((1.0, 2.0))
    assert buckets.take("busy", 99.5)
    assert buckets.take("busy", 99.5)
    for number in range(1000):
        buckets.take(number, 0.0 if number < 9 else 100.0 + number / 1e6)
        assert len(buckets._by_key) <= 10
    assert not Buckets((0.0, 0.0)).take("nobody", 0.0)


def test_rates_count_by_connection_address_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MESSAGES_AN_ADDRESS", (1.0, 5.0))
    gate = Gate(Limits(clients=1, clients_per_token=1, clients_per_address=1))

    def say(address: str, token_id: int | None) -> str | None:
        try:
            gate.count_message(Bucket((1.0, 1.0), 0.0), address, token_id, 0.0)
        except Refusal as refused:
            return refused.error.message.partition(" has")[0]
        return None

    assert [say("a", None) for _ in range(6)] == [None] * 5 + ["The client's address"]
    assert [say(str(n), 7) for n in range(6)] == [None] * 5 + ["The token"]
    connection = Bucket((1.0, 1.0), 0.0)
    gate.count_message(connection, "z", 1, 0.0)
    with pytest.raises(Refusal, match="The connection"):
        gate.count_message(connection, "z", 1, 0.0)


# Who they are ---------------------------------------------------------------------------------


def networks(*texts: str) -> list[Network]:
    import ipaddress

    return [ipaddress.ip_network(text) for text in texts]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.9", [], "192.0.2.9"),
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),  # whoever it is, it is no proxy of ours
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.7, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.7", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fe80::1%eth0", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_forwarded_addresses_count_from_trusted_proxies_only(
    peer: str, forwarded: list[str], address: str
) -> None:
    peers = Peers(networks("10.0.0.0/8", "fe80::/10"), "http")
    headers = Headers([("X-Forwarded-For", value) for value in forwarded])
    assert peers.address(peer, headers) == address


def test_an_ipv6_address_counts_by_its_network() -> None:
    assert key_of("2001:db8:1:2:3:4:5:6") == key_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert key_of("192.0.2.1") == "192.0.2.1"


def test_behind_a_proxy_the_origin_is_what_the_browser_sees(database: Database) -> None:
    with running_relay(database.dsn, *PROXY) as relay:
        host = f"{relay.host}:{relay.port}"
        for said, origin, is_let_in in (
            ("https", f"https://{host}", True),
            ("https", f"http://{host}", False),
            ("http", f"http://{host}", True),
            ("gopher", f"gopher://{host}", False),
        ):
            headers = {"X-Forwarded-Proto": said}
            if is_let_in:
                with relay.open(origin=origin, additional_headers=headers):
                    pass
            else:
                with pytest.raises(InvalidStatus):
                    relay.open(origin=origin, additional_headers=headers)


def test_nobody_else_can_say_how_a_page_was_reached(any_relay: Relay) -> None:
    host = f"{any_relay.host}:{any_relay.port}"
    with pytest.raises(InvalidStatus):
        any_relay.open(origin=f"https://{host}", additional_headers={"X-Forwarded-Proto": "https"})


# Certificates ---------------------------------------------------------------------------------


def make_certificate(directory: Path, name: str) -> tuple[str, str]:
    if shutil.which("openssl") is None and "CI" not in os.environ:
        pytest.skip("openssl is needed to make a certificate")
    chain, key = str(directory / "chain.pem"), str(directory / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "1",
                "-subj",
                f"/CN={name}",
                "-addext",
                f"subjectAltName=DNS:{name}",
            ),
            *("-keyout", key, "-out", chain),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


def trust(chain: str) -> ssl.SSLContext:
    """What a client trusts. TLS 1.3 sends tickets after the handshake: the client, which reads in
    a thread of its own while it writes, then waits for ever once in a thousand times."""
    context = ssl.create_default_context(cafile=chain)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def test_https_with_a_certificate_that_is_renewed(
    database: Database, book: SimpleNamespace, tmp_path: Path
) -> None:
    chain, key = make_certificate(tmp_path, "first.example")

    def trusting(name: str) -> dict[str, Any]:
        return {"ssl": trust(chain), "server_hostname": name}

    with running_relay(database.dsn, "--tls-cert", chain, "--tls-key", key) as relay:
        assert relay.scheme == "wss"
        origin = f"https://{relay.host}:{relay.port}"
        with relay.client(book.token, origin=origin, **trusting("first.example")) as client:
            client.snapshot()
            with pytest.raises(InvalidStatus):
                relay.open(origin=origin.replace("https", "http"), **trusting("first.example"))
            old = trust(chain)
            make_certificate(tmp_path, "second.example")
            relay.process.send_signal(signal.SIGHUP)
            relay.wait_for("certificate renewed")
            with relay.client(book.token, **trusting("second.example")) as late:
                late.snapshot()
                fill(book.conn, book.alpha)
                for each in (client, late):
                    each.wait_for(lambda m: isinstance(m, wire.Trade))
            with pytest.raises(ssl.SSLError):
                relay.open(ssl=old, server_hostname="first.example")
            Path(key).write_text("no key")
            relay.process.send_signal(signal.SIGHUP)
            assert chain in relay.wait_for("certificate not renewed")["reason"]
            with relay.open(**trusting("second.example")):
                pass
        with socket.create_connection((relay.host, relay.port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            plain.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in plain.recv(1000)
        assert relay.get("/healthz")[0].status == 200
        assert relay.stop() == 0


def test_a_certificate_that_cannot_be_used_is_named(database: Database, tmp_path: Path) -> None:
    import sys

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "glue", "relay", "--listen", "127.0.0.1:0", *arguments],
            env=os.environ | {"TIDEMARK_DSN": database.dsn},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    nothing = str(tmp_path / "nothing.pem")
    done = start("--tls-cert", nothing, "--tls-key", nothing)
    assert (done.returncode, nothing in done.stderr, "--tls-key" in done.stderr) == (1, True, True)
    assert start("--tls-cert", nothing).returncode == 2
    assert start("--trusted-proxy", "somewhere").returncode == 2
    assert start("--max-clients", "0").returncode == 2


# Revocation -----------------------------------------------------------------------------------


def test_nothing_is_sent_after_a_token_was_revoked(
    relay: Relay, book: SimpleNamespace, database: Database
) -> None:
    """The refusal is the last message, while others are sent one trade after the other."""
    others = issue_token(book.conn)
    with (
        relay.client(book.token) as client,
        relay.client(others) as unharmed,
        trading(database, book.alpha),
    ):
        client.wait_for(lambda m: isinstance(m, wire.Trade))
        book.conn.execute("select api.revoke_token(min(token_id)) from api.tokens")
        assert refusal(client.connection).code == "bad_token"
        (last,) = one(book.conn, "select max(event_seq) from api.fills")
        unharmed.wait_for(lambda m: isinstance(m, wire.Trade) and m.event_seq > last)


@pytest.mark.parametrize("token", ["", "NULL", '","', "{}", "a,{token}", '"{token}"', "{token} "])
def test_what_only_looks_like_a_token_opens_nothing(
    relay: Relay, book: SimpleNamespace, token: str
) -> None:
    with relay.client(book.token) as other:
        other.snapshot()
        with relay.client(token.replace("{token}", book.token)) as client:
            assert refusal(client.connection).code == "bad_token"
        book.conn.execute("select api.revoke_token(token_id) from api.tokens")
        assert refusal(other.connection).code == "bad_token"  # tokens are still looked at


# A login of its own ---------------------------------------------------------------------------


@pytest.fixture
def login(conn: Connection, database: Database) -> Iterator[str]:
    """The dsn of a login as the guide makes it."""
    name = f"desk_relay_{os.getpid()}"
    (commands,) = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    conn.execute(commands.replace("desk_relay", name).encode())
    try:
        yield make_conninfo(database.dsn, user=name, password="secret")
    finally:
        conn.execute(f"drop role {name}".encode())


def test_the_relay_works_with_a_login_that_may_only_take_its_role(
    login: str, book: SimpleNamespace
) -> None:
    with (
        running_relay(login) as relay,
        relay.client(book.token, hello={"totals_currency": "JPY"}) as client,
    ):
        assert client.snapshot().totals is not None
        fill(book.conn, book.alpha)
        client.wait_for(lambda m: isinstance(m, wire.Trade))
        client.send({"type": "acknowledge", "discrepancy_id": 1})
        assert client.wait_for(lambda m: isinstance(m, wire.Refused)).code == "not_allowed"
        book.conn.execute("select api.revoke_token(token_id) from api.tokens")
        assert refusal(client.connection).code == "bad_token"


def test_that_login_can_do_nothing_else(login: str) -> None:
    with db.connect(login, role="tidemark_relay") as connection:
        connection.execute("set role none")
        roles = connection.execute(
            "select rolname from pg_roles where pg_has_role(rolname, 'set')"
            " and rolname <> current_user"
        )
        assert roles.fetchall() == [("tidemark_relay",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set role tidemark_owner")
        assert not one(
            connection,
            "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls"
            " from pg_roles where rolname = current_user",
        )[0]
        for catalogue in (
            "pg_class where relowner = 'tidemark_owner'::regrole and relkind in ('r', 'v', 'm')"
            " and has_schema_privilege(relnamespace, 'usage')"
            " and has_table_privilege(oid, 'select, insert, update, delete, truncate')",
            "pg_proc where proowner = 'tidemark_owner'::regrole"
            " and has_schema_privilege(pronamespace, 'usage')"
            " and has_function_privilege(oid, 'execute')",
        ):
            assert one(connection, f"select count(*) from {catalogue}") == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select api.open_sessions('{}')")
        connection.execute("set role tidemark_relay")
        connection.execute("select api.open_sessions('{}')")


# Nonsense -------------------------------------------------------------------------------------


def assert_alive(relay: Relay) -> None:
    """The next client is served, and nothing has been logged as a failure."""
    with relay.client("tm_nobody") as client:
        assert refusal(client.connection).code == "bad_token"
    assert relay.process.poll() is None
    relay.assert_nothing_failed()


HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {wire.SUBPROTOCOL}\r\n\r\n"
)


@contextlib.contextmanager
def raw(relay: Relay, shake_hands: bool = True) -> Iterator[socket.socket]:
    """A socket below the protocol."""
    with socket.create_connection((relay.host, relay.port), timeout=PATIENCE) as connection:
        if shake_hands:
            key = base64.b64encode(os.urandom(16)).decode()
            request = HANDSHAKE.format(host=f"{relay.host}:{relay.port}", key=key)
            connection.sendall(request.encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 101 ")
        yield connection


def ending(connection: socket.socket) -> bytes:
    """What comes until the relay hangs up."""
    received = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while piece := connection.recv(65536):
            received += piece
    return received


def frame(opcode: int, data: bytes, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=mask, extensions=[])


MALFORMED = {
    "unmasked": frame(1, b"{}", mask=False),
    "reserved opcode": b"\x83\x80abcd",
    "reserved bits": b"\xf1\x80abcd",
    "continuation of nothing": frame(0, b"{}"),
    "text within text": frame(1, b"{", fin=False) + frame(1, b"}"),
    "fragmented ping": b"\x09\x80abcd",
    "long ping": b"\x89\xfe\x00\x80abcd" + b"x" * 128,
    "length of 2^63": b"\x81\xff" + b"\xff" * 8,
    "length of a gigabyte": b"\x81\xff" + (2**30).to_bytes(8, "big") + b"abcd",
    "invalid UTF-8": frame(1, b'{"type":"\xff\xfe"}'),
    "half a surrogate": frame(1, b'{"type":"\xed\xa0\x80"}'),
    "close of one byte": b"\x88\x81abcdx",
    "close with a code that is none": frame(8, (999).to_bytes(2, "big")),
    "endless fragments": frame(1, b"x" * 60_000, fin=False)
    + frame(0, b"x" * 60_000, fin=False) * 3,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_frames_end_the_connection(any_relay: Relay, data: bytes) -> None:
    with raw(any_relay) as connection:
        connection.sendall(data)
        last = ending(connection)
        assert len(last) < 1000
        codes = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)
        assert any(code.to_bytes(2, "big") in last for code in codes), last
    assert_alive(any_relay)


def test_a_hello_in_pieces_is_a_hello(any_relay: Relay) -> None:
    text = b'{"type":"hello","token":"tm_\xc3\xa9"}'
    data = b"".join(
        frame(1 if place == 0 else 0, text[place : place + 1], fin=place == len(text) - 1)
        for place in range(len(text))
    )
    with raw(any_relay) as connection:
        for place in range(0, len(data), 5):
            connection.sendall(data[place : place + 5])
        connection.shutdown(socket.SHUT_WR)
        assert b'"code":"bad_token"' in ending(connection)


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET /ws HTTP/1.1\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/1.1\r\nOrigin: \xff\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_request_ends_the_connection(any_relay: Relay, data: bytes) -> None:
    with raw(any_relay, shake_hands=False) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        assert len(ending(connection)) < 2_000_000
    assert_alive(any_relay)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(min_size=1, max_size=300))
def test_random_bytes_harm_nobody(any_relay: Relay, data: bytes) -> None:
    with raw(any_relay) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        ending(connection)
    assert any_relay.process.poll() is None


QUICKLY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=100, **QUICKLY)
@given(message=st.one_of(valid, spoilt, values))
def test_random_first_messages_are_refused_with_words(any_relay: Relay, message: Any) -> None:
    with any_relay.open() as connection:
        connection.send(json.dumps(message))
        error = refusal(connection)
        assert error.code in ("bad_message", "bad_token")
        assert error.message
        assert error.remedy
    any_relay.assert_nothing_failed()


@settings(max_examples=60, **QUICKLY)
@given(message=spoilt)
def test_a_message_with_one_field_spoilt_is_refused(
    relay: Relay, book: SimpleNamespace, message: Message
) -> None:
    with relay.client(book.token) as client:
        client.send(message)
        assert refusal(client.connection).code == "bad_message"
    relay.assert_nothing_failed()


def refusal_of(message: Message) -> str | None:
    """Why a valid message ends a connection that watches the book's accounts."""
    if message["type"] == "hello":
        return "bad_message"
    if message["type"] == "curve":
        try:
            begin, end = (datetime.fromisoformat(message[name]) for name in ("from_at", "to_at"))
        except ValueError:
            return "bad_message"
        if not begin < end:
            return "bad_message"
        if message["account_id"] not in (None, *ACCOUNT_IDS):
            return "not_allowed"
    return None


def in_order(curve: Message) -> Message:
    """The same with a range that is one."""
    begin, end = sorted([curve["from_at"], curve["to_at"]])
    return curve | {"from_at": begin, "to_at": end}


curves = fitting_message(
    wire.CurveRequest,
    account_id=st.sampled_from([None, *ACCOUNT_IDS]),
    from_at=instants,
    to_at=instants,
).map(in_order)
harmless = st.one_of(
    *map(fitting_message, (wire.Resync, wire.Ping, wire.TotalsRequest, wire.Acknowledge)), curves
).filter(lambda message: refusal_of(message) is None)
harmful = st.one_of(map(fitting_message, (wire.Hello, wire.CurveRequest)))


@settings(max_examples=60, **QUICKLY)
@given(sequence=st.lists(harmless, max_size=8), last=harmful)
def test_whatever_a_page_may_say_is_answered(
    relay: Relay, book: SimpleNamespace, sequence: list[Message], last: Message
) -> None:
    """In any order; of several that merge, the last one. A new snapshot takes its time."""
    assert (book.alpha, book.beta) == ACCOUNT_IDS
    with relay.client(book.token) as client:
        for message in sequence:
            client.send(message)
        last_of = {message["type"]: message for message in sequence}
        waited_for = {
            *(("refused", m["discrepancy_id"]) for m in sequence if m["type"] == "acknowledge"),
            *(("pong", last_of[name]["sent_at"]) for name in ["ping"] if name in last_of),
            *(("totals", last_of[name]["currency"]) for name in ["totals"] if name in last_of),
            *(("curve", last_of[name]["to_at"]) for name in ["curve"] if name in last_of),
        }
        while waited_for - {("totals", None)}:
            match client.receive():
                case wire.Refused(discrepancy_id=subject):
                    waited_for.discard(("refused", subject))
                case wire.Pong(sent_at=subject):
                    waited_for.discard(("pong", subject))
                case wire.Curve(to_at=subject):
                    waited_for.discard(("curve", subject))
                case wire.TotalsChanged() | wire.Snapshot() if client.totals is not None:
                    waited_for.discard(("totals", client.totals.currency))
                case wire.Error() as error:
                    pytest.fail(error.message)
        if code := refusal_of(last):
            client.send(last)
            assert refusal(client.connection).code == code
    relay.assert_nothing_failed()


@settings(max_examples=20, **QUICKLY)
@given(sequence=st.lists(valid | spoilt | values | st.binary(max_size=300), min_size=1, max_size=6))
def test_random_conversations_leave_others_alone(
    relay: Relay, book: SimpleNamespace, sequence: list[Any]
) -> None:
    with relay.client(book.token) as wild, relay.client(book.token) as quiet:
        quiet.snapshot()
        with contextlib.suppress(ConnectionClosed):
            for message in sequence:
                wild.connection.send(message if isinstance(message, bytes) else json.dumps(message))
        fill(book.conn, book.alpha, 1)
        quiet.wait_for(lambda m: isinstance(m, wire.Trade))
        assert quiet.gaps == 0
    assert_alive(relay)


def test_one_address_that_says_nothing_does_not_keep_others_out(
    database: Database, book: SimpleNamespace
) -> None:
    """Nor those who come through a proxy, whose address is everybody's."""
    with (
        running_relay(database.dsn, "--max-clients", "5", "--trusted-proxy", "127.0.0.3") as relay,
        contextlib.ExitStack() as stack,
    ):

        def silent(host: str) -> socket.socket:
            return stack.enter_context(
                socket.create_connection((relay.host, relay.port), PATIENCE, (host, 0))
            )

        served = [silent("127.0.0.1") for _ in range(5 + SPARE_AN_ADDRESS)]
        for _ in range(5 + SPARE_CONNECTIONS):
            assert ending(silent("127.0.0.1")) == b""
        for _ in range(SPARE_AN_ADDRESS + 10):
            silent("127.0.0.3")
        with relay.client(book.token, source_address=("127.0.0.3", 0)) as client:
            client.snapshot()
        with relay.client(book.token, source_address=("127.0.0.2", 0)) as client:
            client.snapshot()
        served.pop().close()
        until(lambda: relay.get("/healthz")[0].status == 200)


def test_as_many_files_as_clients_may_come(database: Database, book: SimpleNamespace) -> None:
    """The soft limit is low on many machines."""
    command = ("sh", "-c", 'ulimit -Sn 64; exec "$@"', "-", sys.executable, "-m", "glue")
    with (
        running_relay(database.dsn, "--max-clients", "100", command=command) as relay,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(80):
            stack.enter_context(relay.client(book.token)).snapshot()


def test_fewer_files_than_clients_may_come_is_said(database: Database) -> None:
    command = ("sh", "-c", 'ulimit -n 100; exec "$@"', "-", sys.executable, "-m", "glue")
    with running_relay(database.dsn, command=command) as relay:
        assert relay.log[0]["event"].startswith("fewer files than --max-clients needs")
