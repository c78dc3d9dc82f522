"""`tidemark up`."""

import click
import msgspec

from glue.settings import Address, Settings


def _address(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            Address.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return value


@click.command()
@click.option("--demo", is_flag=True, help="With a simulated market and accounts that trade.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=_address,
    help="Where the page is; else TIDEMARK_LISTEN, else 127.0.0.1:8017.",
)
@click.option(
    "--kafka",
    metavar="SERVERS",
    help="The cluster; else TIDEMARK_KAFKA, but not with --demo.",
)
@click.option("--dsn", help="The database; else TIDEMARK_DSN and the like, but not with --demo.")
@click.pass_obj
def up(
    settings: Settings, demo: bool, listen: str | None, kafka: str | None, dsn: str | None
) -> None:
    """Run ingest, relay and page together, until Ctrl-C or SIGTERM.

    The schema is brought to head first. When one process ends by itself, all stop: exit code 1.

    --demo needs nothing else: without --dsn and --kafka it uses the embedded server and a broker in
    memory, also where the environment names others. It goes on with the accounts of the last time,
    and refuses a database that holds accounts which are not its own.
    """
    from glue import up as process

    if listen is not None:
        settings = msgspec.structs.replace(settings, listen=listen)
    if demo:
        process.demo(settings, dsn, kafka)
    else:
        named = {
            name: value for name, value in (("dsn", dsn), ("kafka", kafka)) if value is not None
        }
        process.serve(msgspec.structs.replace(settings, **named))
