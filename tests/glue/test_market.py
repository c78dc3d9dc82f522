"""The simulated market: consistent, believable, and the same for the same seed."""

from decimal import Decimal
from itertools import pairwise

import pytest

from glue.demo.market import INSTRUMENTS, Market
from tests.conftest import Connection

BY_SYMBOL = {instrument.symbol: instrument for instrument in INSTRUMENTS}


@pytest.fixture
def moved() -> Market:
    market = Market(seed=7)
    for _ in range(50):
        market.advance(600)
    return market


def test_there_are_28_pairs_and_gold_in_the_markets_order() -> None:
    assert len(INSTRUMENTS) == len(BY_SYMBOL) == 29
    assert {"EUR/USD", "GBP/JPY", "AUD/NZD", "USD/CAD", "XAU/USD"} <= set(BY_SYMBOL)


def test_instruments_are_accepted_by_the_database(conn: Connection) -> None:
    for instrument in INSTRUMENTS:
        conn.execute("select api.upsert_instrument(%s, %s, %s, %s, %s)", instrument[:5])
    assert conn.execute("select count(*) from api.instruments").fetchone() == (29,)


def test_a_cross_follows_from_its_legs(moved: Market) -> None:
    def in_dollars(currency: str) -> Decimal:
        if currency == "USD":
            return Decimal(1)
        direct = f"{currency}/USD"
        return moved.mid(direct) if direct in BY_SYMBOL else 1 / moved.mid(f"USD/{currency}")

    for instrument in INSTRUMENTS:
        mid = moved.mid(instrument.symbol)
        from_legs = in_dollars(instrument.base_currency) / in_dollars(instrument.quote_currency)
        assert abs(mid / from_legs - 1) < Decimal("0.00003"), instrument.symbol


def test_spreads_stay_in_their_range_and_prices_have_their_digits(moved: Market) -> None:
    for instrument in INSTRUMENTS:
        point = Decimal(1).scaleb(-instrument.digits)
        for _ in range(200):
            quote = moved.quote(instrument.symbol)
            tightest, widest = instrument.spread
            assert tightest * point <= quote.ask - quote.bid <= widest * point
            assert quote.bid.as_tuple().exponent == -instrument.digits
            assert abs((quote.bid + quote.ask) / 2 - moved.mid(instrument.symbol)) <= point


def test_the_same_seed_gives_the_same_market() -> None:
    def quotes(seed: int) -> list[object]:
        market = Market(seed)
        made: list[object] = []
        for _ in range(200):
            market.advance(market.pause(100))
            made.append(market.quote(market.pick()))
        return made

    assert quotes(3) == quotes(3)
    assert quotes(3) != quotes(4)


def test_a_day_moves_prices_believably() -> None:
    market = Market(seed=11)
    days = []
    for _ in range(60):
        days.append({i.symbol: float(market.mid(i.symbol)) for i in INSTRUMENTS})
        for _ in range(24):
            market.advance(3600)
    for symbol in BY_SYMBOL:
        moves = [abs(after[symbol] / before[symbol] - 1) for before, after in pairwise(days)]
        assert 0.0005 < sum(moves) / len(moves) < 0.015, symbol
