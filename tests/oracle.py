"""What every account must be worth, computed apart from the SQL: fractions, no shared code.

Feed it the same instruments, accounts, ticks, entries and fills, in the same order, and compare.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

Number = Decimal | int | str


def rounded(value: Fraction, scale: int) -> Fraction:
    """Half away from zero at `scale` decimals, once."""
    scaled = abs(value) * 10**scale
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(whole if value >= 0 else -whole, 10**scale)


def decimal(value: Fraction) -> Decimal:
    """The same number as Decimal; ValueError if it has no finite decimal form."""
    for scale in range(60):
        if (value * 10**scale).denominator == 1:
            return Decimal(int(value * 10**scale)).scaleb(-scale)
    raise ValueError(f"not a finite decimal: {value}")


@dataclass
class Instrument:
    symbol: str
    base: str
    quote: str
    margin_rate: Fraction
    contract_size: Fraction
    bid: Fraction | None = None
    ask: Fraction | None = None
    event_at: datetime | None = None

    @property
    def mid(self) -> Fraction | None:
        return None if self.bid is None or self.ask is None else (self.bid + self.ask) / 2


@dataclass
class Account:
    currency: str
    hedging: bool
    markup: Fraction
    scale: int
    balance: Fraction = Fraction(0)
    credit: Fraction = Fraction(0)
    positions: dict[tuple[str, str], tuple[Fraction, Fraction]] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """An account's figures; None where a price or rate is unknown."""

    balance: Decimal
    credit: Decimal
    unrealized_pnl: Decimal | None
    equity: Decimal | None
    margin_equity: Decimal | None
    margin_used: Decimal | None


class Oracle:
    """Books and prices, from nothing but what it is told."""

    def __init__(self) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.accounts: dict[int, Account] = {}

    def instrument(
        self, symbol: str, base: str, quote: str, margin_rate: Number, contract_size: Number = 1
    ) -> None:
        self.instruments[symbol] = Instrument(
            symbol, base, quote, Fraction(margin_rate), Fraction(contract_size)
        )

    def account(
        self,
        account_id: int,
        currency: str,
        mode: str = "netting",
        markup: Number = 0,
        scale: int = 2,
    ) -> None:
        self.accounts[account_id] = Account(currency, mode == "hedging", Fraction(markup), scale)

    def tick(self, symbol: str, event_at: datetime, bid: Number, ask: Number) -> None:
        """A late tick moves nothing; of the same instant the one that came last counts."""
        instrument = self.instruments[symbol]
        if instrument.event_at is None or event_at >= instrument.event_at:
            instrument.bid, instrument.ask = Fraction(bid), Fraction(ask)
            instrument.event_at = event_at

    def entry(self, account_id: int, kind: str, amount: Number) -> None:
        account = self.accounts[account_id]
        if kind == "credit":
            account.credit += Fraction(amount)
        else:
            account.balance += Fraction(amount)

    def fill(
        self,
        account_id: int,
        symbol: str,
        side: str,
        quantity: Number,
        price: Number,
        commission: Number = 0,
        effect: str = "auto",
    ) -> Decimal:
        """Book a fill; the realized P&L in account currency."""
        account, instrument = self.accounts[account_id], self.instruments[symbol]
        key = (symbol, self._leg(account, side, effect))
        held, cost = account.positions.get(key, (Fraction(0), Fraction(0)))
        traded = Fraction(quantity) * (1 if side == "buy" else -1)
        unit = Fraction(price) * instrument.contract_size

        realized_quote = Fraction(0)
        if held * traded < 0:
            part = min(abs(traded), abs(held)) * (1 if held > 0 else -1)
            released = cost if part == held else rounded(cost * part / held, 10)
            realized_quote = part * unit - released
            held, cost, traded = held - part, cost - released, traded + part
        held, cost = held + traded, cost + traded * unit

        if held:
            account.positions[key] = (held, cost)
        else:
            account.positions.pop(key, None)
        realized = Fraction(0)
        if realized_quote:
            rate = self.rate(instrument.quote, account.currency)
            assert rate is not None, "no rate to realize with"
            sign = 1 if realized_quote > 0 else -1
            realized = rounded(realized_quote * rate * (1 - sign * account.markup), account.scale)
        account.balance += realized - Fraction(commission)
        return decimal(realized)

    @staticmethod
    def _leg(account: Account, side: str, effect: str) -> str:
        if not account.hedging:
            return "net"
        return "long" if (side, effect) in (("buy", "open"), ("sell", "close")) else "short"

    def rate(self, source: str, target: str) -> Fraction | None:
        """The conversion rate by the documented choice of path, at 12 decimals."""
        if source == target:
            return Fraction(1)
        best: tuple[object, ...] | None = None
        value: Fraction | None = None
        edges = []
        for number, i in enumerate(self.instruments.values()):
            edges.append((i.base, i.quote, False, number, i.mid))
            edges.append((i.quote, i.base, True, number, i.mid))
        for a_from, a_to, a_inverse, a_number, a_mid in edges:
            if a_from != source:
                continue
            if a_to == target:
                rank = (a_mid is None, 1, False, False, "", a_inverse, False, a_number, 0)
                if best is None or rank < best:
                    best, value = rank, self._through((a_mid, a_inverse))
            for b_from, b_to, b_inverse, b_number, b_mid in edges:
                if b_from == a_to and b_to == target:
                    rank = (
                        a_mid is None or b_mid is None, 2, a_to != "USD", a_to != "EUR", a_to,
                        a_inverse, b_inverse, a_number, b_number,
                    )  # fmt: skip
                    if best is None or rank < best:
                        best, value = rank, self._through((a_mid, a_inverse), (b_mid, b_inverse))
        return value

    @staticmethod
    def _through(*legs: tuple[Fraction | None, bool]) -> Fraction | None:
        product = Fraction(1)
        for mid, inverse in legs:
            if mid is None:
                return None
            product *= 1 / mid if inverse else mid
        return rounded(product, 12)

    def figures(self, account_id: int) -> Figures:
        """What api.account_states must say."""
        account = self.accounts[account_id]
        side_pnl = mid_pnl = Fraction(0)
        margins: dict[str, Fraction] = {}
        cash = account.balance + account.credit
        for (symbol, _leg), (held, cost) in account.positions.items():
            instrument = self.instruments[symbol]
            rate = self.rate(instrument.quote, account.currency)
            if instrument.bid is None or instrument.ask is None or rate is None:
                return Figures(
                    decimal(account.balance), decimal(account.credit), None, None, None, None
                )
            units = held * instrument.contract_size
            mid = (instrument.bid + instrument.ask) / 2
            side = instrument.bid if held > 0 else instrument.ask
            side_pnl += rounded((units * side - cost) * rate, account.scale)
            mid_pnl += rounded((units * mid - cost) * rate, account.scale)
            margin = rounded(abs(units) * mid * instrument.margin_rate * rate, account.scale)
            margins[symbol] = max(margins.get(symbol, Fraction(0)), margin)
        return Figures(
            balance=decimal(account.balance),
            credit=decimal(account.credit),
            unrealized_pnl=decimal(side_pnl),
            equity=decimal(cash + side_pnl),
            margin_equity=decimal(cash + mid_pnl),
            margin_used=decimal(sum(margins.values(), Fraction(0))),
        )
