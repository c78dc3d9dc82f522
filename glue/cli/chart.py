"""`tidemark chart`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from glue.settings import Settings


class Instant(click.ParamType[datetime]):
    """An ISO time, or a date, which is its beginning; UTC unless it says otherwise."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read it."""
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time like 2014-05-02T12:30Z or 2014-05-02", param, ctx)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _output(_ctx: click.Context, _option: click.Parameter, value: Path) -> Path:
    from glue.chart import FORMATS

    if value.suffix.lower() not in FORMATS:
        raise click.BadParameter(f"{value} ends in none of {', '.join(FORMATS)}")
    return value


@click.command()
@click.argument("account")
@click.option("--from", "since", type=Instant(), metavar="TIME", help="Else from the first bar.")
@click.option("--to", "until", type=Instant(), metavar="TIME", help="Until before it; else all.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    callback=_output,
    metavar="FILE",
    help="A .png or .svg file; one that exists is replaced.",
)
@click.pass_obj
def chart(
    settings: Settings,
    account: str,
    since: datetime | None,
    until: datetime | None,
    output: Path,
) -> None:
    """Draw the equity of an account, with its drawdown beneath, into a file.

    ACCOUNT is an id or a name. TIME is like 2014-05-02T12:30Z, or a date, which is its beginning;
    UTC unless it has an offset. Drawdown is free of deposits, withdrawals and credits; it counts
    from the highest point before the range, too. Needs: pip install 'tidemark[chart]'.
    """
    from glue import chart as process
    from glue import db

    if since is not None and until is not None and since >= until:
        raise click.UsageError("--from must be before --to")
    process.require_matplotlib()
    curve = process.main(db.dsn_of(settings), account, since, until, output)
    click.echo(f"{output}: {curve.name}, {process.range_text(curve)}")
