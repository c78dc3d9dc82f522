"""`tidemark watch`."""

import click

from glue.settings import Settings


@click.command()
@click.pass_obj
def watch(settings: Settings) -> None:
    """Judge margins and reconciliation and close bars of equity curves, once a second.

    Accounts that come into margin_call or close_out, or out of it, are logged and stand in
    api.margin_changes. api.set_margin_terms sets an account's levels. Bars that something late has
    made wrong (api.curve_marks) are rebuilt. Accounts that nobody has compared with their broker
    for long are told of as an alert, and alerts that are due are sent (tidemark alerts), also those
    of the reconciler. Several may run: one does the work.
    Database away: it waits for it. Stops on Ctrl-C and SIGTERM.
    """
    from glue import db
    from glue import watch as process

    process.main(db.dsn_of(settings))
