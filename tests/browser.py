"""The browser of the end-to-end tests. `python -m tests.browser` sees to it that there is one.

Started by root it installs Debian's Chromium. Others are told how to; the browser tests are then
skipped, except in CI, where a test that silently does not run would be a lie.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VARIABLE = "TIDEMARK_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSTALL = f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"


def find() -> str | None:
    """The path of a Chromium; None where there is none.

    TIDEMARK_CHROMIUM alone decides where it is set: a path, or a name to look up.
    """
    named = os.environ.get(VARIABLE)
    names = (named,) if named else NAMES
    return next((path for name in names if (path := shutil.which(name))), None)


@contextlib.contextmanager
def running() -> Iterator["Browser"]:
    """A browser that runs while the block lasts; LookupError where there is none."""
    from playwright.sync_api import sync_playwright

    program = find()
    if program is None:
        raise LookupError("there is no Chromium: python -m tests.browser says how to get one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


def install() -> str:
    """Install Debian's packages as root; what went wrong, or nothing."""
    if os.geteuid() != 0:
        return "only root can install it"
    if shutil.which("apt-get") is None:
        return "there is no apt-get to install it with"
    print("installing Chromium for the browser tests", file=sys.stderr, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-q", "update"], [*INSTALL.split(), "-q", "-y"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            return f"`{' '.join(command)}` failed: {' '.join(last)}"
    return ""


def main() -> int:
    """0 where the tests may begin, 1 where CI lacks its browser."""
    if find():
        return 0
    if os.environ.get(VARIABLE):
        problem = f"{VARIABLE} names {os.environ[VARIABLE]}, which cannot be run"
    else:
        problem = install()
        if find():
            return 0
    if os.environ.get("CI"):
        print(f"no Chromium, and the browser tests must run in CI: {problem}", file=sys.stderr)
        return 1
    print(
        f"no Chromium ({problem}): browser tests will be skipped. "
        f"Install it with `sudo {INSTALL}`, or name one in {VARIABLE}.",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
