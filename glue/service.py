"""What every long-running process shares: how it is told to stop.

A service stops on SIGINT, on SIGTERM, and when the supervisor that started it is gone: the
supervisor holds the writing end of a pipe, whose reading end a service watches.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

LIFELINE = "TIDEMARK_LIFELINE_FD"
"""Names the environment variable with the number of the pipe's reading end."""


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` for SIGINT, SIGTERM or a vanished supervisor. For the main thread only."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    lifeline = os.environ.get(LIFELINE)
    if lifeline is not None:
        threading.Thread(target=_watch, args=(int(lifeline),), name="lifeline", daemon=True).start()


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
