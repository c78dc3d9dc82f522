"""`tidemark token`."""

from datetime import timedelta

import click

from glue.cli.tables import echo_table, shown
from glue.settings import Settings

ROLE = "tidemark_owner"


MOST_DAYS = 36_000
"""A hundred years, as the database counts them."""


def _days(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value <= MOST_DAYS:  # also what is not a number
        raise click.BadParameter(f"not above 0 and at most {MOST_DAYS}: {value:g}")
    return value


@click.group()
def token() -> None:
    """Tokens open the dashboard: all accounts, or the ones they name, until they expire.

    A token is shown once, when it is issued; the database keeps only its hash. In psql:
    api.issue_token, api.tokens, api.revoke_token.
    """


@token.command()
@click.option("--label", default="dashboard", show_default=True, help="Who it is for.")
@click.option(
    "--account", "accounts", type=int, multiple=True, help="An account's id; repeatable. Else all."
)
@click.option(
    "--days", type=float, callback=_days, default=30, show_default=True, help="Until it expires."
)
@click.option(
    "--may-acknowledge", is_flag=True, help="May acknowledge discrepancies, in the label's name."
)
@click.pass_obj
def issue(
    settings: Settings,
    label: str,
    accounts: tuple[int, ...],
    days: float,
    may_acknowledge: bool,
) -> None:
    """Make a token; print it, and the page's address with it in the fragment."""
    from glue import db

    with db.connect(db.dsn_of(settings), role=ROLE, process="tidemark token") as connection:
        row = connection.execute(
            "select token, token_id, expires_at from api.issue_token(%s, %s::bigint[], %s, %s)",
            [label, list(accounts) or None, timedelta(days=days), may_acknowledge],
        ).fetchone()
    assert row is not None
    secret, token_id, expires_at = row
    page = settings.listen_address.local
    click.echo(f"token   {secret}")
    click.echo(f"page    http://{page}/#token={secret}")
    click.echo(f"id      {token_id}  (to end it: tidemark token revoke {token_id})")
    click.echo(f"until   {shown(expires_at)}")
    click.echo("It is shown only now.", err=True)


@token.command("list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """Show all tokens, without their secrets."""
    from glue import db

    with db.connect(db.dsn_of(settings), role=ROLE, process="tidemark token") as connection:
        rows = connection.execute(
            "select token_id, case when revoked_at is not null then 'revoked'"
            " when is_valid then 'valid' else 'expired' end,"
            " label, account_ids, case when may_acknowledge then 'acknowledge' else 'look' end,"
            " issued_at, expires_at from api.tokens order by token_id"
        ).fetchall()
    echo_table(
        ("ID", "STATUS", "LABEL", "ACCOUNTS", "MAY", "ISSUED", "EXPIRES"),
        [
            (
                str(token_id),
                status,
                label,
                "all" if account_ids is None else ", ".join(map(str, account_ids)),
                may,
                shown(issued_at),
                shown(expires_at),
            )
            for token_id, status, label, account_ids, may, issued_at, expires_at in rows
        ],
    )


@token.command()
@click.argument("token_id", metavar="ID", type=int)
@click.pass_obj
def revoke(settings: Settings, token_id: int) -> None:
    """End a token; whoever uses it is disconnected at once."""
    from glue import db

    with db.connect(db.dsn_of(settings), role=ROLE, process="tidemark token") as connection:
        row = connection.execute(
            "select label, revoked_at from api.revoke_token(%s)", [token_id]
        ).fetchone()
    assert row is not None
    click.echo(f"token {token_id} ({row[0]}) is revoked since {shown(row[1])}")
