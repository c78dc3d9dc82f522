"""`tidemark up` as a user runs it in a terminal, and what of it still runs afterwards."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from glue import db, settings
from glue.errors import ServerError
from glue.local.server import EmbeddedServer

PATIENCE = 30.0
"""Seconds after which something that should happen has not happened."""
MARKER = "TIDEMARK_TEST_MARKER"


def until(
    condition: Callable[[], object], what: str | Callable[[], str], seconds: float = PATIENCE
) -> None:
    """Wait for a condition; `what` it is may be said when it is known that it did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (
            f"not within {seconds} s: {what() if callable(what) else what}"
        )
        time.sleep(0.02)


def crash(server: EmbeddedServer) -> None:
    """Kill the server without any notice, and start it again."""
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.status().pid != pid, "it is gone")

    def is_started() -> bool:
        # what is left of its sessions may keep it from starting for a moment
        try:
            db.connect(server.ensure_started(may_install=False)).close()
        except ServerError:
            return False
        return True

    until(is_started, "it is there again")


class Up:
    """A running `tidemark up`, leader of a process group as under a shell."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._mark = uuid.uuid4().hex
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "glue", "up", *arguments],
            env=clean | {MARKER: self._mark} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What it wrote so far, its children included."""
        return "".join(self._lines)

    def wait_until_ready(self) -> None:
        """Until it has said where everything is."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.output
            return "\n  times " in self.output

        until(is_ready, "tidemark up is ready")

    @property
    def page(self) -> str:
        """The page's address, as it was printed."""
        found = re.search(r"^  page +(\S+)$", self.output, re.MULTILINE)
        assert found is not None, self.output
        return found[1]

    def press_ctrl_c(self) -> int:
        """What a terminal does: SIGINT to the whole foreground group; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Its exit code when it has ended, and all of its output has been read."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def children(self) -> dict[str, int]:
        """The pids of the Python processes that it started, by the last word of the command."""
        found = {}
        for pid in self.processes():
            words = _command(pid)
            if pid != self.process.pid and "-m" in words:
                found[words[-1]] = pid
        return found

    def wait_until_gone(self) -> None:
        """Until nothing that it started runs."""
        until(lambda: not self.processes(), "all processes are gone")

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def processes(self) -> list[int]:
        """The pids of all that runs of it, by the mark in the environment; the server too."""
        mark = f"{MARKER}={self._mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has just ended, or is somebody else's
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.append(line)


def _command(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode() for word in words if word]


@contextlib.contextmanager
def running_up(*arguments: str, **variables: str) -> Iterator[Up]:
    """A `tidemark up` that has ended when the block has."""
    up = Up(*arguments, **variables)
    try:
        yield up
    finally:
        up.end()


@contextlib.contextmanager
def home_with_programs() -> Iterator[Path]:
    """A home with data of its own and the project's programs, which the server's user can enter."""
    programs = EmbeddedServer(settings.load().home)
    programs.install()
    home = Path(os.path.realpath(tempfile.mkdtemp(prefix="tidemark-test-", dir="/tmp")))
    home.chmod(0o755)
    (home / "server").symlink_to(programs.home / "server")
    try:
        yield home
    finally:
        EmbeddedServer(home).reset()
        shutil.rmtree(home)
