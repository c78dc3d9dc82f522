"""A supervisor's child processes: started in order, stopped in reverse, and never left behind.

Each runs in a session of its own, so that the terminal's Ctrl-C reaches only the supervisor, and
holds the reading end of a pipe that closes when the supervisor is gone, however it ended.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from glue import service
from glue.errors import TidemarkError
from glue.stop import Stop

GRACE = 10.0
"""Seconds that a child has to stop before it is killed."""
READER_GRACE = 1.0
"""Seconds for the last words of a child that has ended."""
POLL = 0.05
"""Seconds between two looks at the children."""


class StopRequested(BaseException):
    """Somebody asked the supervisor to stop. Not an Exception: nothing may take it for an error."""


class ChildEnded(TidemarkError):
    """A child that should have gone on has ended."""


class Child:
    """One process of the supervisor's."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], grace: float) -> None:
        self.name = name
        self.process = process
        self._grace = grace
        self._answer: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"{name} output", daemon=True)
        self._reader.start()

    def answer(self) -> dict[str, Any] | None:
        """The JSON object on the first line of its standard output; None while it is not there."""
        try:
            answer: dict[str, Any] = msgspec.json.decode(self._answer.get_nowait(), type=dict)
        except queue.Empty:
            return None
        return answer

    def stop(self) -> None:
        """Ask it to stop, kill it when it does not, and wait until it is gone."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(self._grace)
        except subprocess.TimeoutExpired:
            say(f"{self.name} has not stopped within {self._grace:.0f} s: killed")
            self.process.kill()
            self.process.wait()
        self._reader.join(READER_GRACE)

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def _read(self) -> None:
        if self.process.stdout is None:
            return
        first = self.process.stdout.readline()
        if first:
            self._answer.put(first)
        for line in self.process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


class Children:
    """The children, in order of start."""

    def __init__(self, stop: Stop, held: Sequence[int] = ()) -> None:
        """`held` are file descriptors that every child keeps open for as long as it lives."""
        self._stop = stop
        self._held = held
        self._children: list[Child] = []
        self._reading_end, self._writing_end = os.pipe()

    def start(
        self,
        name: str,
        *module: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        answers: bool = False,
        grace: float = GRACE,
    ) -> Child:
        """Start `python -m module…`; one that `answers` tells something on its first line."""
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            env={**os.environ, **environment, service.LIFELINE: str(self._reading_end)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if answers else None,
            pass_fds=(self._reading_end, *self._held),
            start_new_session=True,
        )
        child = Child(name, process, grace)
        self._children.append(child)
        return child

    def stop(self) -> None:
        """Stop those that run, the last one first."""
        while self._children:
            self._children.pop().stop()

    def wait_for_answer(self, child: Child) -> dict[str, Any]:
        """What a child tells on its first line, once it does."""
        answers: list[dict[str, Any]] = []

        def has_answered() -> bool:
            if (answer := child.answer()) is not None:
                answers.append(answer)
            return bool(answers)

        self.wait_until(has_answered)
        return answers[0]

    def wait_until(self, condition: Callable[[], bool], poll: float = POLL) -> None:
        """Wait for a condition; StopRequested when told to stop, ChildEnded when a child ends."""
        while not condition():
            if self._stop.wait(poll):
                raise StopRequested
            self._check()

    def wait(self) -> None:
        """Wait until told to stop, which raises StopRequested, or until a child ends."""
        self.wait_until(lambda: False, poll=0.2)

    def _check(self) -> None:
        for child in self._children:
            if child.process.poll() is not None:
                was_killed = child.process.returncode < 0
                raise ChildEnded(
                    f"{child.name} has ended ({child.ending()}), so everything stops",
                    "Start again." if was_killed else "What it said stands above.",
                )


def say(words: str) -> None:
    """Tell of progress, on standard error."""
    print(f"tidemark: {words}", file=sys.stderr, flush=True)
