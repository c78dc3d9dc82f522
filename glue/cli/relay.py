"""`tidemark relay`."""

import click

from glue.settings import Address, Settings


class AddressType(click.ParamType[Address]):
    """host:port on the command line."""

    name = "HOST:PORT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Parse it, or refuse it as wrong usage."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--listen", type=AddressType(), help="Else TIDEMARK_LISTEN, else 127.0.0.1:8017.")
@click.option(
    "--metrics-listen",
    type=AddressType(),
    help="Serve /metrics here to whoever can reach it; else TIDEMARK_METRICS_LISTEN.",
)
@click.option(
    "--allow-origin",
    "allowed_origins",
    metavar="ORIGIN",
    multiple=True,
    help="Another origin (https://host:port) whose pages may connect; repeatable.",
)
@click.pass_obj
def relay(
    settings: Settings,
    listen: Address | None,
    metrics_listen: Address | None,
    allowed_origins: tuple[str, ...],
) -> None:
    """Serve the page and its live updates, until stopped.

    One port: the page, /ws (for those who have a token: tidemark token issue), /healthz, and
    /metrics for this machine only. While the database is away clients stay connected and are told
    so. Stops on Ctrl-C and SIGTERM.
    """
    from glue import db
    from glue import relay as process

    if metrics_listen is None and settings.metrics_listen is not None:
        metrics_listen = Address.parse(settings.metrics_listen)
    process.main(
        db.dsn_of(settings), listen or settings.listen_address, metrics_listen, allowed_origins
    )
