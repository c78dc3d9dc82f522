"""`tidemark alerts`."""

import re
import sys
import time
from datetime import datetime
from datetime import time as clock_time
from typing import TYPE_CHECKING

import click

from glue.cli.tables import echo_table, shown
from glue.settings import Settings

if TYPE_CHECKING:
    from glue.sessions import Connection

PROCESS = "tidemark alerts"
PATIENCE = 30.0
"""Seconds that a test waits for the services to send it."""
POLL = 0.2
"""Seconds between two looks at what became of it."""
VARIABLE = r"\$\{\w+\}"
"""What stands for a secret in an address."""


@click.group()
def alerts() -> None:
    """Who is told when something differs: channels, deliveries, and a test message.

    A channel is an address of Apprise (https://appriseit.com): mailto://, slack://, json://, and
    some 150 others. Put secrets in as '${NAME}': the database keeps just that, and tidemark
    reconcile and tidemark watch, which send, fill in their environment's variable NAME.
    """


def _connect(settings: Settings) -> "Connection":
    from glue import db
    from glue.reconciliation_session import ROLE

    return db.connect(db.dsn_of(settings), role=ROLE, process=PROCESS)


@alerts.command()
@click.argument("channel", required=False)
@click.option(
    "--here", is_flag=True, help="Send from this process, with its environment, not the services."
)
@click.pass_obj
def test(settings: Settings, channel: str | None, here: bool) -> None:
    """Send a test message to CHANNEL, or to all channels that are on, and say how it went."""
    from glue import reconciliation_alert

    with _connect(settings) as connection:
        row = connection.execute(
            "select alert_id from api.send_test_alert(%s)", [channel]
        ).fetchone()
        assert row is not None
        if here:
            reconciliation_alert.send_due(connection)
        told = _wait_for_deliveries(connection, row[0])
    for name, attempts, error, is_delivered in told:
        if is_delivered:
            click.echo(f"{name}: delivered")
        elif attempts:
            click.echo(f"{name}: {error or 'no answer yet'}", err=True)
        else:
            click.echo(f"{name}: nobody sends: start tidemark reconcile or watch", err=True)
    sys.exit(0 if all(is_delivered for *_, is_delivered in told) else 1)


def _wait_for_deliveries(
    connection: "Connection", alert_id: int
) -> list[tuple[str, int, str | None, bool]]:
    """Until each was tried: channel, attempts, the last error, whether it was delivered."""
    until = time.monotonic() + PATIENCE
    while True:
        rows = connection.execute(
            "select channel, attempts, last_error, delivered_at is not null"
            " from api.alert_deliveries where alert_id = %s order by channel",
            [alert_id],
        ).fetchall()
        if all(error or is_delivered for _, _, error, is_delivered in rows):
            return rows
        if time.monotonic() > until:
            return rows
        time.sleep(POLL)


@alerts.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.pass_obj
def list_(settings: Settings, limit: int) -> None:
    """Show the last deliveries, newest first: what was told where, or why it was not."""
    with _connect(settings) as connection:
        rows = connection.execute(
            "select d.created_at, d.channel, d.severity, d.occasion, a.title, d.attempts,"
            " d.delivered_at, d.due_at, d.last_error"
            " from api.alert_deliveries d join api.alerts a using (alert_id)"
            " order by d.delivery_id desc limit %s",
            [limit],
        ).fetchall()
    echo_table(
        ("SINCE", "CHANNEL", "SEVERITY", "OCCASION", "ALERT", "TRIES", "DELIVERED"),
        [_delivery(*row) for row in rows],
    )


def _delivery(
    created_at: datetime,
    channel: str,
    severity: str,
    occasion: str,
    title: str,
    attempts: int,
    delivered_at: datetime | None,
    due_at: datetime,
    error: str | None,
) -> tuple[str, ...]:
    fate = "" if delivered_at is None else shown(delivered_at)
    if delivered_at is None:
        fate = f"not yet, next {shown(due_at)}{f': {error}' if error else ''}"
    return shown(created_at), channel, severity, occasion, title, str(attempts), fate


@alerts.group()
def channels() -> None:
    """Where alerts are told."""


@channels.command("list")
@click.option("--show", is_flag=True, help="Show whole addresses, with what may be secret in them.")
@click.pass_obj
def list_channels(settings: Settings, show: bool) -> None:
    """Show the channels."""
    with _connect(settings) as connection:
        rows = connection.execute(
            "select name, is_enabled, min_severity, quiet_from, quiet_to, time_zone, target"
            " from api.alert_channels order by name"
        ).fetchall()
    echo_table(
        ("NAME", "", "FROM", "QUIET", "ADDRESS"),
        [
            (
                *(name, "on" if is_enabled else "off", min_severity),
                "" if start is None else f"{start:%H:%M}–{end:%H:%M} {zone}",
                target if show else _without_secrets(target),
            )
            for name, is_enabled, min_severity, start, end, zone, target in rows
        ],
    )


def _quiet(
    _ctx: click.Context, _option: click.Parameter, value: str | None
) -> tuple[clock_time, clock_time] | None:
    if value is None:
        return None
    start, _, end = value.partition("-")
    try:
        return clock_time.fromisoformat(start), clock_time.fromisoformat(end)
    except ValueError:
        raise click.BadParameter(f"not like 22:00-06:30: {value}") from None


@channels.command("set")
@click.argument("name")
@click.argument("address")
@click.option(
    "--from",
    "min_severity",
    type=click.Choice(("info", "warning", "critical")),
    default="info",
    show_default=True,
    help="The least severity that is told.",
)
@click.option(
    "--quiet",
    callback=_quiet,
    metavar="HH:MM-HH:MM",
    help="When all but critical alerts wait.",
)
@click.option("--time-zone", default="UTC", show_default=True, help="Of --quiet.")
@click.option("--off", is_flag=True, help="Keep the channel, and tell nothing on it.")
@click.pass_obj
def set_channel(
    settings: Settings,
    name: str,
    address: str,
    min_severity: str,
    quiet: tuple[clock_time, clock_time] | None,
    time_zone: str,
    off: bool,
) -> None:
    """Make the channel NAME, or change it, to Apprise's ADDRESS.

    Quote it, with its secrets as variables: 'slack://${SLACK_TOKEN}/#risk'. Others on this machine
    can see a command line, and whoever may read api.alert_channels an address.
    """
    if not re.search(VARIABLE, address):
        click.echo(
            "What is secret in the address, the database now holds. Rather write '${NAME}' there,"
            " and set the variable NAME where tidemark reconcile and watch run.",
            err=True,
        )
    start, end = quiet or (None, None)
    with _connect(settings) as connection:
        connection.execute(
            "select from api.set_alert_channel(%s, %s, %s, %s, %s, %s, %s)",
            [name, address, min_severity, start, end, time_zone, not off],
        )
    click.echo(f"{name} is {'off' if off else 'on'}; try it: tidemark alerts test {name}")


@channels.command("off")
@click.argument("name")
@click.pass_obj
def turn_off(settings: Settings, name: str) -> None:
    """Tell nothing more on the channel NAME; what was told on it stays known."""
    with _connect(settings) as connection:
        found = connection.execute(
            "select from api.alert_channels c cross join lateral api.set_alert_channel("
            "c.name, c.target, c.min_severity, c.quiet_from, c.quiet_to, c.time_zone, false)"
            " where c.name = %s",
            [name],
        ).rowcount
    if not found:
        raise click.UsageError(f"there is no channel {name}: tidemark alerts channels list")
    click.echo(f"{name} is off")


def _without_secrets(address: str) -> str:
    """The address's scheme, and the variables in it: anything else may be secret."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}… {' '.join(re.findall(VARIABLE, rest))}".rstrip()
