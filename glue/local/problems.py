"""What can go wrong on somebody's machine, each told with what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from glue.errors import ServerError

OWN_SERVER = (
    "Or use a PostgreSQL 17 with TimescaleDB of your own: name it in TIDEMARK_DSN, "
    "or start one with Docker (compose.yaml)."
)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL_WORDS = ("No space left on device", "Disk quota exceeded", "enough free space", "too large")


def full_disk(doing: str) -> ServerError:
    """No space was left while `doing`."""
    return ServerError(
        f"the disk is full: {doing}",
        f"Make room, or set TIDEMARK_HOME to a directory on another disk. {OWN_SERVER}",
    )


def command_failed(doing: str, output: str, remedy: str = "") -> ServerError:
    """A program gave up; `output` is what it said, of which the last lines are kept."""
    if any(words in output for words in FULL_WORDS):
        return full_disk(doing)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = "; ".join(lines[-3:]) or "it said nothing"
    return ServerError(f"failed: {doing}: {said}", f"{remedy} {OWN_SERVER}".strip())


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the operating system's refusals (full disk, no permission) into a ServerError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise full_disk(doing) from error
        if error.errno in FORBIDDEN:
            raise ServerError(
                f"not allowed: {doing}: {error}",
                f"Set TIDEMARK_HOME to a directory that you may write. {OWN_SERVER}",
            ) from error
        raise
