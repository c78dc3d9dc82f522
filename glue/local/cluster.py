"""A data directory: made with initdb, and configured anew at each start."""

import os
from collections.abc import Mapping
from pathlib import Path

from glue.errors import ServerError
from glue.local.places import User, make_directory, remove_tree, run
from glue.local.problems import OWN_SERVER

NAME = "tidemark"
"""Of the database and of its superuser."""
SETTINGS = {
    # Not plpgsql_check: its hooks end a call that runs while another database gets the schema
    # ("cannot find parent statement"). Who checks functions loads it into the session.
    "shared_preload_libraries": "timescaledb",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "max_worker_processes": "20",
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "track_commit_timestamp": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "timescaledb.max_background_workers": "8",
}
"""What a laptop can spare, and what the figures rest on. ALTER SYSTEM overrides each."""
CONFIGURATION = "tidemark.conf"
ONLY_OVER_THE_SOCKET = "local all all trust\n"
"""The socket's directory is open to the server's user alone."""


def create(data: Path, bindir: Path, user: User, *, is_durable: bool = True) -> None:
    """Make a data directory with the database `tidemark`; it appears whole or not at all."""
    doing = f"making the data directory {data}"
    if not Path("/usr/share/zoneinfo").is_dir():
        raise ServerError(
            "this machine has no time zone data, which PostgreSQL reads",
            f"Install the package tzdata. {OWN_SERVER}",
        )
    new = data.with_name(data.name + ".new")
    remove_tree(new)
    make_directory(new, user, mode=0o700)
    try:
        _fill(new, bindir, user, doing, is_durable)
        new.rename(data)
    finally:
        remove_tree(new)


def _fill(new: Path, bindir: Path, user: User, doing: str, is_durable: bool) -> None:
    initdb = [
        *(str(bindir / "initdb"), "-D", str(new), "-U", NAME, "--auth=trust", "--encoding=UTF8"),
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *(() if is_durable else ("--no-sync",)),
    ]
    run(initdb, user=user, doing=doing)
    with (new / "postgresql.conf").open("a") as file:
        file.write(f"\ninclude_if_exists = '{CONFIGURATION}'\n")
    (new / "pg_hba.conf").write_text(ONLY_OVER_THE_SOCKET)
    single = [str(bindir / "postgres"), "--single", "-D", str(new), "-F", "template1"]
    said = run(single, user=user, stdin=f"create database {NAME};\n", doing=doing)
    if "ERROR:" in said:
        raise ServerError(f"failed: {doing}: {said.strip()}", OWN_SERVER)


def check_major(data: Path, major: int) -> None:
    """Refuse a data directory that another major version of PostgreSQL made."""
    made_by = (data / "PG_VERSION").read_text().strip()
    if made_by != str(major):
        raise ServerError(
            f"{data} was made by PostgreSQL {made_by}, this server is {major}",
            f"Name a PostgreSQL {made_by} in TIDEMARK_PG_BINDIR, set TIDEMARK_HOME to another "
            f"directory, or delete the data: tidemark db reset. {OWN_SERVER}",
        )


def configure(
    data: Path, user: User, libraries: Path, sockets: Path, options: Mapping[str, str]
) -> None:
    """Write the settings for the next start; `libraries` is where the extensions' code is."""
    if not (libraries / "timescaledb.so").exists():
        raise ServerError(
            f"the PostgreSQL in use has no TimescaleDB (looked in {libraries})",
            f"Add it there, or unset TIDEMARK_PG_BINDIR. {OWN_SERVER}",
        )
    settings = SETTINGS | {
        "unix_socket_directories": str(sockets),
    }
    if any(
        b"telemetry_level" in library.read_bytes() for library in libraries.glob("timescaledb*.so")
    ):
        settings["timescaledb.telemetry_level"] = "off"
    lines = [f"{name} = {_quoted(value)}\n" for name, value in (settings | dict(options)).items()]
    file = data / CONFIGURATION
    file.write_text("# Written at each start. Override with ALTER SYSTEM.\n" + "".join(lines))
    os.chown(file, user.uid, user.gid)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
