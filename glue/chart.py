"""`tidemark chart`: an account's equity with the drawdown beneath it, as a PNG or SVG file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

from psycopg.rows import namedtuple_row

from glue import db
from glue.errors import TidemarkError

if TYPE_CHECKING:
    import psycopg
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLE = "tidemark_readonly"
FORMATS = (".png", ".svg")
POINTS = 1_200
"""Buckets of equity at the most: more would share a pixel."""
WIDTHS = [
    timedelta(seconds=seconds)
    for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
]
"""Of the buckets of drawdown, below whole days."""
LABELLED_FLOWS = 12
"""Flows at the most that are marked with their amounts."""

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e8ec"
LINE, BAND, FALL, PAID_IN, PAID_OUT = "#1f5fa8", "#9dc1e8", "#c0392b", "#2e8b57", "#b7791f"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # names may hold dollar signs
}


class ChartError(TidemarkError):
    """A chart that cannot be drawn or written."""


class Point(NamedTuple):
    """A bucket of equity, in account currency; None where it is unknown."""

    at: datetime
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    net_flow: Decimal


class Depth(NamedTuple):
    """How far below the highest a bucket went: money, and a fraction; None where unknown."""

    at: datetime
    deepest: Decimal | None
    deepest_pct: Decimal | None


@dataclass(frozen=True)
class Curve:
    """What a chart shows. `ends_at`: the end of the last bar."""

    name: str
    currency: str
    begins_at: datetime
    ends_at: datetime
    net_flow_before: Decimal
    points: list[Point]
    depths: list[Depth]

    @property
    def flows(self) -> list[tuple[Point, Decimal]]:
        """The points in which net flows changed, and by how much."""
        before = [self.net_flow_before, *(point.net_flow for point in self.points)]
        changes = (
            (point, point.net_flow - last) for last, point in zip(before, self.points, strict=False)
        )
        return [(point, change) for point, change in changes if change]


def main(
    dsn: str, account: str, since: datetime | None, until: datetime | None, output: Path
) -> Curve:
    """Draw an account's curve from `since` to before `until` into the file, whose suffix counts.

    `account`: an id or a name. Without bounds all that there is. Returns what was drawn. Raises
    ChartError: no matplotlib, an unknown account, no bars in the range, an unwritable file.
    """
    require_matplotlib()
    with db.connect(dsn, role=ROLE, process="tidemark chart") as connection:
        curve = read(connection, account, since, until)
    write(curve, output)
    return curve


def require_matplotlib() -> None:
    """ChartError where it is not installed."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415  only who draws pays for it
    except ImportError as error:
        raise ChartError(
            "drawing needs matplotlib, which is not installed",
            "Install it with: pip install 'tidemark[chart]'",
        ) from error


# Reading


def read(
    connection: psycopg.Connection[tuple[Any, ...]],
    account: str,
    since: datetime | None,
    until: datetime | None,
) -> Curve:
    """The account's curve in the range, cut to where there are bars. Raises ChartError."""
    account_id, name, currency = find_account(connection, account)
    ((first, last),) = _rows(
        connection,
        "select min(bucket_at), max(bucket_at) from api.equity_curve_1s"
        " where account_id = %s and bucket_at >= coalesce(%s::timestamptz, '-infinity')"
        " and bucket_at < coalesce(%s::timestamptz, 'infinity')",
        [account_id, since, until],
    )
    if first is None:
        raise ChartError(
            f"no bars of account {account_id} in this range",
            "Bars come with ticks and bookings; without --from and --to all of them are drawn.",
        )
    ends_at = last + timedelta(seconds=1)
    before = _rows(
        connection,
        "select net_flow from api.equity_curve_1s where account_id = %s and bucket_at < %s"
        " order by bucket_at desc, part desc limit 1",
        [account_id, first],
    )
    points = _rows(
        connection,
        "select bucket_at, high, low, close, net_flow"
        " from api.equity_curve_points(%s, %s, %s, %s) order by bucket_at",
        [account_id, first, ends_at, POINTS],
    )
    depths = _rows(
        connection,
        "select bucket_at, deepest, deepest_pct"
        " from api.drawdown_series(%s, %s, %s, %s) order by bucket_at",
        [account_id, first, ends_at, bucket_width(ends_at - first)],
    )
    return Curve(
        name,
        currency,
        first.astimezone(UTC),
        ends_at.astimezone(UTC),
        before[0][0] if before else Decimal(0),
        [Point(*row) for row in points],
        [Depth(*row) for row in depths],
    )


def find_account(
    connection: psycopg.Connection[tuple[Any, ...]], account: str
) -> tuple[int, str, str]:
    """Id, name and currency of the account with this id, else of the only one with this name."""
    found = _rows(
        connection,
        "select account_id, name, currency from api.accounts"
        " where account_id::text = %s or name = %s order by account_id",
        [account, account],
    )
    by_id = [row for row in found if str(row.account_id) == account]
    if not found:
        raise ChartError(f"no account has the id or name {account}", "api.accounts lists them.")
    if not by_id and len(found) > 1:
        ids = ", ".join(str(row.account_id) for row in found)
        raise ChartError(f"several accounts have the name {account}", f"Say which by id: {ids}")
    account_id, name, currency = (by_id or found)[0]
    return account_id, name, currency


def bucket_width(span: timedelta) -> timedelta:
    """The narrowest usual width of which POINTS cover the span, else whole days."""
    for width in WIDTHS:
        if width * POINTS >= span:
            return width
    return timedelta(days=span // (POINTS * timedelta(days=1)) + 1)


def _rows(
    connection: psycopg.Connection[tuple[Any, ...]], query: LiteralString, values: Sequence[Any]
) -> list[Any]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query, values).fetchall()


# Drawing


def write(curve: Curve, output: Path) -> None:
    """Draw the curve into the file, all or nothing. ChartError where it cannot be written."""
    import matplotlib  # noqa: PLC0415  only who draws pays for it

    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        draw(curve).savefig(drawn, format=output.suffix[1:].lower(), facecolor="white")
    try:
        output.write_bytes(drawn.getvalue())
    except OSError as error:
        raise ChartError(
            f"{output} cannot be written: {error.strerror}", "Name another file with -o."
        ) from error


def draw(curve: Curve) -> Figure:
    """Equity on top, the drawdown in percent and in money beneath, over one axis of time."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415

    figure = Figure(figsize=(12, 7.5), dpi=150, layout="constrained")
    equity, percent, money = figure.subplots(3, 1, sharex=True, height_ratios=[4, 1.3, 1.3])
    figure.suptitle(
        f"{curve.name} · equity in {curve.currency}",
        x=0.01,
        ha="left",
        fontsize=15,
        fontweight="bold",
    )
    equity.set_title(range_text(curve), loc="left", fontsize=10, color=MUTED)

    draw_equity(equity, curve)
    at = days([*(depth.at for depth in curve.depths), curve.ends_at])
    deepest_pct = [None if d.deepest_pct is None else 100 * d.deepest_pct for d in curve.depths]
    draw_underwater(percent, at, deepest_pct, "{:,.2f} %")
    draw_underwater(money, at, [d.deepest for d in curve.depths], "{:,.2f} " + curve.currency)
    equity.set_ylabel(f"Equity, {curve.currency}")
    percent.set_ylabel("Drawdown, %")
    money.set_ylabel(f"Drawdown, {curve.currency}")
    for axes in (equity, percent, money):
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))

    locator = AutoDateLocator(tz=UTC, minticks=6, maxticks=11)
    money.xaxis.set_major_locator(locator)
    money.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    money.set_xlim(*days([curve.begins_at, curve.ends_at]))
    money.set_xlabel("UTC")
    figure.align_ylabels()
    return figure


def range_text(curve: Curve) -> str:
    """From when to when."""
    begins, ends = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (curve.begins_at, curve.ends_at))
    return f"{begins} to {ends[11:] if begins[:10] == ends[:10] else ends} UTC"


def draw_equity(axes: Axes, curve: Curve) -> None:
    """The band from low to high, the close in it, and each flow where it happened."""
    points = list(carried(curve.points, curve.ends_at))
    at = days(point.at for point in points)
    high, low, close = (
        numbers([getattr(point, name) for point in points]) for name in ("high", "low", "close")
    )
    axes.fill_between(at, low, high, color=BAND, linewidth=0.8, alpha=0.7, label="low to high")
    axes.plot(at, close, color=LINE, linewidth=1.2, label="close")
    flows = curve.flows
    amounts = [amount for _, amount in flows]
    for when, amount in zip(days(point.at for point, _ in flows), amounts, strict=True):
        color = PAID_IN if amount > 0 else PAID_OUT
        axes.axvline(when, color=color, linewidth=1, linestyle=(0, (4, 3)))
        if len(flows) <= LABELLED_FLOWS:
            axes.annotate(
                f"{amount:+,f}",
                (when, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -12),
                textcoords="offset points",
                color=color,
                fontsize=9,
            )
    if flows:
        axes.plot([], [], color=PAID_IN, linestyle=(0, (4, 3)), label="deposit, credit")
        axes.plot([], [], color=PAID_OUT, linestyle=(0, (4, 3)), label="withdrawal")
    axes.margins(y=0.12)  # the amounts of flows stand above the curve
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)


def draw_underwater(
    axes: Axes, at: list[float], depths: Sequence[Decimal | None], text: str
) -> None:
    """How far below the highest, hanging from zero, with the deepest of all written at it.

    `at`: where each bucket begins, and where the last one ends.
    """
    below = [None if depth is None else -depth for depth in depths]
    axes.spines[["top", "bottom"]].set_visible(True)
    axes.spines["top"].set_color(MUTED)
    known = [(depth, when) for depth, when in zip(below, at, strict=False) if depth is not None]
    if not known:
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
        return
    values = numbers([*below, below[-1]])
    axes.fill_between(at, values, 0, color=FALL, alpha=0.25, linewidth=0, step="post")
    axes.plot(at, values, color=FALL, linewidth=0.9, drawstyle="steps-post")
    deepest, when = min(known)
    axes.set_ylim(1.3 * float(deepest) if deepest else -1, 0)
    if deepest < 0:
        axes.plot([when], [float(deepest)], "o", color=FALL, markersize=4)
        is_late = when > at[0] + (at[-1] - at[0]) * 0.8
        axes.annotate(
            f"deepest {text.format(deepest)}",
            (when, float(deepest)),
            xytext=(-6 if is_late else 6, -8),
            textcoords="offset points",
            ha="right" if is_late else "left",
            va="center",
            color=FALL,
            fontsize=9,
        )


def carried(points: list[Point], ends_at: datetime) -> Iterator[Point]:
    """The points, with the last close where buckets are missing, and up to the end."""
    steps = [later.at - sooner.at for sooner, later in pairwise(points)]
    width = min(steps, default=timedelta(0))
    for point, step in zip(points, [*steps, width], strict=True):
        yield point
        if step > width:
            yield flat(point, point.at + step - width)
    yield flat(points[-1], ends_at)


def flat(point: Point, at: datetime) -> Point:
    """What a point has come to, at a later time."""
    return Point(at, point.close, point.close, point.close, point.net_flow)


def days(instants: Iterable[datetime]) -> list[float]:
    """Where instants are on the axis of time."""
    from matplotlib.dates import date2num  # noqa: PLC0415

    return [date2num(instant) for instant in instants]


def numbers(values: Sequence[Decimal | None]) -> list[float]:
    """For drawing only; what is unknown makes a gap."""
    return [float("nan") if value is None else float(value) for value in values]
