"""Chromium without an observer: what a user's browser does, and no more.

Playwright listens to a page's network, so each message that a page gets is also copied, encoded and
sent to Playwright, by the thread that shows the page. Here a page is told where to go and asked
what it has seen, by the browser's own protocol.
"""

import contextlib
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests import browser
from tests.supervisors import until

ARGUMENTS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--window-size=1280,807",  # the page is 720 px high
    *browser.ARGUMENTS,
    # What a browser does besides, some time after its start.
    "--disable-breakpad",
    "--disable-component-extensions-with-background-pages",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-features=MediaRouter,OptimizationHints,Translate",
    "--disable-field-trial-config",
    "--disable-stack-profiler",
    "--metrics-recording-only",
    "--mute-audio",
    "--password-store=basic",
    # Nobody looks at its window, but a page is to be shown as if.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
WINDOW_OPENS = 1.5
"""Seconds until a new window keeps the machine busy no longer."""
POLL = """
new Promise((resolve) => {
    const look = () => ((%s) ? resolve() : setTimeout(look, 100));
    look();
})
"""


class Tab:
    """A page in a process of its own."""

    def __init__(self, protocol: "Protocol", script: str, visitor: str) -> None:
        self._protocol = protocol
        self._target = protocol.call(
            "Target.createTarget", url="about:blank", browserContextId=visitor
        )
        attached = protocol.call("Target.attachToTarget", flatten=True, **self._target)
        self._session: str = attached["sessionId"]
        self._call("Page.enable")
        self._call("Page.setBypassCSP", enabled=True)  # the script may connect anywhere
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def go(self, address: str) -> None:
        """Begin to load an address."""
        self._call("Page.navigate", url=address)

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true; it is looked at ten times a second."""
        self._call("Runtime.evaluate", expression=POLL % condition, awaitPromise=True)

    def evaluate(self, expression: str) -> Any:
        """What an expression comes to, or the promise that it is."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        return answer["result"].get("value")

    def close(self) -> None:
        """Close it."""
        self._protocol.call("Target.closeTarget", **self._target)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._protocol.call(method, self._session, **parameters)


class Protocol:
    """Chromium's DevTools protocol, one question at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def visitor(self) -> str:
        """Somebody who has never been here: nothing of a page is stored. Has a window already.

        To open one costs Chromium 200 ms of processor time, beside the first page in it.
        """
        context: str = self.call("Target.createBrowserContext")["browserContextId"]
        self.call("Target.createTarget", url="about:blank", browserContextId=context)
        time.sleep(WINDOW_OPENS)
        return context

    def leave(self, visitor: str) -> None:
        """Forget a visitor, and close the window."""
        self.call("Target.disposeBrowserContext", browserContextId=visitor)

    def tab(self, script: str, visitor: str) -> Tab:
        """A visitor's new page, which runs a script before its own."""
        return Tab(self, script, visitor)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """What a method returns; RuntimeError where it fails."""
        question = {"id": next(self._ids), "method": method, "params": parameters}
        if session is not None:
            question["sessionId"] = session
        self._socket.send(json.dumps(question))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == question["id"]:
                break
        problem = answer.get("error") or answer["result"].get("exceptionDetails")
        if problem:
            raise RuntimeError(f"{method}: {problem}")
        result: dict[str, Any] = answer["result"]
        return result


@contextlib.contextmanager
def running() -> Iterator[Protocol]:
    """A browser that runs while the block lasts; the test is skipped where there is none."""
    program = browser.find()
    if program is None:
        pytest.skip("there is no Chromium: python -m tests.browser says how to get one")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, f"--user-data-dir={profile}", *ARGUMENTS, "about:blank"]
        told = Path(profile) / "DevToolsActivePort"
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: told.exists() and len(told.read_text().split()) == 2, "it listens")
                port, path = told.read_text().split()
                address = f"ws://127.0.0.1:{port}{path}"
                with connect(address, max_size=None, compression=None) as socket:
                    yield Protocol(socket)
            finally:
                process.terminate()
