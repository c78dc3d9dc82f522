"""Books to measure with: instruments with a quote each, and accounts with positions in them."""

import random
from collections.abc import Sequence

from tests.factories import Connection, instrument, ticks

CURRENCIES = ["USD", "EUR", "GBP", "JPY", "CHF"]
"""Of the accounts, in turn."""
MAJORS = ["EUR", "GBP", "AUD", "NZD", "USD", "CAD", "CHF", "JPY"]
PAIRS = [f"{a}/{b}" for place, a in enumerate(MAJORS) for b in MAJORS[place + 1 :]]
"""All 28 pairs of eight currencies."""
OTHERS = [
    f"{base}/{quote}"
    for base in ("SEK", "NOK", "DKK", "PLN", "SGD", "HKD", "XAU", "XAG", "CZK", "HUF", "MXN", "ZAR")
    for quote in ("USD", "EUR", "GBP", "CHF", "CAD", "AUD")
]
HUNDRED = PAIRS + OTHERS
"""100 instruments: the pairs and 72 others."""
FIFTY = HUNDRED[:50]

BULK = """
with wanted as (
    select a.account_id, a.currency, n.place,
           i.instrument_id, i.contract_size, i.quote_currency,
           (case n.place %% 2 when 0 then 1 else -1 end)
               * (1000 + (a.account_id * 37 + n.place * 113) %% 9000)::numeric as quantity,
           q.bid * (1 + ((a.account_id + n.place) %% 11 - 5) * 0.001) as price
    from ledger.accounts a
    cross join generate_series(1, %(positions)s) n (place)
    join market.instruments i
        on i.instrument_id = 1 + (a.account_id * 7 + n.place - 1) %% %(instruments)s
    join market.quotes q using (instrument_id)
),
opened as (
    select *, quantity * contract_size * round(price, 5) as cost from wanted
),
booked as (
    insert into ledger.fills (
        account_id, event_seq, instrument_id, position_side, side, quantity, price, effect,
        quantity_change, cost_change, quantity_after, cost_after, converted_cost_after,
        realized_pnl_quote, realized_pnl, commission, conversion_rate, event_at
    )
    select account_id, place, instrument_id, 'net',
           case when quantity > 0 then 'buy' else 'sell' end, abs(quantity), round(price, 5),
           'open',
           quantity, cost, quantity, cost, cost * c.rate, 0, 0, 0, c.rate, now()
    from opened o
    join market.conversion_rates c
        on c.from_currency = o.quote_currency and c.to_currency = o.currency
    returning *
)
insert into ledger.positions (
    account_id, instrument_id, position_side, quantity, cost, converted_cost
)
select account_id, instrument_id, 'net', quantity_after, cost_after, converted_cost_after
from booked
"""
"""api.record_fill's rows, a million in a statement: the first fill of each position."""


def load(
    conn: Connection,
    accounts: int = 1_000,
    positions: int = 10,
    symbols: Sequence[str] = PAIRS,
    currencies: Sequence[str] = CURRENCIES,
) -> None:
    """Make instruments with a first quote, accounts with a deposit, and their open positions.

    `held` says which ones.
    """
    assert positions <= len(symbols)
    chance = random.Random(1)
    for symbol in symbols:
        instrument(conn, symbol)
    ticks(conn, *[(symbol, 0, *quote(chance)) for symbol in symbols])
    conn.execute(
        "select api.record_entry(account_id, 'deposit', 100000)"
        " from generate_series(1, %s) n,"
        " api.open_account('Bench ' || n, (%s::text[])[1 + n %% %s])",
        [accounts, list(currencies), len(currencies)],
    )
    conn.execute(BULK, {"positions": positions, "instruments": len(symbols)})
    conn.execute("update ledger.accounts set last_event_seq = %s", [positions])
    ticks(conn, *[(symbol, 1, *quote(chance)) for symbol in symbols])
    # the first tick gave every leg its class, which day by day only legs of a new class need
    conn.execute("vacuum full equity.legs")
    conn.execute("vacuum analyze")


def held(account_id: int, position: int, symbols: Sequence[str] = PAIRS) -> str:
    """The symbol of an account's position, counted from 0, as `load` opens it."""
    return symbols[(account_id * 7 + position) % len(symbols)]


def quote(chance: random.Random) -> tuple[str, str]:
    """A bid and an ask of five decimals."""
    bid = chance.randint(100_000, 140_000)
    return f"{bid / 100_000:.5f}", f"{(bid + chance.randint(0, 20)) / 100_000:.5f}"


def make_wal_files(conn: Connection) -> None:
    """Let the server write over WAL files that are there, as one does that runs for long."""
    conn.execute(
        "select pg_logical_emit_message(false, 'bench', repeat('x', 1000000))"
        " from generate_series(1, 1000)"
    )
    conn.execute("checkpoint")
