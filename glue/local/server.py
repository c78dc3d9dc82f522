"""The embedded server: found, started and stopped."""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from glue.errors import ServerError
from glue.local import cluster, packages, places, postmaster
from glue.local.places import run, say
from glue.local.problems import OWN_SERVER, command_failed, explained

START_PATIENCE = 300
"""Seconds: after a crash the server first replays its log."""
STOP_PATIENCE = 60
"""Seconds for the checkpoint of a fast shutdown."""
LOG_LIMIT = 20_000_000
"""Bytes; a longer log is put aside at the next start."""


@dataclass(frozen=True)
class Status:
    """What `tidemark db status` shows."""

    running: bool
    pid: int | None
    version: str | None
    """None while nothing is installed."""
    dsn: str
    home: Path
    data: Path
    log: Path
    user: str
    """Whom the server runs as."""


class EmbeddedServer:
    """PostgreSQL with TimescaleDB on a data directory under `home`, reached over a unix socket.

    Several instances, in one process or in many, may speak of the same data directory: the pid
    file tells what runs, and a lock file lets one at a time start, stop or reset it.
    """

    def __init__(
        self,
        home: Path,
        pg_bindir: Path | None = None,
        *,
        data: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Name the places; nothing is touched yet.

        `pg_bindir` is another build's bin directory, used instead of a download. `data` is the data
        directory, by default `<home>/data`. `options` are settings for postgresql.conf that apply
        when this instance starts the server. Raises ServerError where root finds no user to run as.
        """
        user = places.server_user(data or home / "data")
        self.home = places.settle_home(Path(os.path.realpath(home)), user)
        self.data = Path(os.path.realpath(data or self.home / "data"))
        self.user = places.server_user(self.data)
        self.log = self.data.with_name(self.data.name + ".log")
        self.options = dict(options or {})
        self._pg_bindir = pg_bindir
        self._root = packages.directory(self.home)
        self._lock = self.data.with_name(self.data.name + ".lock")

    @property
    def bindir(self) -> Path:
        """The directory of the server's programs (postgres, psql, pg_dump, …)."""
        return self._pg_bindir or self._root / f"usr/lib/postgresql/{packages.MAJOR}/bin"

    @property
    def is_installed(self) -> bool:
        """Whether the programs are there."""
        return self._pg_bindir is not None or packages.is_installed(self._root)

    @property
    def dsn(self) -> str:
        """The libpq connection string, whether the server runs or not."""
        running = postmaster.find(self.data)
        directory = (running and running.socket_directory) or self._socket_directory
        return make_conninfo(
            host=str(directory), port=places.PORT, dbname=cluster.NAME, user=cluster.NAME
        )

    def install(self, *, may_download: bool = True) -> None:
        """Download the programs, unless they are there; ServerError where that cannot be."""
        if self._pg_bindir is None:
            packages.install(self._root, may_download=may_download)

    def ensure_started(self, *, may_install: bool) -> str:
        """Start the server unless it runs, and return its connection string.

        The string names the database `tidemark` and its superuser. Without `may_install` nothing
        is downloaded. Raises ServerError with a remedy.
        """
        with explained(f"starting the server on {self.data}"):
            if self._is_serving():
                return self.dsn
            self.install(may_download=may_install)
            with places.locked(self._lock):
                if not self._is_serving():
                    self._start()
                return self.dsn

    def stop(self) -> bool:
        """Shut the server down, ending its sessions, and wait for it; False if it did not run."""
        with explained(f"stopping the server on {self.data}"):
            if postmaster.find(self.data) is None:
                return False
            with places.locked(self._lock):
                return self._stop()

    def reset(self) -> None:
        """Stop the server and delete its data directory and log; the programs stay."""
        with explained(f"deleting {self.data}"), places.locked(self._lock):
            self._stop()
            places.remove_tree(self._socket_directory)
            places.remove_tree(self.data)
            self.log.unlink(missing_ok=True)

    def status(self) -> Status:
        """Look, without changing anything."""
        with explained(f"reading {self.data}"):
            running = postmaster.find(self.data)
            return Status(
                running=running is not None and running.is_ready,
                pid=running.pid if running else None,
                version=self._version() if self.is_installed else None,
                dsn=self.dsn,
                home=self.home,
                data=self.data,
                log=self.log,
                user=self.user.name,
            )

    @property
    def _socket_directory(self) -> Path:
        return places.socket_directory(self.data, self.user)

    def _is_serving(self) -> bool:
        running = postmaster.find(self.data)
        return running is not None and running.is_ready and running.has_socket

    def _start(self) -> None:
        """Start the server that is not serving; the lock is held."""
        self._stop()  # one that lost its socket, or never became ready
        major = self._check_build()
        if not places.can_enter(self.user, self.data.parent):
            raise ServerError(
                f"the server runs as {self.user.name}, who cannot enter {self.data.parent}",
                f"Choose a directory that {self.user.name} can enter. {OWN_SERVER}",
            )
        if not self.data.exists():
            say(f"making a database in {self.data}")
            is_durable = self.options.get("fsync") != "off"
            cluster.create(self.data, self.bindir, self.user, is_durable=is_durable)
        cluster.check_major(self.data, major)
        postmaster.clear_stale(self.data)
        sockets = self._socket_directory
        places.make_socket_directory(sockets, self.user)
        cluster.configure(self.data, self.user, self._libraries(), sockets, self.options)
        self._launch()

    def _launch(self) -> None:
        """Run the postmaster, in a session of its own: the terminal's Ctrl-C passes it by."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        os.chown(self.log, self.user.uid, self.user.gid)
        told = self.log.stat().st_size
        start = [
            *(str(self.bindir / "pg_ctl"), "start", "-s", "-w", "-t", str(START_PATIENCE)),
            *("-D", str(self.data), "-l", str(self.log)),
        ]
        doing = f"starting the server on {self.data}"
        try:
            run(start, user=self.user, doing=doing)
        except ServerError as error:
            with self.log.open(errors="replace") as file:
                file.seek(told)
                words = file.read()
            raise command_failed(doing, words or error.message, f"See {self.log}.") from error

    def _stop(self) -> bool:
        running = postmaster.find(self.data)
        if running is None:
            return False
        os.kill(running.pid, signal.SIGINT)
        if not postmaster.wait_until_gone(running.pid, STOP_PATIENCE):
            raise ServerError(
                f"the server (pid {running.pid}) has not stopped within {STOP_PATIENCE} s",
                f"See {self.log}.",
            )
        places.remove_tree(self._socket_directory)
        return True

    def _version(self) -> str:
        doing = f"asking {self.bindir} for its version"
        said = run([str(self.bindir / "postgres"), "--version"], user=self.user, doing=doing)
        found = re.search(r"\d+[.\d]*", said)
        return found[0] if found else said.strip()

    def _check_build(self) -> int:
        """The major version of the programs; ServerError for one that is too old."""
        if self._pg_bindir is None:
            return packages.MAJOR
        version = self._version()
        major = int(re.match(r"\d*", version)[0] or 0)  # type: ignore[index]
        if major < packages.MAJOR:
            raise ServerError(
                f"{self._pg_bindir} holds PostgreSQL {version}, {packages.MAJOR} is needed",
                f"Unset TIDEMARK_PG_BINDIR, or name a newer build. {OWN_SERVER}",
            )
        return major

    def _libraries(self) -> Path:
        """Where the build keeps the code of its extensions."""
        beside = self.bindir.parent / "lib"
        candidates = [beside, beside / "postgresql"]
        if (self.bindir / "pg_config").exists():
            doing = f"asking {self.bindir} for its library directory"
            said = run([str(self.bindir / "pg_config"), "--pkglibdir"], user=self.user, doing=doing)
            candidates.insert(0, Path(said.strip()))
        return next((one for one in candidates if (one / "plpgsql.so").exists()), beside)
