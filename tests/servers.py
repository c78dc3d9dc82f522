"""Which server the tests run on."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from glue.local.server import EmbeddedServer
from glue.settings import Settings

IMAGE = "timescale/timescaledb:latest-pg17"


@contextlib.contextmanager
def running_server(settings: Settings, options: Mapping[str, str]) -> Iterator[str]:
    """TIDEMARK_TEST_DSN, else Docker, else the embedded server with these settings; its dsn."""
    if dsn := os.environ.get("TIDEMARK_TEST_DSN"):
        yield dsn
    elif has_docker():
        with docker_server(options) as dsn:
            yield dsn
    else:
        with embedded_server(settings, options) as dsn:
            yield dsn


def has_docker() -> bool:
    """Whether a Docker engine answers."""
    import docker

    try:
        return bool(docker.from_env(timeout=5).ping())
    except docker.errors.DockerException:
        return False


@contextlib.contextmanager
def docker_server(options: Mapping[str, str]) -> Iterator[str]:
    """TimescaleDB's community image."""
    from testcontainers.community.postgres import PostgresContainer

    arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    container = PostgresContainer(IMAGE, driver=None).with_command(["postgres", *arguments])
    with container as running:
        yield running.get_connection_url()


def roomy_memory(otherwise: Path) -> Path:
    """Where a server's data goes: into memory where there is enough, since it lasts a session."""
    memory = Path("/dev/shm")
    is_fit = (
        memory.is_dir()
        and os.access(memory, os.W_OK)
        and not os.statvfs(memory).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(memory).free > 1_000_000_000
    )
    return memory if is_fit else otherwise


@contextlib.contextmanager
def embedded_server(
    settings: Settings, options: Mapping[str, str], *, on_disk: bool = False
) -> Iterator[str]:
    """The embedded server's binaries with data that lasts as long as the session."""
    where = Path("/var/tmp") if on_disk else roomy_memory(Path("/tmp"))
    folder = Path(tempfile.mkdtemp(prefix="tidemark-test-", dir=where))
    folder.chmod(0o755)  # the server may run as another user
    data = folder / "data"
    server = EmbeddedServer(settings.home, settings.pg_bindir, data=data, options=options)
    try:
        yield server.ensure_started(may_install=True)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
