"""What `tidemark up --demo` runs beside the ordinary commands, for those who run it piece by piece.

`python -m glue.demo prepare` registers instruments and accounts and ends; `… broker` is their
broker, and `… trade` trades, until stopped. All use the database that `tidemark` would use, and
refuse one with others' accounts.
"""

import sys

import click

from glue import db, logs, settings
from glue.demo import accounts, traders
from glue.demo import broker as process
from glue.errors import TidemarkError


@click.group()
def demo() -> None:
    """The demo's own processes."""


@demo.command()
def prepare() -> None:
    """Register instruments and accounts, where they are missing."""
    dsn = db.dsn_of(settings.load())
    accounts.refuse_others(dsn)
    accounts.set_up(dsn)


@demo.command()
def broker() -> None:
    """Be the accounts' broker, at TIDEMARK_DEMO_BROKER with the prices of TIDEMARK_KAFKA."""
    configured = settings.load()
    logs.configure(configured.log)
    if configured.kafka is None:
        raise click.UsageError("Name the cluster with the prices: TIDEMARK_KAFKA.")
    dsn = db.dsn_of(configured)
    accounts.refuse_others(dsn)
    process.main(configured, dsn, configured.kafka)


@demo.command()
def trade() -> None:
    """Trade with the broker at TIDEMARK_DEMO_BROKER until stopped."""
    configured = settings.load()
    logs.configure(configured.log)
    traders.main(db.dsn_of(configured), configured.demo_broker)


try:
    demo(prog_name="python -m glue.demo")
except TidemarkError as error:
    click.echo(f"tidemark: {error.message}\n  {error.remedy}".rstrip(), err=True)
    sys.exit(1)
