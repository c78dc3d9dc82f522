"""`tidemark db`: the embedded server."""

import os
import sys
import time

import click
from psycopg.conninfo import conninfo_to_dict

from glue.errors import ServerError
from glue.local.server import EmbeddedServer
from glue.settings import LIBPQ_VARIABLES, Settings


@click.group()
@click.pass_context
def db(ctx: click.Context) -> None:
    """Start and stop the embedded server, and look into it.

    It is PostgreSQL 17 with TimescaleDB, kept with its data in TIDEMARK_HOME and reached over a
    unix socket only. TIDEMARK_DSN does not matter here. TIDEMARK_PG_BINDIR names another build to
    use; TIDEMARK_DEBIAN_MIRROR another mirror than the machine's own to download from.
    """
    settings: Settings = ctx.obj
    ctx.obj = EmbeddedServer(settings.home, settings.pg_bindir)


@db.command()
@click.pass_obj
def start(server: EmbeddedServer) -> None:
    """Start the server; download it first where it is not there yet."""
    before = server.status()
    began = time.monotonic()
    server.install()
    installed = time.monotonic()
    server.ensure_started(may_install=True)
    ended = time.monotonic()
    now = server.status()
    if now.pid == before.pid:
        click.echo(f"already running (pid {now.pid}): {now.dsn}")
        return
    click.echo(f"PostgreSQL {now.version} runs (pid {now.pid}) as {now.user} on {now.data}")
    if before.version is None:
        click.echo(
            f"cold start in {ended - began:.1f} s: "
            f"{installed - began:.1f} to download and unpack, {ended - installed:.1f} to start"
        )
    else:
        click.echo(f"warm start in {ended - began:.1f} s")
    click.echo(f"connect: tidemark db psql, or psql '{now.dsn}'")


@db.command()
@click.pass_obj
def stop(server: EmbeddedServer) -> None:
    """Stop the server; its sessions end."""
    click.echo("stopped" if server.stop() else "it was not running")


@db.command()
@click.pass_obj
def status(server: EmbeddedServer) -> None:
    """Show what runs and where everything is; exit code 1 when stopped."""
    now = server.status()
    rows = {
        "status": f"running, pid {now.pid}" if now.running else "stopped",
        "version": f"PostgreSQL {now.version}" if now.version else "not downloaded yet",
        "runs as": now.user,
        "home": now.home,
        "data": now.data,
        "log": now.log,
        "dsn": now.dsn,
    }
    for name, value in rows.items():
        click.echo(f"{name:<8} {value}")
    sys.exit(0 if now.running else 1)


@db.command()
@click.pass_obj
def dsn(server: EmbeddedServer) -> None:
    """Print the connection string; the server is started if it is not running."""
    click.echo(server.ensure_started(may_install=False))


@db.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def psql(server: EmbeddedServer, arguments: tuple[str, ...]) -> None:
    """Run psql on the server; all arguments are psql's own (-d NAME opens another database)."""
    to = server.ensure_started(may_install=False)
    program = server.bindir / "psql"
    # The server stands in the environment, so that -d and -U need not repeat the rest.
    others = {name: value for name, value in os.environ.items() if name not in LIBPQ_VARIABLES}
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    this = {names[name]: str(value) for name, value in conninfo_to_dict(to).items()}
    try:
        os.execve(program, ["psql", *arguments], others | this)
    except OSError as error:
        raise ServerError(
            f"psql cannot be run: {error}", f"Use another psql: psql '{to}'"
        ) from error


@db.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(server: EmbeddedServer, yes: bool) -> None:
    """Stop the server and delete all of its data."""
    if not yes:
        click.confirm(f"Delete all data in {server.data}?", abort=True)
    server.reset()
    click.echo(f"deleted {server.data}")
