"""`tidemark watch`."""

import click

from glue.settings import Settings


@click.command()
@click.pass_obj
def watch(settings: Settings) -> None:
    """Judge every account's margin once a second, until stopped.

    Accounts that come into margin_call or close_out, or out of it, are logged and stand in
    api.margin_changes. api.set_margin_terms sets an account's levels. Several may run: one judges.
    Database away: it waits for it. Stops on Ctrl-C and SIGTERM.
    """
    from glue import db
    from glue import watch as process

    process.main(db.dsn_of(settings))
