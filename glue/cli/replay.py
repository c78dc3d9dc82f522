"""`tidemark replay`."""

from typing import Any

import click

from glue.settings import Settings


class Speed(click.ParamType[float | None]):
    """A factor above zero, or `max`, which is None."""

    name = "speed"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """Read it."""
        if value == "max":
            return None
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r} is neither a number above 0 nor max", param, ctx)
        return speed


@click.command()
@click.argument("file")
@click.option(
    "--speed",
    type=Speed(),
    metavar="N|max",
    default="max",
    show_default=True,
    help="Times the recorded pace (1: as it was), or as fast as can be.",
)
@click.pass_obj
def replay(settings: Settings, file: str, speed: float | None) -> None:
    """Store the ticks of a CSV file through the same path as the topic's.

    FILE has the columns ts,symbol,bid,ask (a header is optional), plain or gzip; - is standard
    input. Times are like 2014-05-02T12:30:00.123Z, with an offset. Ticks that cannot be true are
    filed with the reason (api.rejected_ticks) and the others count. Each run stores its ticks:
    replaying a file twice stores them twice.

    Exit code 1 also when it was stopped (Ctrl-C) before the end; it says after which line.
    """
    from glue import db
    from glue import replay as process

    process.main(db.dsn_of(settings), file, speed)
