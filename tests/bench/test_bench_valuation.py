"""What it costs that a tick values accounts: beside the bare update of their rows (the floor), and
beside the row trigger that most people would write.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import replay_check
from tests.bench import books
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Database
from tests.factories import Connection, assert_sound, every, one, ticks
from tests.glue.test_replay_check import write_day

pytestmark = pytest.mark.bench

Action = Callable[[], object]

ROW_TRIGGER = """
create schema rival;
create table rival.quotes as select instrument_id, bid, ask from market.quotes;
alter table rival.quotes add primary key (instrument_id);
create table rival.positions as
select p.account_id, p.instrument_id, p.quantity, p.cost, i.quote_currency, a.currency
from ledger.positions p
join market.instruments i using (instrument_id)
join ledger.accounts a using (account_id);
alter table rival.positions add primary key (account_id, instrument_id);
create index on rival.positions (instrument_id);
create table rival.account_states with (fillfactor = 25) as
select account_id, unrealized_pnl, version, updated_at from equity.account_states;
alter table rival.account_states add primary key (account_id);
create table rival.ticks (instrument_id bigint, bid numeric, ask numeric);

create function rival.value_tick() returns trigger language plpgsql as $$
begin
    update rival.quotes set bid = new.bid, ask = new.ask where instrument_id = new.instrument_id;
    update rival.account_states s
    set unrealized_pnl = (
            select sum(round(
                (p.quantity * case when p.quantity > 0 then q.bid else q.ask end - p.cost) * c.rate,
                2
            ))
            from rival.positions p
            join rival.quotes q using (instrument_id)
            join market.conversion_rates c
                on c.from_currency = p.quote_currency and c.to_currency = p.currency
            where p.account_id = s.account_id
        ),
        version = version + 1, updated_at = clock_timestamp()
    where account_id in (
        select account_id from rival.positions where instrument_id = new.instrument_id
    );
    return null;
end
$$;
create trigger value_tick after insert on rival.ticks
    for each row execute function rival.value_tick();
analyze rival.positions;
"""


class Market:
    """Ticks that move the quotes of these symbols, one statement a call."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._chance = random.Random(2)
        self._second = 1.0

    def move(self, symbols: Sequence[str]) -> None:
        """One tick for each symbol."""
        self._second += 1
        rows = [(symbol, self._second, *books.quote(self._chance)) for symbol in symbols]
        ticks(self._conn, *rows)


def measure(rounds: int, actions: dict[str, Action]) -> dict[str, list[float]]:
    """Seconds of each action, all of them in turn, so that noise falls on each alike."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 2):
        for name, action in actions.items():
            began = time.perf_counter()
            action()
            if number >= 2:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def bare_update(conn: Connection, account_ids: list[int] | None = None) -> Action:
    """Change the columns that a tick changes, by nothing, so that the states stay true."""
    where = "" if account_ids is None else " where account_id = any (%s)"
    parameters = [] if account_ids is None else [account_ids]
    return lambda: conn.execute(
        "update equity.account_states set unrealized_pnl = unrealized_pnl + 0,"
        f" version = version + 1, updated_at = clock_timestamp(){where}",
        parameters,
    )


def rows(seconds: dict[str, list[float]], floors: dict[str, str]) -> list[list[object]]:
    """A table row for each action, with its ratio to its floor."""
    medians = {name: percentile(values, 0.5) for name, values in seconds.items()}
    return [
        [
            name,
            milliseconds(medians[name]),
            milliseconds(percentile(values, 0.99)),
            f"{medians[name] / medians[floors.get(name, name)]:.1f}",
        ]
        for name, values in seconds.items()
    ]


def holders(conn: Connection, symbol: str) -> list[int]:
    found = every(conn, "select account_id from api.positions where symbol = %s", [symbol])
    return [row["account_id"] for row in found]


def test_bench_ten_thousand_accounts(conn: Connection) -> None:
    books.load(conn, 10_000, 10, books.FIFTY)
    conn.execute(ROW_TRIGGER)
    market = Market(conn)
    symbol = books.FIFTY[-1]
    holding = holders(conn, symbol)
    chance = random.Random(3)

    def row_trigger() -> None:
        quotes = [books.quote(chance) for _ in books.FIFTY]
        conn.execute(
            "insert into rival.ticks select n, bid::numeric, ask::numeric"
            " from unnest(%s::text[], %s::text[]) with ordinality t (bid, ask, n)",
            [[bid for bid, _ in quotes], [ask for _, ask in quotes]],
        )

    floor, few = "bare update of 10,000 states", f"bare update of {len(holding):,} states"
    all_fifty, one_symbol = "a tick on all 50 instruments", f"a tick on {symbol}"
    rival = "row trigger, a tick on all 50"
    seconds = measure(
        40,
        {
            floor: bare_update(conn),
            all_fifty: lambda: market.move(books.FIFTY),
            few: bare_update(conn, holding),
            one_symbol: lambda: market.move([symbol]),
        },
    )
    seconds |= measure(2, {rival: row_trigger})
    table(
        "10,000 accounts × 10 positions, 50 instruments, one session, one statement a commit",
        ["statement", "p50", "p99", "p50 ÷ its floor"],
        rows(seconds, {all_fifty: floor, one_symbol: few, rival: floor}),
    )
    times = percentile(seconds[rival], 0.5) / percentile(seconds[all_fifty], 0.5)
    print(f"\nThe row trigger takes {times:.0f} times as long.")
    assert_sound(conn)


def test_bench_one_tick(conn: Connection) -> None:
    books.load(conn)
    market = Market(conn)
    chance = random.Random(4)
    floor = "bare update of 1,000 states"
    single, every_pair = "one tick, any pair", "a tick on each of the 28 pairs"
    seconds = measure(
        500,
        {
            floor: bare_update(conn),
            single: lambda: market.move([chance.choice(books.PAIRS)]),
            every_pair: lambda: market.move(books.PAIRS),
        },
    )
    table(
        "1,000 accounts × 10 positions, 5 account currencies, 28 pairs, one session",
        ["statement", "p50", "p99", "p50 ÷ floor"],
        rows(seconds, {single: floor, every_pair: floor}),
    )
    assert_sound(conn)


@pytest.mark.timeout(1_200)
def test_bench_growth(clones: Callable[[], AbstractContextManager[Database]]) -> None:
    lines = []
    for accounts in (100, 1_000, 10_000):
        for positions in (1, 10, 100):
            with clones() as clone, clone.connect() as conn:
                lines.append(grown(conn, accounts, positions))
    table(
        "How cost grows: p50 of one statement a commit, one session; 50 instruments, and 100 where"
        " accounts hold 100",
        ["accounts", "positions each", "bare update", "tick on all", "÷ floor", "µs a position",
         "tick on one", "HOT updates"],
        lines,
    )  # fmt: skip


def grown(conn: Connection, accounts: int, positions: int) -> list[object]:
    """A line of the table of growth."""
    symbols = books.HUNDRED if positions > 50 else books.FIFTY
    books.load(conn, accounts, positions, symbols)
    market = Market(conn)
    conn.execute("select pg_stat_force_next_flush()")
    conn.execute("select pg_stat_reset()")
    seconds = measure(
        15 if accounts * positions > 100_000 else 50,
        {
            "floor": bare_update(conn),
            "all": lambda: market.move(symbols),
            "one": lambda: market.move(symbols[-1:]),
        },
    )
    conn.execute("select pg_stat_force_next_flush()")
    hot = one(
        conn,
        "select round(100.0 * sum(n_tup_hot_upd) / sum(n_tup_upd), 1) as percent"
        " from pg_stat_user_tables where schemaname in ('market', 'equity')",
    )["percent"]
    assert_sound(conn)
    floor, moved, single = (percentile(seconds[name], 0.5) for name in ("floor", "all", "one"))
    return [
        f"{accounts:,}",
        positions,
        milliseconds(floor),
        milliseconds(moved),
        f"{moved / floor:.1f}",
        f"{moved / (accounts * positions) * 1e6:.2f}",
        milliseconds(single),
        f"{hot} %",
    ]


def test_bench_replay(database: Database, tmp_path: Path) -> None:
    write_day(tmp_path / "day.csv.gz", seed=1, count=100_000)
    outcome = replay_check.run(database.dsn, tmp_path / "day.csv.gz", parts=1)
    assert outcome.is_equal
    table(
        "tidemark replay --speed max, generated ticks of 3 instruments, 6 accounts × 3 positions",
        ["ticks", "seconds", "ticks/s"],
        [[outcome.ticks, f"{outcome.seconds:.1f}", f"{outcome.ticks / outcome.seconds:,.0f}"]],
    )
