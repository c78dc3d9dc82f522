"""A simulated market: 28 currency pairs and gold, consistent with each other.

Each currency has one value in US dollars, and a pair's mid is the quotient of two values rounded to
the pair's digits: so a cross follows from its legs, and no round trip earns more than the spreads.
Values move as correlated Brownian motions that are drawn back to where they began, so that a demo
which runs for weeks still shows believable prices. The same seed gives the same market.
"""

import itertools
import math
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

RANK = ("EUR", "GBP", "AUD", "NZD", "USD", "CAD", "CHF", "JPY")
"""The market's order: of two currencies the earlier one is the base."""


class Instrument(NamedTuple):
    """What `api.upsert_instrument` takes, with how the market quotes it."""

    symbol: str
    base_currency: str
    quote_currency: str
    margin_rate: Decimal
    """A fraction of the value."""
    contract_size: Decimal
    """Base units in a quantity of one."""
    digits: int
    """Decimals of a price; a point is the smallest step."""
    spread: tuple[int, int]
    """Tightest and widest spread, in points."""
    activity: float
    """How often it ticks, compared with the others."""


class Quote(NamedTuple):
    """A price in quote currency."""

    symbol: str
    bid: Decimal
    ask: Decimal


class _Currency(NamedTuple):
    """Value in USD, and yearly volatility of its logarithm by factor."""

    value: float
    dollar: float
    europe: float
    commodity: float
    own: float


_CURRENCIES = {
    "EUR": _Currency(1.0850, 0.050, 0.025, 0.000, 0.025),
    "GBP": _Currency(1.2700, 0.050, 0.025, 0.010, 0.045),
    "AUD": _Currency(0.6600, 0.055, 0.000, 0.060, 0.035),
    "NZD": _Currency(0.6100, 0.055, 0.000, 0.060, 0.040),
    "USD": _Currency(1.0000, 0.000, 0.000, 0.000, 0.000),
    "CAD": _Currency(0.7350, 0.030, 0.000, 0.035, 0.030),
    "CHF": _Currency(1.1300, 0.050, 0.035, -0.010, 0.030),
    "JPY": _Currency(1 / 150.50, 0.050, 0.000, -0.030, 0.060),
    "XAU": _Currency(2350.00, 0.080, 0.000, 0.040, 0.110),
}

_SPREADS = {
    "EUR/USD": (2, 10),
    "GBP/USD": (5, 14),
    "AUD/USD": (4, 12),
    "NZD/USD": (8, 18),
    "USD/CAD": (6, 16),
    "USD/CHF": (6, 16),
    "USD/JPY": (3, 12),
    "EUR/GBP": (5, 14),
    "EUR/JPY": (6, 18),
    "EUR/CHF": (8, 20),
    "EUR/AUD": (12, 26),
    "EUR/NZD": (18, 36),
    "EUR/CAD": (12, 26),
    "GBP/JPY": (10, 26),
    "GBP/CHF": (14, 30),
    "GBP/AUD": (16, 34),
    "GBP/NZD": (24, 46),
    "GBP/CAD": (16, 34),
    "AUD/JPY": (8, 20),
    "AUD/NZD": (12, 26),
    "AUD/CAD": (12, 26),
    "AUD/CHF": (12, 26),
    "NZD/JPY": (12, 26),
    "NZD/CAD": (20, 30),
    "NZD/CHF": (16, 32),
    "CAD/JPY": (10, 24),
    "CAD/CHF": (14, 28),
    "CHF/JPY": (12, 28),
    "XAU/USD": (200, 500),
}

_ACTIVITY = {"XAU/USD": 5.0, "EUR/USD": 5.0, "USD/JPY": 4.0, "GBP/USD": 4.0, "GBP/JPY": 3.0}

MAJOR_MARGIN_RATE = Decimal("0.0333")
"""30:1, between the currencies that European regulators call major: all but AUD and NZD."""
MINOR_MARGIN_RATE = Decimal("0.05")
"""20:1, with AUD or NZD, and for gold."""


def _instrument(base: str, quote: str) -> Instrument:
    symbol = f"{base}/{quote}"
    digits = 3 if "JPY" in (base, quote) or base == "XAU" else 5
    is_minor = not {base, quote}.isdisjoint({"AUD", "NZD", "XAU"})
    return Instrument(
        symbol=symbol,
        base_currency=base,
        quote_currency=quote,
        margin_rate=MINOR_MARGIN_RATE if is_minor else MAJOR_MARGIN_RATE,
        contract_size=Decimal(1),
        digits=digits,
        spread=_SPREADS[symbol],
        activity=_ACTIVITY.get(symbol, 2.0 if "USD" in symbol else 1.0),
    )


INSTRUMENTS: Sequence[Instrument] = (
    *(_instrument(base, quote) for base, quote in itertools.combinations(RANK, 2)),
    _instrument("XAU", "USD"),
)
"""What the demo trades."""

_BY_SYMBOL = {instrument.symbol: instrument for instrument in INSTRUMENTS}
_CUMULATIVE_ACTIVITY = list(itertools.accumulate(i.activity for i in INSTRUMENTS))

SECONDS_A_YEAR = 252 * 86_400
"""Of trading: what the volatilities are meant for."""
REVERSION = 1 / (5 * 86_400)
"""Per second: a deviation from the starting value halves in about three and a half days."""


class Market:
    """The state of the simulated market.

    `volatility` multiplies every currency's own: 1 is a calm real market.
    """

    def __init__(self, seed: int | None = None, volatility: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._deviation = dict.fromkeys(_CURRENCIES, 0.0)
        """Of each logarithm from its start."""
        self._width = {i.symbol: 0.3 for i in INSTRUMENTS}
        """Where in its range each spread is, 0 to 1."""
        self._scale = volatility / math.sqrt(SECONDS_A_YEAR)

    def advance(self, seconds: float) -> None:
        """Let that much time pass: every currency moves."""
        step = self._scale * math.sqrt(seconds)
        keep = math.exp(-REVERSION * seconds)
        gauss = self._random.gauss
        dollar, europe, commodity = gauss(0, step), gauss(0, step), gauss(0, step)
        for name, currency in _CURRENCIES.items():
            self._deviation[name] = (
                self._deviation[name] * keep
                + currency.dollar * dollar
                + currency.europe * europe
                + currency.commodity * commodity
                + (currency.own * gauss(0, step) if currency.own else 0.0)
            )

    def value(self, currency: str) -> float:
        """What one unit of a currency (or ounce of XAU) is worth now, in USD."""
        return _CURRENCIES[currency].value * math.exp(self._deviation[currency])

    def mid(self, symbol: str) -> Decimal:
        """The mid, rounded to the instrument's digits."""
        instrument = _BY_SYMBOL[symbol]
        return Decimal(self._mid_points(instrument)).scaleb(-instrument.digits)

    def quote(self, symbol: str) -> Quote:
        """Bid and ask around the mid; each call moves the spread a little within its range."""
        instrument = _BY_SYMBOL[symbol]
        width = self._width[symbol] + self._random.gauss(0.3 - self._width[symbol], 0.5) * 0.2
        self._width[symbol] = width = min(1.0, max(0.0, width))
        tightest, widest = instrument.spread
        spread = round(tightest + width * (widest - tightest))
        bid = self._mid_points(instrument) - spread // 2
        return Quote(
            symbol,
            Decimal(bid).scaleb(-instrument.digits),
            Decimal(bid + spread).scaleb(-instrument.digits),
        )

    def pick(self) -> str:
        """The symbol that ticks next, by activity."""
        (instrument,) = self._random.choices(INSTRUMENTS, cum_weights=_CUMULATIVE_ACTIVITY)
        return instrument.symbol

    def pause(self, rate: float) -> float:
        """Seconds until the next tick of a market with `rate` ticks a second on average."""
        return self._random.expovariate(rate)

    def _mid_points(self, instrument: Instrument) -> int:
        ratio = self.value(instrument.base_currency) / self.value(instrument.quote_currency)
        return round(ratio * 10.0**instrument.digits)
