"""A process of its own with many WebSocket clients that do next to nothing but note arrivals.

A client of a library would take as much of the machine as the relay that is to be measured: these
parse a frame's head and look for `updated_at` in what it carries, in one loop over all sockets.
"""

import base64
import multiprocessing
import os
import re
import select
import socket
import time
from array import array
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

import msgspec

from glue import wire

UPDATED_AT = re.compile(rb'"updated_at" ?: ?"[^"T]+T(\d\d):(\d\d):([\d.]+)')
TEXT, PING = 1, 9
BUFFER = memoryview(bytearray(65_536))
"""Where all clients read into, one after the other: a buffer for each read would cost more."""

spawn = multiprocessing.get_context("spawn")


class Arrival(NamedTuple):
    """A state that arrived: when the database wrote it, and when it was here (seconds)."""

    updated_at: float
    received_at: float


class Hello(NamedTuple):
    """What a client says first."""

    token: str
    account_id: int


class Client:
    """One connection, from the handshake on."""

    def __init__(self, hello: Hello, host: str, port: int, states: array, arrivals: array) -> None:
        self._hello = hello
        self._states = states
        self._arrivals = arrivals
        self._rest = b""
        self._is_open = False
        self.is_hydrated = False
        self.socket = socket.create_connection((host, port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {wire.SUBPROTOCOL}\r\n\r\n".encode()
        )

    def read(self) -> None:
        """Note what has come."""
        size = self.socket.recv_into(BUFFER)
        now = time.time()
        if size == 0:
            raise ConnectionError("the relay closed the connection")
        data = self._rest + BUFFER[:size]
        if not self._is_open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            assert b" 101 " in head, head
            self._is_open = True
            hello = {
                "type": "hello",
                "token": self._hello.token,
                "account_ids": [self._hello.account_id],
            }
            self._send(TEXT, msgspec.json.encode(hello))
        place = 0
        while (frame := _frame(data, place)) is not None:
            opcode, begin, place = frame
            if opcode == PING:
                self._send(PING + 1, data[begin:place])
            elif found := UPDATED_AT.search(data, begin, place):
                if self.is_hydrated:
                    self._states.append(_seconds(found))
                    self._arrivals.append(now)
                else:
                    self.is_hydrated = True
        self._rest = data[place:]

    def _send(self, opcode: int, payload: bytes) -> None:
        """A client's frame is masked: with zeros, which change nothing."""
        length = len(payload)
        head = (
            bytes([0x80 | opcode, 0x80 | length])
            if length < 126
            else bytes([0x80 | opcode, 0xFE]) + length.to_bytes(2, "big")
        )
        self.socket.sendall(head + bytes(4) + payload)


def _frame(data: bytes, place: int) -> tuple[int, int, int] | None:
    """The opcode of the next whole frame, and where its payload begins and ends."""
    if len(data) < place + 2:
        return None
    opcode, length, begin = data[place] & 15, data[place + 1], place + 2
    if length == 126:
        length, begin = int.from_bytes(data[begin : begin + 2], "big"), begin + 2
    elif length == 127:
        length, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
    end = begin + length
    return (opcode, begin, end) if len(data) >= end else None


def _seconds(found: re.Match[bytes]) -> float:
    """Of an instant in UTC, since midnight."""
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


class Clients:
    """The process; it ends with the block."""

    def __init__(self, host: str, port: int, hellos: Sequence[Hello]) -> None:
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(other, host, port, hellos), daemon=True)

    def __enter__(self) -> "Clients":
        self._process.start()
        answer = self._pipe.recv()
        assert answer == "hydrated", answer
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def begin(self) -> None:
        """Forget what has arrived so far."""
        self._pipe.send("begin")
        self._pipe.recv()

    def arrivals(self) -> list[Arrival]:
        """What has arrived since; `updated_at` in seconds since 1970."""
        self._pipe.send("end")
        states, arrived = self._pipe.recv()
        midnight = time.time() // 86_400 * 86_400
        return [Arrival(midnight + a, b) for a, b in zip(states, arrived, strict=True)]


def _run(pipe: Pipe, host: str, port: int, hellos: Sequence[Hello]) -> None:
    states, arrived = array("d"), array("d")
    clients: dict[int, Client] = {}
    ready = select.epoll()
    try:
        for place in range(0, len(hellos), 50):  # a burst would fill the listener's queue
            some = [
                Client(hello, host, port, states, arrived) for hello in hellos[place : place + 50]
            ]
            for client in some:
                clients[client.socket.fileno()] = client
                ready.register(client.socket, select.EPOLLIN)
            while not all(client.is_hydrated for client in some):
                for file, _ in ready.poll():
                    clients[file].read()
    except (OSError, AssertionError) as error:
        pipe.send(repr(error))
        return
    pipe.send("hydrated")
    ready.register(pipe, select.EPOLLIN)
    while True:
        for file, _ in ready.poll():
            if file != pipe.fileno():
                clients[file].read()
                continue
            asked = pipe.recv()
            if asked == "end":
                pipe.send((states[:], arrived[:]))
            del states[:], arrived[:]
            if asked == "begin":
                pipe.send("begun")
