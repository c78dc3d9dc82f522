"""A child for the supervisor's tests: says who it is, and writes it down when told to stop."""

import json
import signal
import sys
from pathlib import Path
from types import FrameType

NAME, MANNER, LOG = sys.argv[1:]


def stop(_signal: int, _frame: FrameType | None) -> None:
    with Path(LOG).open("a") as file:
        file.write(f"{NAME}\n")
    if MANNER != "stubborn":
        sys.exit(0)


signal.signal(signal.SIGTERM, stop)
print(json.dumps({"name": NAME}), flush=True)
print(f"{NAME} goes on", flush=True)
while MANNER != "brief":
    signal.pause()
sys.exit(7)
