"""The simulated broker over HTTP: OANDA's paths, a control path of its own, and bad behaviour.

It is the standard library's server, a thread a connection: what a few clients of a simulation need,
each of which may be left hanging, and nothing that a user would have to install.
"""

import inspect
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from types import TracebackType
from typing import Any, Self, get_type_hints
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from glue.brokers.simulated.account import Account, SimulationError, UnknownError
from glue.brokers.simulated.books import Books
from glue.brokers.simulated.paths import PAGE_LIMIT, Answer, Request, as_json, error, refusal, reply
from glue.settings import Address

TOKEN = "simulated"
"""What a client says it is, unless the broker was given another."""
LONGEST_HANG = 60.0
"""Seconds until a connection that is left hanging is dropped."""
RETURN_PATIENCE = 10.0
"""Seconds in which a broker that was away waits for its port."""
EVERYBODY = "*"
"""Stands for all accounts."""


class Fault(msgspec.Struct, kw_only=True):
    """How a request is answered badly; what is not set is as it should be."""

    delay: float = 0.0
    """Seconds before the answer."""
    status: int | None = None
    """This status instead of the answer."""
    retry_after: float | None = None
    """Seconds, said with the status."""
    body: str | None = None
    """This text instead of the answer."""
    is_hung: bool = False
    """No answer at all."""
    is_cut: bool = False
    """Half of the answer, and the connection is gone."""
    stale: Account | None = None
    """The answer as it was then."""
    times: int | None = None
    """How many requests; None is until further notice."""


class SimulatedBroker:
    """A broker that listens on a port of this machine; also a context manager.

    `books` does what brokers do, by direct calls; the methods here are what brokers do wrong. All
    of it can be done over HTTP, too: `POST /control/<method>` with a JSON object of the arguments.
    """

    def __init__(
        self, listen: Address | None = None, *, token: str = TOKEN, page_limit: int = PAGE_LIMIT
    ) -> None:
        self.books = Books()
        self.token = token
        self.page_limit = page_limit
        self.requests: list[str] = []
        """Paths with queries that were asked for, in order, the newest few thousand."""
        self._faults: dict[str, Fault] = {}
        self._address = listen or Address("127.0.0.1", 0)
        self._server: _Server | None = None
        self._return: threading.Timer | None = None
        self._lifecycle = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base address, as a client of OANDA's takes it."""
        return f"http://{self._address.local}"

    def start(self) -> None:
        """Listen; after a stop on the same port as before. Raises OSError."""
        with self._lifecycle:
            self._listen()

    def _listen(self) -> None:
        if self._server is None:
            self._server = _Server((self._address.host, self._address.port), self)
            self._address = Address(self._address.host, self._server.server_address[1])
            self._server.start()

    def stop(self) -> None:
        """Close the port and drop every connection; the books stay."""
        with self._lifecycle:
            if self._return is not None:
                self._return.cancel()
                self._return = None
            if self._server is not None:
                self._server.stop()
                self._server = None

    def go_away(self, seconds: float) -> None:
        """Close the port and drop every connection, for so long."""
        self.stop()
        with self._lifecycle:
            self._return = threading.Timer(seconds, self._come_back)
            self._return.daemon = True
            self._return.start()

    def _come_back(self) -> None:
        """Listen again, unless it was stopped meanwhile; the port may be another's for a moment."""
        deadline = time.monotonic() + RETURN_PATIENCE
        while True:
            with self._lifecycle:
                if self._return is not threading.current_thread():
                    return
                try:
                    self._listen()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                else:
                    return
            time.sleep(0.05)

    def misbehave(
        self,
        account: str = EVERYBODY,
        *,
        delay: float = 0.0,
        status: int | None = None,
        retry_after: float | None = None,
        body: str | None = None,
        is_hung: bool = False,
        is_cut: bool = False,
        is_stale: bool = False,
        times: int | None = None,
    ) -> None:
        """Answer requests about an account, or all, badly: see Fault.

        `is_stale` (for one account) answers from now on with the account as it stands now.
        """
        stale = self.books.photograph(account) if is_stale else None
        with self.books.lock:
            self._faults[account] = Fault(
                delay=delay,
                status=status,
                retry_after=retry_after,
                body=body,
                is_hung=is_hung,
                is_cut=is_cut,
                stale=stale,
                times=times,
            )

    def behave(self, account: str | None = None) -> None:
        """Answer as one should again, about an account or (None) whatever was said before."""
        with self.books.lock:
            if account is None:
                self._faults.clear()
            else:
                self._faults.pop(account, None)

    def fault(self, account: str) -> Fault:
        """How the next request about an account is to be answered; counts it."""
        with self.books.lock:
            name = account if account in self._faults else EVERYBODY
            fault = self._faults.get(name)
            if fault is None:
                return Fault()
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._faults[name]
            return fault

    def control(self, command: str, arguments: bytes) -> object:
        """Call a method that `COMMANDS` names with a JSON object of arguments.

        Raises SimulationError for what cannot be done or read.
        """
        if command not in COMMANDS:
            raise UnknownError(f"there is no command {command}; there are: {', '.join(COMMANDS)}")
        method, shape = COMMANDS[command]
        try:
            read = msgspec.json.decode(arguments or b"{}", type=shape)
        except msgspec.MsgspecError as error:
            raise SimulationError(f"{command}: {error}") from error
        target = self if hasattr(self, command) else self.books
        return method(target, **msgspec.structs.asdict(read))

    def note(self, target: str) -> None:
        """Remember a request."""
        with self.books.lock:
            self.requests.append(target)
            del self.requests[:-5000]


def _shape_of(method: Callable[..., Any]) -> type[msgspec.Struct]:
    """A struct with a method's arguments: what a control request's body is read as."""
    hints = get_type_hints(method)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, parameter in islice(inspect.signature(method).parameters.items(), 1, None):
        if parameter.default is inspect.Parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    return msgspec.defstruct(method.__name__, fields, kw_only=True, forbid_unknown_fields=True)


COMMANDS: dict[str, tuple[Callable[..., Any], type[msgspec.Struct]]] = {
    method.__name__: (method, _shape_of(method))
    for method in (
        Books.set_instrument,
        Books.set_price,
        Books.set_prices,
        Books.create_account,
        Books.record_fill,
        Books.record_entry,
        Books.lose_fill,
        Books.lose_next_fills,
        Books.set_position,
        Books.set_balance,
        Books.distort,
        SimulatedBroker.misbehave,
        SimulatedBroker.behave,
        SimulatedBroker.go_away,
    )
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], broker: SimulatedBroker) -> None:
        self.broker = broker
        self.is_closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, _Handler)

    def start(self) -> None:
        threading.Thread(
            target=self.serve_forever, args=(0.02,), name="simulated broker", daemon=True
        ).start()

    def stop(self) -> None:
        self.is_closing.set()
        self.shutdown()
        self.server_close()
        with self._connections_lock:
            for connection in self._connections:
                reset(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is none; anything else is a defect, and is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def reset(connection: socket.socket) -> None:
    """Drop a connection so that the other end sees it as broken, at once."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a simulation is not audited."""

    def _serve(self) -> None:
        broker = self.server.broker
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        parts = [unquote(part) for part in target.path.strip("/").split("/")]
        if self.headers.get("Authorization") != f"Bearer {broker.token}":
            self._send(error(HTTPStatus.UNAUTHORIZED, "the token is not valid"))
        elif parts[0] == "control":
            self._control("/".join(parts[1:]), body)
        else:
            broker.note(self.path)
            fault = broker.fault(parts[2] if len(parts) > 2 else EVERYBODY)
            self._answer(fault, Request(self.command, parts, query, body))

    def _control(self, command: str, body: bytes) -> None:
        broker = self.server.broker
        if command == "go_away":
            # the one command that cannot be answered after it is done
            self._send(as_json(HTTPStatus.OK, None))
            self.wfile.flush()
            self.close_connection = True
            broker.control(command, body)
            return
        try:
            self._send(as_json(HTTPStatus.OK, broker.control(command, body)))
        except SimulationError as failure:
            self._send(refusal(failure))

    def _answer(self, fault: Fault, request: Request) -> None:
        closing = self.server.is_closing
        if fault.is_hung:
            closing.wait(LONGEST_HANG)
            self._drop()
            return
        if fault.delay and closing.wait(fault.delay):
            self._drop()
            return
        if fault.status is not None:
            said = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
            self._send(error(fault.status, "as it was told to answer", said))
            return
        broker = self.server.broker
        answer = reply(broker.books, request, broker.url, broker.page_limit, fault.stale)
        if fault.body is not None:
            answer = Answer(HTTPStatus.OK, fault.body.encode())
        self._send(answer, is_cut=fault.is_cut)

    def _send(self, answer: Answer, *, is_cut: bool = False) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if is_cut:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.wfile.flush()
            self._drop()
        else:
            self.wfile.write(answer.body)

    def _drop(self) -> None:
        self.close_connection = True
        reset(self.connection)
