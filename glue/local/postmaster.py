"""The running server as its pid file and the kernel tell of it.

`postmaster.pid`, line by line: pid, data directory, start time, port, socket directory, listen
address, shared memory key and id, status (PostgreSQL's `pidfile.h`).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from glue.errors import ServerError

POLL = 0.01
"""Seconds between two looks at a process that is stopping."""


@dataclass(frozen=True)
class Postmaster:
    """What the pid file says."""

    pid: int
    socket_directory: Path | None
    port: int
    shared_memory_id: str
    is_ready: bool

    @property
    def has_socket(self) -> bool:
        """Whether the socket is where the server made it: temporary directories get cleaned."""
        directory = self.socket_directory
        return directory is not None and (directory / f".s.PGSQL.{self.port}").exists()


def read(data: Path) -> Postmaster | None:
    """The pid file of a data directory; None without one, or with one that holds nothing yet."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        lines += [""] * (8 - len(lines))
        return Postmaster(
            pid=int(lines[0]),
            socket_directory=Path(lines[4]) if lines[4] else None,
            port=int(lines[3] or 0),
            shared_memory_id=(lines[6].split() or ["", ""])[-1],
            is_ready=lines[7].strip() == "ready",
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
        return None


def find(data: Path) -> Postmaster | None:
    """The server that is running on a data directory; None where the pid file is stale."""
    found = read(data)
    return found if found is not None and _serves(found.pid, data) else None


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is this data directory's postmaster, not one that got its pid later."""
    if not is_alive(pid):
        return False
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if os.path.basename(arguments[0]) not in (b"postgres", b"postmaster"):
        return False
    if os.fsencode(data) in arguments:
        return True
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(data)
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which nobody has waited for yet, does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")


def clear_stale(data: Path, patience: float = 10) -> None:
    """Remove a pid file that no server stands behind, once nothing uses its shared memory.

    The second condition is PostgreSQL's own: backends of a killed postmaster may still write.
    Waits up to `patience` seconds; ServerError where something holds on.
    """
    stale = read(data)
    deadline = time.monotonic() + patience
    while stale is not None and _is_attached(stale.shared_memory_id):
        if time.monotonic() > deadline:
            raise ServerError(
                f"processes of a server that died still use {data}",
                f"See them with: ipcs -m -p -i {stale.shared_memory_id}; end them, start again.",
            )
        time.sleep(POLL)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _is_attached(shared_memory_id: str) -> bool:
    try:
        rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except FileNotFoundError:
        return False
    attached = {fields[1]: int(fields[6]) for row in rows if len(fields := row.split()) > 6}
    return attached.get(shared_memory_id, 0) > 0


def wait_until_gone(pid: int, patience: float) -> bool:
    """Wait until a process has ended; False if it has not after `patience` seconds."""
    deadline = time.monotonic() + patience
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
