"""Tables on a terminal."""

from collections.abc import Sequence
from datetime import datetime

import click


def echo_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Print a table, its columns as wide as they must be; those in `right` are right-aligned."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


def shown(instant: datetime) -> str:
    """An instant in local time, to the second."""
    return instant.astimezone().isoformat(sep=" ", timespec="seconds")
