"""The `tidemark` command: one file a group of commands, loaded when it is called."""

import importlib
import sys

import click
import psycopg

from glue import errors, logs, settings

COMMANDS = {
    "db": ("glue.cli.db:db", "The embedded server: start, stop, status, dsn, psql, reset."),
    "migrate": ("glue.cli.migrate:migrate", "Bring the schema to head."),
    "up": (
        "glue.cli.up:up",
        "All services together; --demo adds a market, traders and a broker.",
    ),
    "ingest": ("glue.cli.ingest:ingest", "Store the ticks of the Kafka topic."),
    "replay": ("glue.cli.replay:replay", "Store the ticks of a CSV file, through the same path."),
    "feed": ("glue.cli.feed:feed", "Send a simulated market to a Kafka topic."),
    "relay": ("glue.cli.relay:relay", "Serve the page and its live updates."),
    "watch": (
        "glue.cli.watch:watch",
        "Judge margins and close bars of equity curves, once a second.",
    ),
    "reconcile": (
        "glue.cli.reconcile:reconcile",
        "Compare every account with its broker, every 30 seconds.",
    ),
    "alerts": ("glue.cli.alerts:alerts", "Channels of alerts, their deliveries, a test message."),
    "chart": ("glue.cli.chart:chart", "Draw an account's equity and drawdown into a file."),
    "token": ("glue.cli.token:token", "Issue, list and revoke dashboard tokens."),
}


class Commands(click.Group):
    """Loads a command's module when the command is called, so that --help stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or None for an unknown one."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tidemark")
@click.pass_context
def tidemark(ctx: click.Context) -> None:
    """Real-time balance and equity of trading accounts, inside PostgreSQL + TimescaleDB.

    TIDEMARK_DSN, or libpq's PGHOST, PGHOSTADDR, PGSERVICE or PGDATABASE, names the server to use;
    without them the embedded server is used, with its data in TIDEMARK_HOME.
    Other settings: TIDEMARK_PG_BINDIR, TIDEMARK_KAFKA, TIDEMARK_TOPIC, TIDEMARK_LOG (console or
    json), TIDEMARK_DEBIAN_MIRROR; for the relay TIDEMARK_LISTEN, TIDEMARK_METRICS_LISTEN,
    TIDEMARK_TLS_CERT, TIDEMARK_TLS_KEY, TIDEMARK_ALLOWED_ORIGINS, TIDEMARK_TRUSTED_PROXIES,
    TIDEMARK_MAX_CLIENTS, TIDEMARK_MAX_CLIENTS_PER_TOKEN, TIDEMARK_MAX_CLIENTS_PER_ADDRESS; for
    reconciliation TIDEMARK_OANDA (practice, live or an address), TIDEMARK_OANDA_TOKEN or
    TIDEMARK_OANDA_TOKEN_FILE, TIDEMARK_DEMO_BROKER, TIDEMARK_RECONCILE_BEAT (seconds).

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    ctx.obj = settings.load()
    logs.configure(ctx.obj.log)


def main() -> None:
    """Run the command line; print what a user can act on instead of a traceback."""
    try:
        tidemark(prog_name="tidemark")
    except errors.TidemarkError as error:
        _fail(error)
    except psycopg.Error as error:
        known = errors.from_database(error)
        if known is None:
            raise
        _fail(known)


def _fail(error: errors.TidemarkError) -> None:
    click.echo(f"tidemark: {error.message}", err=True)
    if error.remedy:
        click.echo(f"  {error.remedy}", err=True)
    sys.exit(1)
