"""Roll-ups of the curve: on both editions of TimescaleDB what their bars of a second come to."""

import random
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any

import pytest

from glue import migrate
from tests.conftest import Connection, Database
from tests.factories import D, Row, account, every, one
from tests.supervisors import until

NIGHT = datetime(2026, 1, 5, 23, 58, 50, tzinfo=UTC)
"""Ten seconds before a minute ends, seventy before a day does."""
WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
TENTHS = [Fraction(n, 10) for n in range(-30, 31)]


@pytest.fixture(autouse=True)
def accounts(conn: Connection) -> None:
    """All whose bars the tests make."""
    for number in range(1, 41):
        assert account(conn, deposit=None) == number


@pytest.fixture(autouse=True)
def no_job(conn: Connection) -> None:
    """Two refreshes at a time fail, so the job stands aside for the test's own."""
    conn.execute(
        "select public.alter_job(job_id, scheduled => false) from timescaledb_information.jobs"
        " where proc_schema = 'equity'"
    )


def edition(conn: Connection) -> str:
    name: str = one(conn, "select equity.edition()")["edition"]
    return name


def bar(account_id: int, at: datetime, close: str = "0", **others: Any) -> Row:
    """A bar that moves from 0 to its close, on a deposit of 1000."""
    end = D(close)
    return {
        "account_id": account_id,
        "bucket_at": at,
        "part": 0,
        "open": D("0"),
        "high": max(D("0"), end),
        "low": min(D("0"), end),
        "close": end,
        "balance": D("1000"),
        "net_flow": D("1000"),
        "base_index": D("1"),
        "base_equity": D("1000"),
        "fall": max(D("0"), -end),
        "fall_pct": max(D("0"), -end / 1000),
        "is_priced": True,
        "is_thinned": False,
    } | others


def walk(chance: random.Random, account_id: int, times: Iterable[datetime]) -> list[Row]:
    """Bars of an account at these times, some in parts, unpriced, or without an index."""
    bars = []
    level, flow, base = D("0"), D("1000"), (D("1"), D("1000"))
    for at in times:
        for part in sorted({0, *([chance.randint(1, 3)] if chance.random() < 0.2 else [])}):
            if part > 0:  # a flow has come in between
                flow += chance.choice([D("250.5"), D("-99.99")])
                base = (D(chance.randint(900_000, 1_200_000)) / 1_000_000, flow + level)
            steps = [level] + [level + chance.choice(TENTHS).numerator for _ in range(3)]
            high, low = max(steps), min(steps)
            fall = max(a - b for n, a in enumerate(steps) for b in steps[n:])
            made = bar(
                account_id, at, part=part, open=steps[0], high=high, low=low, close=steps[-1],
                balance=flow + round(level / 2, 2), net_flow=flow,
                base_index=base[0], base_equity=base[1],
                fall=fall, fall_pct=round(fall / (high + flow), 12),
                is_thinned=chance.random() < 0.05,
            )  # fmt: skip
            if chance.random() < 0.05:
                made |= {"is_priced": False, chance.choice(["open", "close"]): None}
            elif chance.random() < 0.02:
                names = ("open", "high", "low", "close", "fall", "fall_pct")
                made |= {"is_priced": False} | dict.fromkeys(names)
            if chance.random() < 0.03:
                made |= dict.fromkeys(("base_index", "base_equity", "fall_pct"))
            bars.append(made)
            level = steps[-1]
    return bars


def insert(conn: Connection, bars: list[Row]) -> None:
    """All in one statement."""
    columns = list(bars[0])
    types = [
        row["type"]
        for row in every(
            conn,
            "select format_type(atttypid, atttypmod) as type from unnest(%s::text[]) with"
            " ordinality n (name, place) join pg_attribute on attname = name and attrelid ="
            " 'equity.curve_bars'::regclass order by place",
            [columns],
        )
    ]
    conn.execute(
        f"insert into equity.curve_bars ({', '.join(columns)}) select * from unnest("
        + ", ".join(f"%s::text[]::{kind}[]" for kind in types)
        + ")",
        [[None if row[name] is None else str(row[name]) for row in bars] for name in columns],
    )


def close_all(conn: Connection) -> None:
    """Bars are closed as far as they go."""
    conn.execute(
        "update equity.curve_clock set announced_to = n.closed_to, closed_to = n.closed_to"
        " from (select max(bucket_at) + interval '1 second' as closed_to from equity.curve_bars) n"
        " where n.closed_to is not null"
    )


def settle(conn: Connection) -> None:
    """The same, and roll-ups are brought up to that."""
    close_all(conn)
    conn.execute("call api.refresh_rollups()")


def as_decimal(value: Fraction, places: int = 12) -> Decimal:
    """Rounded once, half away from zero."""
    scaled = abs(value) * 10**places
    digits = int(scaled + Fraction(1, 2))
    return Decimal(digits if value >= 0 else -digits).scaleb(-places)


def index(row: Row, name: str) -> Decimal | None:
    if row["base_index"] is None or row[name] is None:
        return None
    equity = Fraction(row[name]) + Fraction(row["net_flow"])
    return as_decimal(Fraction(row["base_index"]) * equity / Fraction(row["base_equity"]))


def known(values: Iterable[Decimal | None]) -> list[Decimal]:
    return [value for value in values if value is not None]


def plus(value: Decimal | None, flow: Decimal) -> Decimal | None:
    return None if value is None else value + flow


def rolled(bars: list[Row], width: timedelta) -> list[Row]:
    """What the roll-up's rows must be, made of the bars of a second."""
    epoch = datetime(2000, 1, 1, tzinfo=UTC)

    def bucket(row: Row) -> tuple[int, datetime]:
        return row["account_id"], epoch + (row["bucket_at"] - epoch) // width * width

    ordered = sorted(bars, key=lambda row: (row["account_id"], row["bucket_at"], row["part"]))
    result = []
    for (account_id, at), group in groupby(ordered, bucket):
        rows = list(group)
        first, last = rows[0], rows[-1]
        is_indexed = all(row["base_index"] is not None for row in rows)
        falls, pcts = known(r["fall"] for r in rows), known(r["fall_pct"] for r in rows)
        for n in range(1, len(rows)):
            highs = known(row["high"] for row in rows[:n])
            peaks = known(index(row, "high") for row in rows[:n])
            if highs and rows[n]["low"] is not None:
                falls.append(max(highs) - rows[n]["low"])
            bottom = index(rows[n], "low")
            if peaks and bottom is not None:
                peak = Fraction(max(peaks))
                pcts.append(as_decimal((peak - Fraction(bottom)) / peak))
        equity_high = known(plus(row["high"], row["net_flow"]) for row in rows)
        equity_low = known(plus(row["low"], row["net_flow"]) for row in rows)
        result.append(
            {
                "account_id": account_id,
                "bucket_at": at,
                "open": first["open"],
                "high": max(known(row["high"] for row in rows), default=None),
                "low": min(known(row["low"] for row in rows), default=None),
                "close": last["close"],
                "equity_open": plus(first["open"], first["net_flow"]),
                "equity_high": max(equity_high, default=None),
                "equity_low": min(equity_low, default=None),
                "equity_close": plus(last["close"], last["net_flow"]),
                "balance": last["balance"],
                "net_flow_open": first["net_flow"],
                "net_flow": last["net_flow"],
                "index_open": index(first, "open"),
                "index_high": max(known(index(row, "high") for row in rows), default=None)
                if is_indexed
                else None,
                "index_low": min(known(index(row, "low") for row in rows), default=None)
                if is_indexed
                else None,
                "index_close": index(last, "close"),
                "fall": max(falls, default=None),
                "fall_pct": max(pcts, default=None) if is_indexed else None,
                "is_priced": all(row["is_priced"] for row in rows),
                "is_indexed": is_indexed,
                "is_thinned": any(row["is_thinned"] for row in rows),
                "bar_count": len(rows),
            }
        )
    return result


def assert_true(conn: Connection) -> None:
    """Every roll-up is what the bars come to."""
    bars = every(conn, "select * from equity.curve_bars")
    for grain, width in WIDTHS.items():
        found = every(conn, f"select * from equity.curve_{grain} order by account_id, bucket_at")
        for row, expected in zip(found, rolled(bars, width), strict=True):
            assert row == expected, grain


def rollups(conn: Connection) -> dict[str, list[Row]]:
    return {
        grain: every(conn, f"select * from equity.curve_{grain} order by account_id, bucket_at")
        for grain in WIDTHS
    }


def seconds(start: datetime, *numbers: float) -> list[datetime]:
    return [start + timedelta(seconds=number) for number in numbers]


def delete(conn: Connection, start: datetime, end: datetime, accounts: list[int]) -> None:
    conn.execute(
        "delete from equity.curve_bars"
        " where bucket_at >= %s and bucket_at < %s and account_id = any (%s)",
        [start, end, accounts],
    )


def test_without_bars_there_are_no_rollups(conn: Connection) -> None:
    settle(conn)
    assert rollups(conn) == {"1m": [], "1h": [], "1d": []}


def test_bars_count_in_rollups_the_moment_that_they_are_closed(conn: Connection) -> None:
    for second in (0, 1, 9, 10, 11, 69, 70, 71, 130, 3_700, 90_000):
        at = NIGHT + timedelta(seconds=second)
        insert(conn, [bar(1, at, f"{second % 7}.5"), bar(2, at, f"-{second % 5}.25")])
        assert_true(conn)


def test_the_last_instant_of_a_bucket_is_its_own_and_the_next_is_not(conn: Connection) -> None:
    midnight = NIGHT + timedelta(seconds=70)
    edges = [midnight - timedelta(seconds=1), midnight]
    insert(conn, [bar(1, at, str(n)) for n, at in enumerate(edges, start=1)])
    insert(conn, [bar(1, midnight + timedelta(days=2))])
    settle(conn)
    for grain, width in WIDTHS.items():
        found = every(conn, f"select bucket_at, close from equity.curve_{grain} order by 1")[:2]
        assert [row["bucket_at"] for row in found] == [midnight - width, midnight]
        assert [row["close"] for row in found] == [D("1"), D("2")]


def test_many_seconds_in_one_statement_are_rolled_up_like_one_by_one(conn: Connection) -> None:
    chance = random.Random(1)
    times = seconds(NIGHT, *sorted(chance.sample(range(100_000), 300)))
    for account_id in (1, 2, 3):
        insert(conn, walk(chance, account_id, times))
        assert_true(conn)
    settle(conn)
    assert_true(conn)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_closing_rebuilding_and_refreshing_ends_true(
    conn: Connection, seed: int
) -> None:
    chance = random.Random(seed)
    accounts = [1, 2, 3, 4]
    times = seconds(NIGHT, *sorted(chance.sample(range(2 * 86_400), 120)))
    bars = [row for account_id in accounts for row in walk(chance, account_id, times)]
    late = [row for row in bars if chance.random() < 0.15]
    due = sorted((row for row in bars if row not in late), key=lambda row: row["bucket_at"])
    cuts = [0, *sorted(chance.sample(range(1, len(due)), 12)), len(due)]
    for start, end in pairwise(cuts):
        insert(conn, due[start:end])
        if late and chance.random() < 0.5:
            insert(conn, [late.pop(chance.randrange(len(late)))])
        if chance.random() < 0.3:
            at = chance.choice(due[:end])["bucket_at"]
            stretch = (at, at + timedelta(seconds=chance.choice([1, 60, 5_000, 90_000])))
            who = chance.sample(accounts, 2)
            taken = every(
                conn,
                "select * from equity.curve_bars"
                " where bucket_at >= %s and bucket_at < %s and account_id = any (%s)",
                [*stretch, who],
            )
            with conn.transaction():
                delete(conn, *stretch, who)
                insert(conn, [row for row in taken if chance.random() < 0.8] or taken[:1])
        settle(conn)
        assert_true(conn)


def test_late_bars_change_only_the_buckets_that_they_touch(conn: Connection) -> None:
    insert(conn, [bar(n, at, "1") for n in (1, 2) for at in seconds(NIGHT, 0, 20, 200, 200_000)])
    settle(conn)
    before = rollups(conn)
    insert(conn, [bar(1, NIGHT + timedelta(seconds=21), "-5")])
    settle(conn)
    after = rollups(conn)
    for grain in WIDTHS:
        changed = [b for a, b in zip(before[grain], after[grain], strict=True) if a != b]
        assert [(row["account_id"], row["fall"]) for row in changed] == [(1, D("6"))]
    assert_true(conn)


def test_refreshing_a_stretch_leaves_no_gap_before_it(conn: Connection) -> None:
    insert(conn, [bar(1, at, "1") for at in seconds(NIGHT, 0, 100, 100_000, 200_000, 300_000)])
    end = NIGHT + timedelta(seconds=300_001)
    conn.execute("update equity.curve_clock set announced_to = %s, closed_to = %s", [end, end])
    conn.execute("call api.refresh_rollups(%s, %s)", [NIGHT + timedelta(days=2), end])
    assert_true(conn)
    insert(conn, [bar(2, NIGHT + timedelta(days=1), "2")])
    conn.execute("call api.refresh_rollups(%s, %s)", [NIGHT, NIGHT + timedelta(days=1, seconds=1)])
    assert_true(conn)


def test_bars_that_are_replaced_in_their_place_count_too(conn: Connection) -> None:
    insert(conn, [bar(n, at, "1") for n in (1, 2) for at in seconds(NIGHT, 0, 20, 200, 200_000)])
    settle(conn)
    conn.execute(
        "insert into equity.curve_bars as b select * from equity.curve_bars where account_id = 1"
        " on conflict (account_id, bucket_at, part) do update set high = b.high + 1"
    )
    settle(conn)
    assert_true(conn)
    conn.execute("update equity.curve_bars set low = low - 1, fall = 2 where account_id = 2")
    settle(conn)
    assert_true(conn)


def test_buckets_whose_bars_are_all_deleted_are_gone(conn: Connection) -> None:
    insert(conn, [bar(n, at) for n in (1, 2) for at in seconds(NIGHT, 0, 20, 200, 200_000)])
    settle(conn)
    delete(conn, NIGHT, NIGHT + timedelta(days=1), [1])
    settle(conn)
    assert_true(conn)
    assert [row["account_id"] for row in rollups(conn)["1d"]] == [1, 2, 2, 2]


def test_a_statement_that_changes_no_bar_changes_nothing(conn: Connection) -> None:
    insert(conn, [bar(1, at) for at in seconds(NIGHT, 0, 100)])
    before = rollups(conn)
    delete(conn, NIGHT - timedelta(days=2), NIGHT, [1])
    conn.execute("insert into equity.curve_bars select * from equity.curve_bars where false")
    assert rollups(conn) == before


def test_a_bar_committed_while_its_minute_is_rolled_up_is_not_lost(database: Database) -> None:
    with database.connect() as one_session, database.connect() as other:
        insert(other, [bar(1, NIGHT)])
        with one_session.transaction():
            insert(one_session, [bar(2, NIGHT, "3")])
            closing = threading.Thread(
                target=insert, args=(other, [bar(1, NIGHT + timedelta(days=2))])
            )
            closing.start()
            closing.join(0.3)  # waits, where triggers roll up
        closing.join()
        settle(other)
        assert_true(other)


def test_a_bar_that_comes_while_its_minute_is_rolled_up_is_not_lost(database: Database) -> None:
    with database.connect() as one_session, database.connect() as other:
        insert(other, [bar(1, NIGHT)])
        insert(other, [bar(1, NIGHT + timedelta(days=2))])
        close_all(other)
        with one_session.transaction():
            insert(one_session, [bar(3, NIGHT, "4")])
            assert not one(other, "select api.roll_up_next_bars() as rolled")["rolled"]
        with one_session.transaction():
            rolled = one(one_session, "select api.roll_up_next_bars() as rolled")["rolled"]
            assert rolled is (edition(other) == "apache")
            late = threading.Thread(target=insert, args=(other, [bar(2, NIGHT, "3")]))
            late.start()
            late.join(0.3)  # waits, where triggers roll up
        late.join()
        settle(other)
        assert_true(other)


def test_closing_rolls_up_what_is_full(conn: Connection) -> None:
    insert(conn, [bar(1, at, "1") for at in seconds(NIGHT, 0, 20, 200_000)])
    close_all(conn)
    before = rollups(conn)
    conn.execute("call api.close_bars(%s)", [NIGHT])
    for grain in WIDTHS:
        kept = every(conn, f"select * from equity.rollups_{grain} order by bucket_at")
        assert kept == ([] if edition(conn) == "community" else before[grain][:-1])
    assert rollups(conn) == before


def days(conn: Connection, count: int, accounts: int = 3) -> None:
    """Some bars an hour, over some days."""
    chance = random.Random(2)
    for account_id in range(1, accounts + 1):
        hours = range(count * 24)
        times = [NIGHT + timedelta(hours=h, seconds=chance.randrange(60)) for h in hours]
        insert(conn, walk(chance, account_id, times))
    settle(conn)


def drop_old(conn: Connection) -> None:
    if edition(conn) == "community":
        conn.execute("call equity.maintain_rollups_job(0, null)")
    else:
        conn.execute("set role tidemark_watch")
        assert one(conn, "select api.drop_old_bars() as dropped")["dropped"] == 4
        conn.execute("reset role")


def test_retention_drops_whole_days_of_bars_and_no_rollup(conn: Connection) -> None:
    days(conn, 11)
    before = rollups(conn)
    conn.execute("update equity.curve_settings set keep_seconds = '7 days'")
    drop_old(conn)
    first = one(conn, "select min(bucket_at) as first from equity.curve_bars")["first"]
    kept_from = one(conn, "select kept_from from equity.rollup_clock")["kept_from"]
    assert first >= kept_from == datetime(2026, 1, 9, tzinfo=UTC)
    assert rollups(conn) == before

    insert(conn, [bar(1, NIGHT)])  # too late: there is nothing any more to put it beside
    insert(conn, [bar(1, NIGHT + timedelta(days=20), "1")])
    settle(conn)
    after = rollups(conn)
    for grain in WIDTHS:
        assert [row for row in after[grain] if row["bucket_at"] < kept_from] == [
            row for row in before[grain] if row["bucket_at"] < kept_from
        ]
        assert len(after[grain]) == len(before[grain]) + 1


def test_bars_are_kept_forever_unless_told_otherwise(conn: Connection) -> None:
    days(conn, 11)
    count = "select count(*) as bars from equity.curve_bars"
    before = one(conn, count)
    if edition(conn) == "community":
        conn.execute("call equity.maintain_rollups_job(0, null)")
    assert one(conn, "select api.drop_old_bars() as dropped")["dropped"] == 0
    assert one(conn, count) == before


def test_rollups_are_true_while_they_are_refreshed(database: Database, conn: Connection) -> None:
    """From the first time on, when they are made of many days; and by two at once."""
    chance = random.Random(3)
    times = [NIGHT + timedelta(minutes=7 * number) for number in range(1_500)]
    insert(conn, walk(chance, 1, times))
    close_all(conn)
    expected = rollups(conn)

    def refresh() -> None:
        with database.connect() as other:
            other.execute("call api.refresh_rollups()")

    threads = [threading.Thread(target=refresh) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert rollups(conn) == expected
    assert rollups(conn) == expected
    assert_true(conn)


def test_who_was_planned_before_the_first_rollups_misses_none(
    database: Database, conn: Connection
) -> None:
    """Of a hypertable a plan reads the chunks that there were when it was made."""
    insert(conn, walk(random.Random(4), 1, [NIGHT + timedelta(hours=n) for n in range(100)]))
    close_all(conn)
    expected = every(conn, "select bucket_at, bar_count from equity.curve_1d order by 1")
    conn.execute(
        "create function pause_while_planning() returns bigint language plpgsql immutable as $$"
        " begin perform pg_advisory_lock_shared(42); return null; end $$"
    )
    read = []

    def reading() -> None:
        with database.connect() as other:
            read.extend(
                every(
                    other,
                    "select bucket_at, bar_count from equity.curve_1d"
                    " union select null, pause_while_planning() order by 1",
                )
            )

    conn.execute("select pg_advisory_lock(42)")
    reader = threading.Thread(target=reading)
    reader.start()
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    until(lambda: one(conn, waiting)["count"] == 1, "the reader is being planned")
    conn.execute("call api.refresh_rollups()")
    conn.execute("select pg_advisory_unlock(42)")
    reader.join()
    assert read[:-1] == expected

    conn.execute("call api.refresh_rollups()")
    assert every(conn, "select bucket_at, bar_count from equity.curve_1d order by 1") == expected
    if edition(conn) == "apache":
        assert one(conn, "select count(*) from equity.rollups_1d")["count"] == len(expected) - 1


def test_rebuilding_old_bars_holds_in_the_columnstore_too(conn: Connection) -> None:
    """The Apache edition has none, and rows there hold as well."""
    days(conn, 11)
    if edition(conn) == "community":
        conn.execute("call equity.maintain_rollups_job(0, null)")
        compressed = every(
            conn,
            "select distinct hypertable_name from timescaledb_information.chunks"
            " where is_compressed",
        )
        assert {"hypertable_name": "curve_bars"} in compressed
        assert len(compressed) >= 2
    assert_true(conn)
    with conn.transaction():
        delete(conn, NIGHT, NIGHT + timedelta(days=1), [1, 2])
        insert(conn, [bar(1, at, "7") for at in seconds(NIGHT, 5, 6, 500)])
    settle(conn)
    assert_true(conn)


def plan_of(conn: Connection, query: str) -> list[Row]:
    """The nodes of a query's plan that were run, each with the chunk that it reads."""
    found = one(conn, f"explain (analyze, format json, timing off) {query}")["QUERY PLAN"]

    def nodes(node: Row) -> Iterable[Row]:
        if node.get("Actual Loops", 1) > 0:
            yield node
            for child in node.get("Plans", []):
                yield from nodes(child)

    return list(nodes(found[0]["Plan"]))


@pytest.mark.parametrize("view", ["curve_1s", "curve_1m", "curve_1h", "curve_1d"])
def test_account_and_time_reach_index_and_chunks(conn: Connection, view: str) -> None:
    days(conn, 11, accounts=40)
    conn.execute("analyze")
    start, end = "2026-01-08", "2026-01-09"
    nodes = plan_of(
        conn,
        f"select * from equity.{view} where account_id = 7"
        f" and bucket_at >= '{start} 00:00Z' and bucket_at < '{end} 00:00Z'",
    )
    chunks = {
        row["chunk_name"]: row["hypertable_name"]
        for row in every(
            conn,
            "select * from timescaledb_information.chunks"
            " where not (range_start < %s::timestamptz and range_end > %s::timestamptz)",
            [f"{end} 00:00Z", f"{start} 00:00Z"],
        )
    }
    outside = [node for node in nodes if node.get("Relation Name") in chunks]
    # a live tail is looked for in the one chunk where the roll-ups of a grain end
    assert len({node["Relation Name"] for node in outside}) <= ("1s", "1m", "1h", "1d").index(
        view.removeprefix("curve_")
    )
    assert [node for node in outside if node["Actual Rows"] > 0] == []
    read = [
        node
        for node in nodes
        if str(node.get("Relation Name", "")).startswith("_hyper_") and node["Actual Rows"] > 1
    ]
    for node in read:
        assert "account_id" in node.get("Index Cond", "") + node.get("Recheck Cond", ""), node


def test_who_may_read_a_view_of_rollups_can(conn: Connection) -> None:
    days(conn, 2)
    for grain in WIDTHS:
        conn.execute(f"create view api.rollups_{grain} as select * from equity.curve_{grain}")
        conn.execute(f"alter view api.rollups_{grain} owner to tidemark_owner")
        conn.execute(f"grant select on api.rollups_{grain} to tidemark_readonly")
    expected = rollups(conn)
    conn.execute("set role tidemark_readonly")
    for grain in WIDTHS:
        query = f"select * from api.rollups_{grain} order by account_id, bucket_at"
        assert every(conn, query) == expected[grain]


def test_a_plan_that_is_kept_stays_true_as_the_clock_goes_on(conn: Connection) -> None:
    conn.execute("set plan_cache_mode = force_generic_plan")
    for grain in WIDTHS:
        conn.execute(
            f"prepare read_{grain} as select * from equity.curve_{grain}"
            " order by account_id, bucket_at"
        )
    for start in (NIGHT, NIGHT + timedelta(minutes=5), NIGHT + timedelta(days=3)):
        insert(conn, [bar(1, at, "1.5") for at in seconds(start, 0, 5, 100, 4_000)])
        settle(conn)
        expected = rollups(conn)
        for grain in WIDTHS:
            assert every(conn, f"execute read_{grain}") == expected[grain]
        assert_true(conn)


def test_setting_up_again_and_migrating_again_keeps_everything(database: Database) -> None:
    with database.connect() as conn:
        days(conn, 3)
        before = rollups(conn)
        name = one(conn, "select equity.set_up_edition() as name")["name"]
        assert name == edition(conn)
        migrate.to_head(database.dsn)
        assert rollups(conn) == before
        assert_true(conn)
