"""Who the server runs as, and where its files may be.

PostgreSQL refuses to run as root. Started by root, the server runs as the owner of its data or
as an unprivileged user, who must be able to enter the directories.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue.errors import ServerError
from glue.local.problems import OWN_SERVER, command_failed

UNPRIVILEGED = ("postgres", "nobody")
FALLBACK_HOME = Path("/var/lib/tidemark")
SOCKET_PATH_LIMIT = 107
PORT = 5432
"""Only part of the socket's name: the server does not listen on TCP."""


@dataclass(frozen=True)
class User:
    """The user of the server's processes and files."""

    uid: int
    gid: int
    name: str

    @property
    def is_me(self) -> bool:
        """Whether nothing needs to be changed to run as this user."""
        return self.uid == os.geteuid()


def say(words: str) -> None:
    """Tell of progress, on standard error."""
    print(f"tidemark: {words}", file=sys.stderr, flush=True)


def server_user(data: Path) -> User:
    """Whom the server runs as: oneself; for root the owner of `data`, else an unprivileged user."""
    if os.geteuid() != 0:
        return User(os.geteuid(), os.getegid(), _name(os.geteuid()))
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return User(owner.st_uid, owner.st_gid, _name(owner.st_uid))
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(entry.pw_uid, entry.pw_gid, name)
    raise ServerError(
        f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}",
        f"Run tidemark as another user, or add a user called postgres. {OWN_SERVER}",
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # usual in containers
        return str(uid)


def settle_home(home: Path, user: User) -> Path:
    """`home`; /var/lib/tidemark where the server's user cannot enter it, which can befall root."""
    return home if can_enter(user, home) else FALLBACK_HOME


def can_enter(user: User, path: Path) -> bool:
    """Whether the user can enter `path`, or as much of it as there is."""
    if user.is_me:
        return True
    while not path.exists():
        path = path.parent
    return subprocess.run(["test", "-x", path], check=False, **as_user(user)).returncode == 0


def as_user(user: User) -> dict[str, Any]:
    """How `subprocess` runs a program as the user, in a directory that every user can enter."""
    if user.is_me:
        return {"cwd": "/"}
    return {"cwd": "/", "user": user.uid, "group": user.gid, "extra_groups": []}


def run(argv: list[str], *, user: User, doing: str, stdin: str = "", remedy: str = "") -> str:
    """Run a program to its end and return what it wrote; ServerError where it fails."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LC_", "LD_")) and name != "LANG"
    }
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=kept | {"LC_ALL": "C", "TZ": "UTC"},
            **as_user(user),
        )
    except (FileNotFoundError, PermissionError) as error:
        raise command_failed(doing, f"{user.name} cannot run {argv[0]}: {error}", remedy) from error
    if done.returncode != 0:
        raise command_failed(doing, done.stdout, remedy)
    return str(done.stdout)


def make_directory(path: Path, owner: User | None = None, mode: int = 0o755) -> None:
    """Make a directory and its parents, whatever the umask is; `owner` gets the last one."""
    for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(mode if missing == path else 0o755)
    if owner is not None and not owner.is_me:
        os.chown(path, owner.uid, owner.gid)


def socket_directory(data: Path, user: User) -> Path:
    """The directory of the server's socket: short, and derived from the data directory.

    /run where only root can write (nobody can get there first), else /tmp. Not $XDG_RUNTIME_DIR,
    which is deleted when the user logs out, while the server runs on.
    """
    base = "/run" if os.geteuid() == 0 and os.access("/run", os.W_OK) else "/tmp"
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    directory = Path(base) / f"tidemark-{user.uid}-{name}"
    assert len(os.fsencode(directory / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_LIMIT
    return directory


def make_socket_directory(directory: Path, user: User) -> None:
    """Make the socket's directory, open to the server's user alone; refuse one that is not ours.

    What a server that died left in it goes: its lock file would keep the next one from starting
    while the dead process is a zombie, as it stays in a container whose first process reaps none.
    """
    try:
        directory.mkdir(mode=0o700)
        if not user.is_me:
            os.chown(directory, user.uid, user.gid)
    except FileExistsError:
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid:
            raise ServerError(
                f"{directory} belongs to somebody else, the server's socket cannot go there",
                f"Remove it, or set TIDEMARK_HOME to another directory. {OWN_SERVER}",
            ) from None
    directory.chmod(0o700)
    for leftover in directory.iterdir():
        leftover.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; whoever comes meanwhile waits."""
    make_directory(path.parent)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another tidemark that is busy with the embedded server")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_tree(path: Path) -> None:
    """Delete a directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
