"""Curves made by hand or at random, as bars, and what a plain calculation finds in them."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from tests.factories import Connection, Row, every

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TWELVE = Decimal("1e-12")


def rounded(value: Fraction) -> Decimal:
    """Half away from zero, to 12 decimals."""
    scaled = abs(value) * 10**12
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(whole if value >= 0 else -whole) * TWELVE


@dataclass
class Curve:
    """Bars of an account, as its performance moves and money comes and goes."""

    performance: Decimal = Decimal(0)
    net_flow: Decimal = Decimal(0)
    base: tuple[Decimal, Decimal] | None = None
    bars: list[dict[str, object]] = field(default_factory=list)

    @property
    def equity(self) -> Decimal:
        return self.performance + self.net_flow

    def index(self, performance: Decimal) -> Decimal | None:
        if self.base is None:
            return None
        return rounded(
            Fraction(self.base[0] * (performance + self.net_flow)) / Fraction(self.base[1])
        )

    def flow(self, amount: object) -> "Curve":
        """Money comes or goes."""
        before = self.index(self.performance)
        self.net_flow += Decimal(str(amount))
        if self.equity <= 0:
            self.base = None
        else:
            self.base = (Decimal(1) if before is None else before, self.equity)
        return self

    def move(self, at: datetime, *performances: object) -> "Curve":
        """One bar in which performance takes these values after its open."""
        values = [self.performance, *(Decimal(str(value)) for value in performances)]
        if any(value + self.net_flow <= 0 for value in values):
            self.base = None
        falls = [
            (high - low, rounded(Fraction(high - low) / Fraction(high + self.net_flow)))
            if high + self.net_flow > 0
            else (high - low, Decimal(0))
            for number, low in enumerate(values)
            for high in [max(values[: number + 1])]
        ]
        self.bars.append(
            {
                "bucket_at": at,
                "part": sum(bar["bucket_at"] == at for bar in self.bars),
                "open": values[0],
                "high": max(values),
                "low": min(values),
                "close": values[-1],
                "balance": self.net_flow,
                "net_flow": self.net_flow,
                "base_index": self.base and self.base[0],
                "base_equity": self.base and self.base[1],
                "fall": max(fall for fall, _ in falls),
                "fall_pct": self.base and max(fraction for _, fraction in falls),
                "is_priced": True,
                "is_thinned": False,
            }
        )
        self.performance = values[-1]
        return self

    def unpriced(self, at: datetime) -> "Curve":
        """A bar in which equity was not known at any instant."""
        self.move(at)
        for name in ("open", "high", "low", "close", "fall", "fall_pct"):
            self.bars[-1][name] = None
        self.bars[-1]["is_priced"] = False
        return self

    def store(self, conn: Connection, account_id: int) -> int:
        """Puts the bars where they are kept; the account."""
        if self.bars:
            columns = list(self.bars[0])
            with conn.cursor() as cursor:
                cursor.executemany(
                    f"insert into equity.curve_bars (account_id, {', '.join(columns)}) "
                    f"values (%s{', %s' * len(columns)})".encode(),
                    [[account_id, *bar.values()] for bar in self.bars],
                )
        return account_id


def random_curve(seed: int, bars: int, step: timedelta, flows: int = 3) -> Curve:
    """A walk with jumps between seconds, several values in each, and flows."""
    chance = random.Random(seed)
    curve = Curve().flow(1000)
    at = DAY + timedelta(seconds=chance.randrange(86400))
    for _ in range(bars):
        at += chance.randrange(1, 200) * step / 100
        at = at.replace(microsecond=0)
        while curve.bars and curve.bars[-1]["bucket_at"] >= at:
            at += timedelta(seconds=1)
        curve.move(at, *walk(chance, curve.performance))
        if chance.random() < flows / bars:
            least = int(-curve.equity / 2)
            curve.flow(chance.choice([chance.randrange(1, 2000), chance.randrange(least, 0)]))
            curve.move(at, *walk(chance, curve.performance))
    return curve


def walk(chance: random.Random, value: Decimal) -> Iterator[Decimal]:
    """Some values near the last one; equity stays above zero in practice."""
    for _ in range(chance.randrange(1, 4)):
        value += Decimal(chance.randrange(-300, 310)) / 100
        yield value


def raw(conn: Connection, account_id: int, begin: datetime, end: datetime) -> list[Row]:
    """The bars of seconds, in order."""
    return every(
        conn,
        "select * from equity.curve_1s where account_id = %s and bucket_at >= %s "
        "and bucket_at < %s order by bucket_at, part",
        [account_id, begin, end],
    )


def buckets(bars: Iterable[Row], width: timedelta) -> list[list[Row]]:
    """Bars by the bucket that they begin in, counted from a Monday."""
    origin = datetime(2000, 1, 3, tzinfo=UTC)
    found: dict[datetime, list[Row]] = {}
    for bar in bars:
        found.setdefault(origin + (bar["bucket_at"] - origin) // width * width, []).append(bar)
    return [
        [{**bar, "placed_at": placed_at} for bar in members] for placed_at, members in found.items()
    ]


def fraction(high: Decimal, low: Decimal) -> Decimal:
    return rounded(Fraction(high - low) / Fraction(high))


def deepest(bars: list[Row], since: list[Row] | None = None) -> tuple[Decimal, Decimal]:
    """The deepest fall to a low of these bars, in money and percent, from a high since others."""
    money = [bar["fall"] for bar in bars]
    percent = [bar["fall_pct"] for bar in bars]
    for number, bar in enumerate(bars):
        for earlier in [*(since or []), *bars[:number]]:
            money.append(earlier["high"] - bar["low"])
            percent.append(fraction(earlier["index_high"], bar["index_low"]))
    return max(money), max(percent)


def half_up(value: Decimal, places: str) -> Decimal:
    return value.quantize(Decimal(places), ROUND_HALF_UP)
