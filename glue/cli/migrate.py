"""tidemark migrate."""

import click

from glue.settings import Settings


@click.command()
@click.option("--sql", "only_print", is_flag=True, help="Print the SQL instead of running it.")
@click.pass_obj
def migrate(settings: Settings, only_print: bool) -> None:
    """Bring the schema to head; running it twice changes nothing.

    The same as `alembic upgrade head`: versions first, then sql/ in path order, in one transaction
    under an advisory lock.
    """
    from glue import db, migrate

    if only_print:
        click.echo(migrate.script(), nl=False)
    else:
        migrate.to_head(db.dsn_of(settings, may_install=True))
        click.echo("The schema is at head.")
