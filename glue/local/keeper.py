"""Keeps the embedded server up for a supervisor, and stops it when the supervisor is gone.

Run as `python -m glue.local.keeper`. Prints one line, `{"dsn": …, "started": …}`, once the server
answers; `started` is false for one that ran before, which is then left running.
"""

import json
import sys
import threading

from glue import service, settings
from glue.errors import TidemarkError
from glue.local.server import EmbeddedServer


class Abandoned(Exception):
    """Told to stop during a download: there is no point in finishing it."""


def main() -> int:
    """Start, tell, wait, stop. 0 when stopped, 1 where the server cannot be started."""
    told_to_stop = threading.Event()
    downloading = True

    def stop() -> None:
        told_to_stop.set()
        if downloading:
            raise Abandoned

    service.stop_on_signals(stop)
    try:
        configured = settings.load()
        server = EmbeddedServer(configured.home, configured.pg_bindir)
        server.install()
        downloading = False
        ran_before = server.status().running
        dsn = server.ensure_started(may_install=True)
        print(json.dumps({"dsn": dsn, "started": not ran_before}), flush=True)
        told_to_stop.wait()
        if not ran_before:
            server.stop()
    except Abandoned:
        return 0
    except TidemarkError as error:
        print(f"tidemark: {error.message}\n  {error.remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
