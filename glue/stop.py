"""A flag that a signal handler can set and a process can wait on."""

import os
import select


class Stop:
    """Set once, by a signal handler or another thread.

    Not threading.Event: its `set` takes a lock that the interrupted thread may be holding.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._reading_end, self._writing_end = os.pipe()

    def set(self) -> None:
        """Ask to stop."""
        self._is_set = True
        os.write(self._writing_end, b".")

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until asked to stop; returns whether that is the case."""
        select.select([self._reading_end], [], [], max(0.0, seconds))
        return self._is_set
