"""Up: all services together; the demo adds a market, a broker, and accounts that trade.

This process only starts, watches and stops; the work is done by its children (glue/children.py).
"""

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import msgspec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from glue import db, migrate, service
from glue.children import Child, Children, StopRequested, say
from glue.demo import accounts
from glue.errors import SettingsError
from glue.local import places, postmaster
from glue.local.problems import explained
from glue.local.server import EmbeddedServer
from glue.settings import Address, Settings
from glue.stop import Stop

SERVER_GRACE = 90.0
"""Seconds that the embedded server has to stop: it writes a checkpoint."""
PORTS_TRIED = 100
"""How far the demo looks for a free port."""
SILENCE = 20.0
"""Seconds after which we say what is being waited for."""
HEALTH_TIMEOUT = 2.0
"""Seconds for an answer of the relay."""
BROKER = Address("127.0.0.1", 8019)
"""Where the demo's broker is, or on the next free port."""
TOKEN_LABEL = "demo"
TOKEN_VALID_FOR = "7 days"
"""Longer than a demo; the next start ends it anyway."""


def serve(configured: Settings) -> None:
    """Run ingest, relay, watch and, with a broker, reconcile until told to stop.

    Raises SettingsError without a Kafka cluster or with a listening address that is taken,
    ServerError and SchemaError where the database cannot be had, ChildEnded when a process ends.
    """
    kafka = configured.kafka
    if not kafka:
        raise SettingsError(
            "there is no Kafka cluster to take ticks from",
            "Name it with --kafka host:port or TIDEMARK_KAFKA, or see `tidemark up --demo`.",
        )
    address = configured.listen_address
    if not is_free(address):
        raise SettingsError(
            f"another process listens on {address}",
            "Name another address with --listen host:port or TIDEMARK_LISTEN.",
        )
    with contextlib.suppress(StopRequested), _running(configured) as run:
        dsn = run.start_server()
        run.bring_to_head(dsn)
        run.start_services(dsn, kafka, address)
        if configured.has_broker:
            run.start_reconciler({"TIDEMARK_DSN": dsn})
        run.wait_for("the relay", lambda: is_healthy(address, configured.scheme))
        run.announce(dsn, address)
        run.children.wait()
    say("stopped")


def demo(configured: Settings, dsn: str | None, kafka: str | None) -> None:
    """Run a simulated market and broker, accounts that trade, and the services until told to stop.

    Without `dsn` and `kafka` database and broker are the embedded ones, whatever the environment
    says. Raises SettingsError for a database with others' accounts, else what `serve` does.
    """
    if dsn is None:
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]  # PGHOSTADDR, say, would lead away from the embedded server
    configured = msgspec.structs.replace(configured, dsn=dsn)
    with contextlib.suppress(StopRequested), _running(configured, is_alone=True) as run:
        address = free_address(configured.listen_address, "the page")
        broker = free_address(BROKER, "the broker")
        dsn = run.start_server()
        accounts.refuse_others(dsn)
        feed = run.start_feed(kafka)
        run.bring_to_head(dsn)
        accounts.set_up(dsn)
        token = issue_token(dsn)
        environment = {
            "TIDEMARK_DSN": dsn,
            "TIDEMARK_KAFKA": run.children.wait_for_answer(feed)["kafka"],
            "TIDEMARK_DEMO_BROKER": f"http://{broker}",
        }
        with accounts.Watch(dsn) as watch:
            run.start_services(dsn, environment["TIDEMARK_KAFKA"], address)
            child = run.start(
                "the broker", "glue.demo", "broker", environment=environment, answers=True
            )
            run.wait_for("the relay", lambda: is_healthy(address, configured.scheme))
            run.wait_for("the first tick", watch.has_ticked)
            run.children.wait_for_answer(child)
            run.start_reconciler(environment)
            run.start("traders", "glue.demo", "trade", environment=environment)
        run.announce(dsn, address, token, environment["TIDEMARK_DEMO_BROKER"])
        run.children.wait()
    say("stopped")


class Run:
    """What `serve` and `demo` are made of."""

    def __init__(self, configured: Settings, children: Children, began_at: float) -> None:
        self._configured = configured
        self.children = children
        self._began_at = self._lap_at = began_at
        self._laps: list[str] = []
        self._has_started_server = False

    def start_server(self) -> str:
        """The connection string of the configured server; the embedded one is started first."""
        dsn = self._configured.dsn
        if dsn is None:
            keeper = self.start(
                "the embedded server", "glue.local.keeper", answers=True, grace=SERVER_GRACE
            )
            answer = self.children.wait_for_answer(keeper)
            self._has_started_server = bool(answer["started"])
            dsn = str(answer["dsn"])
        else:
            db.connect(dsn).close()
        self._lap("server")
        return dsn

    def bring_to_head(self, dsn: str) -> None:
        """Migrate."""
        migrate.to_head(dsn)
        self._lap("schema")

    def start_feed(self, kafka: str | None) -> Child:
        """Start the simulated market, on a broker of its own unless `kafka` names one."""
        arguments = [] if kafka is None else ["--kafka", kafka]
        return self.start("feed", "glue", "feed", *arguments, answers=True)

    def start_services(self, dsn: str, kafka: str, address: Address) -> None:
        """Start what every installation runs."""
        environment = {
            "TIDEMARK_DSN": dsn,
            "TIDEMARK_KAFKA": kafka,
            "TIDEMARK_LISTEN": str(address),
        }
        self.start("ingest", "glue", "ingest", environment=environment)
        self.start("relay", "glue", "relay", environment=environment)
        self.start("watch", "glue", "watch", environment=environment)

    def start_reconciler(self, environment: Mapping[str, str]) -> None:
        """Start what compares accounts with their broker."""
        self.start("reconcile", "glue", "reconcile", environment=environment)

    @property
    def start(self) -> Callable[..., Child]:
        """Start a child (Children.start)."""
        return self.children.start

    def end(self) -> None:
        """Stop everything; the server too where its keeper was killed and could not."""
        self.children.stop()
        if self._has_started_server:
            EmbeddedServer(self._configured.home, self._configured.pg_bindir).stop()

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition; when it takes long, say for what."""
        began_at = time.monotonic()
        is_told = False

        def is_met() -> bool:
            nonlocal is_told
            if condition():
                return True
            if not is_told and time.monotonic() - began_at > SILENCE:
                say(f"still waiting for {what}")
                is_told = True
            return False

        self.children.wait_until(is_met)

    def announce(
        self, dsn: str, address: Address, token: str | None = None, broker: str | None = None
    ) -> None:
        """Print where everything is, and how long it took to get there."""
        self._lap("ready", since_began=True)
        page = page_address(address, self._configured.scheme)
        is_embedded = self._configured.dsn is None
        rows = {
            "page": page if token is None else f"{page}#token={token}",
            "token": f"{command()} token issue --label NAME" if token is None else None,
            "broker": None if broker is None else f"{broker} misbehaves now and then",
            "psql": f"{command()} db psql" if is_embedded else f"psql '{without_password(dsn)}'",
            "stop": "Ctrl-C",
            "times": " · ".join(self._laps),
        }
        lines = [f"  {name:<6} {value}" for name, value in rows.items() if value is not None]
        click.echo("\n" + "\n".join(["Tidemark is up.", *lines]) + "\n")

    def _lap(self, name: str, *, since_began: bool = False) -> None:
        now = time.monotonic()
        since = self._began_at if since_began else self._lap_at
        self._laps.append(f"{name} {now - since:.1f} s{' after the start' if since_began else ''}")
        self._lap_at = now


@contextlib.contextmanager
def _running(configured: Settings, *, is_alone: bool = False) -> Iterator[Run]:
    """A run with nothing started yet; raises StopRequested when told to stop meanwhile.

    Whatever uses the embedded server, and the demo always, is alone in its home.
    """
    began_at = time.monotonic()
    stop = Stop()
    service.stop_on_signals(stop.set)
    home = configured.home
    if configured.dsn is None:
        home, is_alone = EmbeddedServer(configured.home, configured.pg_bindir).home, True
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(only_one(home, stop))] if is_alone else []
        run = Run(configured, Children(stop, held), began_at)
        stack.callback(run.end)
        yield run


@contextlib.contextmanager
def only_one(home: Path, stop: Stop) -> Iterator[int]:
    """Hold the home's lock, and yield its descriptor for the children to hold it too.

    So a successor waits for what a killed supervisor's children still have to do. Raises
    SettingsError while a supervisor lives.
    """
    with explained(f"writing to {home}"):
        places.make_directory(home)
        file = (home / "up.lock").open("a+")
    with file:
        is_told = False
        while not _lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip()
            if holder.isdigit() and postmaster.is_alive(int(holder)):
                raise SettingsError(
                    f"tidemark is already up with {home} (process {holder})",
                    "Stop it first, or set TIDEMARK_HOME to another directory.",
                )
            if not is_told:
                say("waiting for the processes of one that was killed")
                is_told = True
            if stop.wait(0.05):
                raise StopRequested
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(address: Address) -> bool:
    """Whether one can listen there; SettingsError where that fails for another reason."""
    return _bound_port(address) is not None


def free_address(address: Address, what: str) -> Address:
    """The address for something, or where its port is taken the next free one."""
    last = min(address.port + PORTS_TRIED, 65535)
    for port in range(address.port, last + 1):
        bound = _bound_port(Address(address.host, port))
        if bound is not None:
            if bound != address.port:
                say(f"another process listens on {address}, so {what} is on port {bound}")
            return Address(address.host, bound)
    raise SettingsError(
        f"no port from {address.port} to {last} is free on {address.host}",
        "Name another address with --listen host:port or TIDEMARK_LISTEN.",
    )


def _bound_port(address: Address) -> int | None:
    """The port that a socket gets there; None when it is taken."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            return int(listener.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        raise SettingsError(
            f"cannot listen on {address}: {error.strerror}",
            "Name another address with --listen host:port or TIDEMARK_LISTEN.",
        ) from error


def page_address(address: Address, scheme: str = "http") -> str:
    """Where a browser on this machine finds the page."""
    return f"{scheme}://{address.local}/"


def is_healthy(address: Address, scheme: str = "http") -> bool:
    """Whether the relay says so."""
    try:
        url = f"{page_address(address, scheme)}healthz"
        tls = ssl.create_default_context()
        # its certificate names the host that browsers use, and not this way to it
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT, context=tls) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def issue_token(dsn: str) -> str:
    """A new token for all accounts of the demo; those of earlier starts end."""
    with db.connect(dsn, role=migrate.OWNER, process="tidemark up") as connection:
        connection.execute(
            "select api.revoke_token(token_id) from api.tokens where label = %s and is_valid",
            [TOKEN_LABEL],
        )
        row = connection.execute(
            "select token from api.issue_token(%s, p_valid_for => %s, p_may_acknowledge => true)",
            [TOKEN_LABEL, TOKEN_VALID_FOR],
        ).fetchone()
    assert row is not None  # a function's one row
    return str(row[0])


def command() -> str:
    """How to call `tidemark` from here."""
    beside = Path(sys.executable).with_name("tidemark")
    found = shutil.which("tidemark")
    if found is not None and Path(found).resolve() == beside.resolve():
        return "tidemark"
    if beside.exists():
        return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
    return f"{sys.executable} -m glue"


def without_password(dsn: str) -> str:
    """A connection string that can be shown."""
    parts = {name: value for name, value in conninfo_to_dict(dsn).items() if name != "password"}
    return make_conninfo("", **parts)
