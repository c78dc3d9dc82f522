"""`python -m glue.brokers.simulated` serves a simulated broker until it is stopped."""

import sys

import click

from glue import logs, service
from glue.brokers.simulated import TOKEN, SimulatedBroker
from glue.settings import Address
from glue.stop import Stop

log = logs.get("simulated broker")


@click.command()
@click.option("--listen", default="127.0.0.1:8019", show_default=True, help="Address and port.")
@click.option("--token", default=TOKEN, show_default=True, help="What clients must send.")
def main(listen: str, token: str) -> None:
    """Serve a simulated broker: OANDA's v20 paths under /v3, and its control under /control."""
    logs.configure()
    try:
        broker = SimulatedBroker(Address.parse(listen), token=token)
        broker.start()
    except (ValueError, OSError) as error:
        click.echo(f"tidemark: cannot listen on {listen}: {error}", err=True)
        sys.exit(1)
    stop = Stop()
    service.stop_on_signals(stop.set)
    log.info("listening", url=broker.url)
    while not stop.wait(3600):
        pass
    broker.stop()


main(prog_name="python -m glue.brokers.simulated")
