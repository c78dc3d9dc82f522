"""What every account must be worth, computed apart from the SQL: fractions, no shared code.

Feed it the same instruments, accounts, ticks, entries, fills and reversals, in the same order, and
compare. What the ledger must refuse raises Refusal and changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

Number = Decimal | int | str
Path = tuple[tuple[Fraction | None, bool], ...]
"""The mid of each leg of a conversion, and whether it is taken inversely."""
ZERO = Fraction(0)
ENTRY_LIMIT = 10**15
"""No entry reaches this amount."""


def rounded(value: Fraction, scale: int) -> Fraction:
    """Half away from zero at `scale` decimals, once."""
    scaled = abs(value) * 10**scale
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(whole if value >= 0 else -whole, 10**scale)


def decimal(value: Fraction) -> Decimal:
    """The same number as Decimal; ValueError if it has no finite decimal form."""
    for scale in range(60):
        if 10**scale % value.denominator == 0:
            whole = value.numerator * (10**scale // value.denominator)
            return Decimal(f"{whole}e-{scale}")
    raise ValueError(f"not a finite decimal: {value}")


def decimal_or_none(value: Fraction | None) -> Decimal | None:
    return None if value is None else decimal(value)


class Refusal(Exception):
    """What the ledger must refuse, with the SQLSTATE that it must give."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


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


@dataclass(frozen=True)
class Fill:
    """A fill with the conversion rate in force when it was booked; None if there was none."""

    symbol: str
    leg: str
    traded: Fraction
    unit_value: Fraction
    commission: Fraction
    rate: Fraction | None


class Position(NamedTuple):
    """Signed quantity, its cost in quote currency and in account currency (None: unknown)."""

    quantity: Fraction = ZERO
    cost: Fraction = ZERO
    converted_cost: Fraction | None = ZERO


@dataclass
class Account:
    """What was booked, in order, with None in the place of what was reversed; and what it makes."""

    currency: str
    hedging: bool
    markup: Fraction
    scale: int
    nets_margin: bool = False
    margin_call_level: Fraction = Fraction(1)
    close_out_level: Fraction = Fraction(1, 2)
    entries: list[tuple[str, Fraction] | None] = field(default_factory=list)
    fills: list[Fill | None] = field(default_factory=list)
    balance: Fraction = ZERO
    credit: Fraction = ZERO
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """An account's figures; None where a price or rate is unknown."""

    balance: Decimal | None
    credit: Decimal | None
    unrealized_pnl: Decimal | None = None
    equity: Decimal | None = None
    margin_equity: Decimal | None = None
    margin_used: Decimal | None = None
    margin_available: Decimal | None = None
    margin_level: Decimal | None = None
    margin_state: str | None = None


@dataclass(frozen=True)
class PositionFigures:
    """A position's figures; None where a price or rate is unknown."""

    symbol: str
    side: str
    quantity: Decimal
    average_price: Decimal
    price: Decimal | None
    conversion_rate: Decimal | None
    unrealized_pnl_quote: Decimal | None
    unrealized_pnl: Decimal | None
    margin_used: Decimal | None
    price_pnl: Decimal | None
    conversion_pnl: Decimal | None


@dataclass(frozen=True)
class Exposure:
    """What an account is long or short in a currency; None where a price or rate is unknown."""

    currency: str
    amount: Decimal | None
    long_amount: Decimal | None
    short_amount: Decimal | None
    value: Decimal | None


@dataclass(frozen=True)
class Valued:
    """A position by the quotes and rates of now, in fractions."""

    instrument: Instrument
    position: Position
    rate: Fraction | None
    scale: int

    @property
    def units(self) -> Fraction:
        return self.position.quantity * self.instrument.contract_size

    @property
    def price(self) -> Fraction | None:
        return self.instrument.bid if self.units > 0 else self.instrument.ask

    def pnl_quote(self, price: Fraction | None) -> Fraction | None:
        return None if price is None else self.units * price - self.position.cost

    def converted(self, amount: Fraction | None) -> Fraction | None:
        is_unknown = amount is None or self.rate is None
        return None if is_unknown else rounded(amount * self.rate, self.scale)

    @property
    def unrealized_pnl(self) -> Fraction | None:
        return self.converted(self.pnl_quote(self.price))

    @property
    def mid_unrealized_pnl(self) -> Fraction | None:
        return self.converted(self.pnl_quote(self.instrument.mid))

    @property
    def mid_value(self) -> Fraction | None:
        return None if self.instrument.mid is None else self.units * self.instrument.mid

    def margin(self, units: Fraction) -> Fraction | None:
        """Of this many units of the instrument."""
        if self.instrument.mid is None:
            return None
        return self.converted(abs(units) * self.instrument.mid * self.instrument.margin_rate)

    @property
    def price_pnl(self) -> Fraction | None:
        """At the conversion rate of the opening: converted cost ÷ cost."""
        pnl_quote, cost = self.pnl_quote(self.price), self.position.cost
        converted_cost = self.position.converted_cost
        if pnl_quote is None or converted_cost is None or self.rate is None or cost == 0:
            return None
        return rounded(pnl_quote * converted_cost / cost, self.scale)


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

    def margin_terms(
        self,
        account_id: int,
        hedged_margin: str,
        margin_call_level: Number,
        close_out_level: Number,
    ) -> None:
        account = self.accounts[account_id]
        account.nets_margin = hedged_margin == "net"
        account.margin_call_level = Fraction(margin_call_level)
        account.close_out_level = Fraction(close_out_level)

    def tick(self, symbol: str, event_at: datetime, bid: Number, ask: Number) -> None:
        """A late tick moves nothing; of the same instant the one that came last counts."""
        instrument = self.instruments[symbol]
        if instrument.event_at is None or event_at >= instrument.event_at:
            instrument.bid, instrument.ask = Fraction(bid), Fraction(ask)
            instrument.event_at = event_at

    # Booking

    def entry(self, account_id: int, kind: str, amount: Number) -> None:
        account = self.accounts[account_id]
        account.entries.append((kind, Fraction(amount)))
        self._move(account, kind, Fraction(amount))

    def reverse_entry(self, account_id: int, number: int) -> None:
        """Take back the entry with this number from 0; nothing if it was taken back before."""
        account = self.accounts[account_id]
        entry, account.entries[number] = account.entries[number], None
        if entry is not None:
            kind, amount = entry
            self._move(account, kind, -amount)

    @staticmethod
    def _move(account: Account, kind: str, amount: Fraction) -> None:
        if kind == "credit":
            account.credit += amount
        else:
            account.balance += amount

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
        traded = Fraction(quantity) * (1 if side == "buy" else -1)
        if self.path(instrument.quote, account.currency) is None:
            raise Refusal("TM132")
        leg = self._leg(account, side, effect)
        held = account.positions.get((symbol, leg), Position()).quantity
        if effect == "close" and not (held * traded < 0 and abs(traded) <= abs(held)):
            raise Refusal("TM131")
        if effect == "open" and held * traded < 0:
            raise Refusal("TM131")
        fill = Fill(
            symbol,
            leg,
            traded,
            Fraction(price) * instrument.contract_size,
            Fraction(commission),
            self.rate(instrument.quote, account.currency),
        )
        return decimal(self._rebuild(account, [*account.fills, fill], fill.commission))

    def reverse_fill(self, account_id: int, number: int) -> Decimal:
        """Take back the fill with this number from 0; by how much the realized P&L moves."""
        account = self.accounts[account_id]
        fill = account.fills[number]
        if fill is None:
            return Decimal(0)
        rest = [*account.fills[:number], None, *account.fills[number + 1 :]]
        return decimal(self._rebuild(account, rest, -fill.commission))

    @staticmethod
    def _leg(account: Account, side: str, effect: str) -> str:
        if not account.hedging:
            return "net"
        if effect == "auto":
            raise Refusal("TM131")
        return "long" if (side, effect) in (("buy", "open"), ("sell", "close")) else "short"

    def _rebuild(
        self, account: Account, fills: list[Fill | None], commission: Fraction
    ) -> Fraction:
        """The account as if it had had these fills from the start; how the realized P&L moves."""
        balance = sum((e[1] for e in account.entries if e and e[0] != "credit"), ZERO)
        positions: dict[tuple[str, str], Position] = {}
        for fill in fills:
            if fill is None:
                continue
            held = positions.get((fill.symbol, fill.leg), Position())
            after = held.quantity + fill.traded
            if (fill.leg == "long" and after < 0) or (fill.leg == "short" and after > 0):
                raise Refusal("TM154")
            position, realized_quote = self._apply(held, fill)
            positions[fill.symbol, fill.leg] = position
            balance += self._realized(account, fill, realized_quote) - fill.commission
        realized = balance - account.balance + commission
        if abs(realized) >= ENTRY_LIMIT:
            raise Refusal("TM134")
        account.fills, account.balance = fills, balance
        account.positions = {key: each for key, each in positions.items() if each.quantity}
        return realized

    @staticmethod
    def _apply(held: Position, fill: Fill) -> tuple[Position, Fraction]:
        """The position after a fill, and what it realizes in quote currency."""
        quantity, cost, converted_cost = held
        opened, realized_quote = fill.traded, ZERO
        if quantity * fill.traded < 0:
            closed = quantity if abs(fill.traded) >= abs(quantity) else -fill.traded
            opened = fill.traded + closed
            if closed == quantity:
                released, converted_cost = cost, ZERO
            else:
                released = rounded(cost * closed / quantity, 10)
                if converted_cost is not None:
                    converted_cost -= rounded(converted_cost * closed / quantity, 10)
            realized_quote = closed * fill.unit_value - released
            quantity, cost = quantity - closed, cost - released
        if opened:
            cost += opened * fill.unit_value
            is_unknown = converted_cost is None or fill.rate is None
            converted_cost = (
                None if is_unknown else converted_cost + opened * fill.unit_value * fill.rate
            )
        return Position(quantity + opened, cost, converted_cost), realized_quote

    @staticmethod
    def _realized(account: Account, fill: Fill, realized_quote: Fraction) -> Fraction:
        """In account currency, after the mark-up."""
        if realized_quote == 0:
            return ZERO
        if fill.rate is None:
            raise Refusal("TM133")
        markup = account.markup if realized_quote > 0 else -account.markup
        return rounded(realized_quote * fill.rate * (1 - markup), account.scale)

    # Valuing

    def rate(self, source: str, target: str) -> Fraction | None:
        """The conversion rate at 12 decimals; None without a path or price, or where it is zero."""
        path = self.path(source, target)
        if path is None:
            return None
        product = Fraction(1)
        for mid, is_inverse in path:
            if mid is None:
                return None
            product *= 1 / mid if is_inverse else mid
        return rounded(product, 12) or None

    def path(self, source: str, target: str) -> Path | None:
        """The path by the documented choice."""
        if source == target:
            return ()
        ranked: list[tuple[tuple[object, ...], Path]] = []
        edges = []
        for number, i in enumerate(self.instruments.values()):
            edges.append((i.base, i.quote, False, number, i.mid))
            edges.append((i.quote, i.base, True, number, i.mid))
        for a_from, a_to, a_inverse, a_number, a_mid in edges:
            if a_from != source:
                continue
            if a_to == target:
                rank = (a_mid is None, 1, False, False, "", a_inverse, False, a_number, 0)
                ranked.append((rank, ((a_mid, a_inverse),)))
            for b_from, b_to, b_inverse, b_number, b_mid in edges:
                if b_from == a_to and b_to == target:
                    rank = (
                        a_mid is None or b_mid is None, 2, a_to != "USD", a_to != "EUR", a_to,
                        a_inverse, b_inverse, a_number, b_number,
                    )  # fmt: skip
                    ranked.append((rank, ((a_mid, a_inverse), (b_mid, b_inverse))))
        return min(ranked, key=lambda each: each[0])[1] if ranked else None

    def _valued(self, account: Account) -> Iterator[Valued]:
        for (symbol, _leg), position in account.positions.items():
            instrument = self.instruments[symbol]
            rate = self.rate(instrument.quote, account.currency)
            yield Valued(instrument, position, rate, account.scale)

    def figures(self, account_id: int) -> Figures:
        """What api.account_states must say."""
        account = self.accounts[account_id]
        valued = list(self._valued(account))
        cash = account.balance + account.credit
        if any(each.unrealized_pnl is None for each in valued):
            return Figures(decimal(account.balance), decimal(account.credit))
        side_pnl = sum((each.unrealized_pnl for each in valued), ZERO)
        margin_equity = cash + sum((each.mid_unrealized_pnl for each in valued), ZERO)
        margin_used = self._margin_used(account, valued)
        if margin_used and margin_equity <= account.close_out_level * margin_used:
            margin_state = "close_out"
        elif margin_used and margin_equity <= account.margin_call_level * margin_used:
            margin_state = "margin_call"
        else:
            margin_state = "ok"
        return Figures(
            balance=decimal(account.balance),
            credit=decimal(account.credit),
            unrealized_pnl=decimal(side_pnl),
            equity=decimal(cash + side_pnl),
            margin_equity=decimal(margin_equity),
            margin_used=decimal(margin_used),
            margin_available=decimal(margin_equity - margin_used),
            margin_level=decimal(rounded(margin_equity / margin_used, 6)) if margin_used else None,
            margin_state=margin_state,
        )

    @staticmethod
    def _margin_used(account: Account, valued: list[Valued]) -> Fraction:
        """Of a long and a short position in one instrument, the net or the larger side counts."""
        total = ZERO
        for symbol in {each.instrument.symbol for each in valued}:
            legs = [each for each in valued if each.instrument.symbol == symbol]
            if account.nets_margin:
                total += legs[0].margin(sum((leg.units for leg in legs), ZERO))
            else:
                total += max(leg.margin(leg.units) for leg in legs)
        return total

    def position_figures(self, account_id: int) -> list[PositionFigures]:
        """What api.positions must say, by symbol and side."""
        figures = []
        for each in self._valued(self.accounts[account_id]):
            unrealized_pnl, price_pnl = each.unrealized_pnl, each.price_pnl
            conversion_pnl = None if price_pnl is None else unrealized_pnl - price_pnl
            figures.append(
                PositionFigures(
                    symbol=each.instrument.symbol,
                    side="long" if each.units > 0 else "short",
                    quantity=decimal(abs(each.position.quantity)),
                    average_price=decimal(rounded(each.position.cost / each.units, 10)),
                    price=decimal_or_none(each.price),
                    conversion_rate=decimal_or_none(each.rate),
                    unrealized_pnl_quote=decimal_or_none(each.pnl_quote(each.price)),
                    unrealized_pnl=decimal_or_none(unrealized_pnl),
                    margin_used=decimal_or_none(each.margin(each.units)),
                    price_pnl=decimal_or_none(price_pnl),
                    conversion_pnl=decimal_or_none(conversion_pnl),
                )
            )
        return sorted(figures, key=lambda each: (each.symbol, each.side))

    def exposures(self, account_id: int) -> list[Exposure]:
        """What api.exposures must say, by currency: each position is a side in two currencies."""
        sides: dict[str, list[tuple[Fraction | None, Fraction | None]]] = {}
        for each in self._valued(self.accounts[account_id]):
            quote_amount, value = each.mid_value, each.converted(each.mid_value)
            sides.setdefault(each.instrument.base, []).append((each.units, value))
            sides.setdefault(each.instrument.quote, []).append(
                (
                    None if quote_amount is None else -quote_amount,
                    None if value is None else -value,
                )
            )
        exposures = []
        for currency, pairs in sorted(sides.items()):
            amounts, values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            is_known = None not in amounts
            exposures.append(
                Exposure(
                    currency,
                    decimal(sum(amounts, ZERO)) if is_known else None,
                    decimal(sum((a for a in amounts if a > 0), ZERO)) if is_known else None,
                    decimal(sum((a for a in amounts if a < 0), ZERO)) if is_known else None,
                    decimal(sum(values, ZERO)) if None not in values else None,
                )
            )
        return exposures

    def totals(self, account_ids: list[int], currency: str, scale: int) -> Figures:
        """What api.portfolio_totals must say: the sums of each account's converted figures."""
        names = ("balance", "credit", "unrealized_pnl", "margin_equity", "margin_used")
        sums: dict[str, Fraction | None] = dict.fromkeys(names, ZERO)
        for account_id in account_ids:
            figures = self.figures(account_id)
            if self.path(self.accounts[account_id].currency, currency) is None:
                raise Refusal("TM132")
            rate = self.rate(self.accounts[account_id].currency, currency)
            for name in names:
                amount, total = getattr(figures, name), sums[name]
                is_unknown = amount is None or rate is None or total is None
                sums[name] = None if is_unknown else total + rounded(Fraction(amount) * rate, scale)
        balance, credit, unrealized_pnl, margin_equity, margin_used = sums.values()
        if unrealized_pnl is None:
            return Figures(decimal_or_none(balance), decimal_or_none(credit))
        return Figures(
            balance=decimal(balance),
            credit=decimal(credit),
            unrealized_pnl=decimal(unrealized_pnl),
            equity=decimal(balance + credit + unrealized_pnl),
            margin_equity=decimal(margin_equity),
            margin_used=decimal(margin_used),
            margin_available=decimal(margin_equity - margin_used),
            margin_level=decimal(rounded(margin_equity / margin_used, 6)) if margin_used else None,
        )
