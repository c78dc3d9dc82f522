"""What the curve costs to keep and to read: bytes of a bar, what roll-ups add to an insert, and how
fast a year of one account is read. Bars are random walks in cents.

TIDEMARK_BENCH_CURVE_DAYS is the length of the year in trading days of eight hours, 260 unless set:
7.5 million bars, and 3 GB of disk where they are kept as rows.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Connection
from tests.factories import account, every, one

pytestmark = pytest.mark.bench

DAYS = int(os.environ.get("TIDEMARK_BENCH_CURVE_DAYS", "260"))
HOURS = 8
START = datetime(2025, 1, 6, tzinfo=UTC)
DEPOSIT = 10_000

WALK = """
insert into {}
with steps as (
    select a.account_id, %(start)s::timestamptz + s * interval '1 second' as bucket_at,
           round(random_normal(0, 1.2)::numeric, 2) as change,
           round(abs(random_normal(0, 0.6))::numeric, 2) as above,
           round(abs(random_normal(0, 0.6))::numeric, 2) as below,
           random() < 0.5 as is_high_first,
           case when random() < 0.01
               then round(random_normal(0, 30)::numeric, 2) else 0
           end as booked
    from generate_series(1, %(accounts)s) a (account_id), generate_series(0, %(seconds)s - 1) s
),
walks as (
    select *, sum(change) over w as close, sum(booked) over w as realized
    from steps window w as (partition by account_id order by bucket_at)
),
bars as (
    select *, close - change as open, greatest(close - change, close) + above as high,
           least(close - change, close) - below as low
    from walks
),
falls as (
    select *, case
        when is_high_first then high - low else greatest(open - low, high - close)
    end as fall
    from bars
)
select account_id, bucket_at, 0, open,
       nullif(high, greatest(open, close)), nullif(low, least(open, close)), close,
       %(deposit)s::numeric + realized, %(deposit)s, 1, %(deposit)s,
       nullif(fall, high - low),
       case when not is_high_first and open - low > high - close
            then round(fall / (open + %(deposit)s), 12) end, true, false
from falls
"""


def walk(
    conn: Connection,
    start: datetime,
    seconds: int,
    accounts: int = 1,
    into: str = "equity.curve_bars",
) -> None:
    """Bars of these accounts in one statement, each second one."""
    conn.execute(
        WALK.format(into),
        {"start": start, "seconds": seconds, "accounts": accounts, "deposit": DEPOSIT},
    )


def close_bars(conn: Connection) -> None:
    """All bars are closed, and so is a day after them."""
    conn.execute(
        "update equity.curve_clock set announced_to = n.at, closed_to = n.at from ("
        " select max(bucket_at) + interval '1 second' as at from equity.curve_bars) n"
    )


def roll_up(conn: Connection) -> None:
    """All closed bars are rolled up, and compressed where the edition does that."""
    if is_community(conn):
        conn.execute("call equity.maintain_rollups_job(0, null)")
    else:
        conn.execute("call api.refresh_rollups()")


def is_community(conn: Connection) -> bool:
    return bool(one(conn, "select equity.edition()")["edition"] == "community")


def edition(conn: Connection) -> str:
    found = one(
        conn,
        "select equity.edition() || ' edition, TimescaleDB ' || extversion as name"
        " from pg_extension where extname = 'timescaledb'",
    )
    return str(found["name"])


def sizes(conn: Connection, hypertable: str) -> tuple[float, float]:
    """Bytes of all chunks: the heap with what is toasted, and the indexes."""
    found = one(
        conn,
        "select sum(pg_table_size(format('%%I.%%I', chunk_schema, chunk_name)::regclass)) as heap,"
        " sum(pg_indexes_size(format('%%I.%%I', chunk_schema, chunk_name)::regclass)) as indexes"
        " from timescaledb_information.chunks"
        " where hypertable_schema || '.' || hypertable_name = %s",
        [hypertable],
    )
    return float(found["heap"]), float(found["indexes"])


def compress(conn: Connection, hypertable: str) -> float:
    """Put all chunks into the columnstore; the bytes of all of it, indexes too."""
    for row in every(
        conn,
        "select format('%%I.%%I', chunk_schema, chunk_name) as name"
        " from timescaledb_information.chunks"
        " where hypertable_schema || '.' || hypertable_name = %s",
        [hypertable],
    ):
        conn.execute("call public.convert_to_columnstore(%s::regclass)", [row["name"]])
    return float(
        one(
            conn,
            "select sum(after_compression_total_bytes) as bytes"
            " from public.hypertable_columnstore_stats(%s)",
            [hypertable],
        )["bytes"]
    )


def columns(conn: Connection, hypertable: str) -> list[tuple[str, float]]:
    """Bytes of each column in the columnstore, and of what is kept beside them."""
    names = [
        row["name"]
        for row in every(
            conn,
            "select s.compress_relid::regclass::text as name"
            " from timescaledb_information.chunks c"
            " join _timescaledb_catalog.compression_settings s"
            " on s.relid = format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass"
            " where c.hypertable_schema || '.' || c.hypertable_name = %s",
            [hypertable],
        )
    ]
    total: dict[str, float] = {}
    for name in names:
        for row in every(
            conn,
            "select attname as column from pg_attribute where attrelid = %s::regclass"
            " and attnum > 0 and not attisdropped",
            [name],
        ):
            column = row["column"]
            found = one(conn, f'select sum(pg_column_size("{column}")) as bytes from {name}')
            label = "minimum, maximum, count" if column.startswith("_ts_meta") else column
            total[label] = total.get(label, 0) + float(found["bytes"] or 0)
    return sorted(total.items(), key=lambda item: -item[1])


RIVALS = {
    "cents as bigint": {
        name: f"({name} * 100)::bigint as {name}"
        for name in ("open", "high", "low", "close", "balance", "net_flow", "base_equity", "fall")
    },
    "without open (the close before)": {"open": ""},
    "fall_pct as the equity fallen from": {
        "fall_pct": "case when fall > 0 then round(fall / fall_pct, 2) end as fall_from"
    },
    "both of these, in cents": {
        name: f"({name} * 100)::bigint as {name}"
        for name in ("high", "low", "close", "balance", "net_flow", "base_equity", "fall")
    }
    | {
        "open": "",
        "fall_pct": "(case when fall > 0 then round(fall / fall_pct, 2) end * 100)::bigint"
        " as fall_from",
    },
}
"""Other exact ways to keep the same bars: the column that stands for another, or none."""


def rival(conn: Connection, instead: dict[str, str]) -> float:
    """Bytes of the same bars kept in another way, in the columnstore."""
    names = every(
        conn,
        "select attname as name from pg_attribute"
        " where attrelid = 'equity.curve_bars'::regclass and attnum > 0 order by attnum",
    )
    chosen = [instead.get(row["name"], row["name"]) for row in names]
    conn.execute("drop table if exists public.rival")
    conn.execute(
        f"create table public.rival as select {', '.join(filter(None, chosen))}"
        " from equity.curve_bars with no data"
    )
    conn.execute(
        "alter table public.rival add primary key (account_id, bucket_at, part);"
        "select public.create_hypertable('public.rival', public.by_range('bucket_at',"
        " interval '1 day'), create_default_indexes => false);"
        "alter table public.rival set (timescaledb.enable_columnstore,"
        " timescaledb.segmentby = 'account_id', timescaledb.orderby = 'bucket_at, part')"
    )
    conn.execute(
        f"insert into public.rival select {', '.join(filter(None, chosen))} from equity.curve_bars"
    )
    return compress(conn, "public.rival")


@pytest.mark.timeout(1_200)
def test_bench_bytes_of_a_bar(conn: Connection) -> None:
    accounts, seconds = 12, 86_400
    walk(conn, START, seconds, accounts)
    bars = accounts * seconds
    heap, indexes = sizes(conn, "equity.curve_bars")
    rows = [["rows", f"{(heap + indexes) / bars:.1f}", f"{heap / bars:.1f}"]]
    if is_community(conn):
        rivals = {name: rival(conn, instead) for name, instead in RIVALS.items()}
        stored = compress(conn, "equity.curve_bars")
        kept = columns(conn, "equity.curve_bars")
        rows.append(["columnstore", f"{stored / bars:.1f}", ""])
        rows += [
            [f"columnstore, {name}", f"{size / bars:.1f}", ""] for name, size in rivals.items()
        ]
    title = f"{edition(conn)}: {accounts} accounts × {seconds:,} bars of a second, one day"
    table(title, ["kept as", "bytes a bar, all told", "without index"], rows)
    if is_community(conn):
        table(
            "What each column takes in the columnstore",
            ["column", "bytes a bar"],
            [[name, f"{size / bars:.2f}"] for name, size in kept],
        )


@pytest.mark.timeout(1_200)
def test_bench_rolling_up_beside_the_insert(conn: Connection) -> None:
    conn.execute(
        "create unlogged table public.made (like equity.curve_bars);"
        "create table public.bare (like equity.curve_bars including all);"
        "select public.create_hypertable('public.bare', public.by_range('bucket_at',"
        " interval '1 day'), create_default_indexes => false)"
    )
    conn.execute("select api.open_account('Bench', 'USD') from generate_series(1, 10000)")
    rows = []
    for day, accounts in enumerate((1_000, 10_000)):
        seconds: dict[str, list[float]] = {"public.bare": [], "equity.curve_bars": []}
        for second in range(60):
            conn.execute("truncate public.made")
            at = START + timedelta(days=day, seconds=second)
            walk(conn, at, 1, accounts, into="public.made")
            for name, values in seconds.items():
                began = time.perf_counter()
                conn.execute(f"insert into {name} select * from public.made")
                values.append(time.perf_counter() - began)
        bare, kept = (percentile(values[1:], 0.5) for values in seconds.values())
        close_bars(conn)
        began = time.perf_counter()
        conn.execute("select api.roll_up_next_bars()")
        rolled_up = time.perf_counter() - began
        rows.append(
            [
                f"{accounts:,}",
                milliseconds(bare),
                milliseconds(kept),
                f"{kept / bare:.2f}",
                "a job" if is_community(conn) else milliseconds(rolled_up),
            ]
        )
    table(
        f"{edition(conn)}: bars of one second in one statement",
        [
            "bars",
            "into a bare hypertable, p50",
            "into equity.curve_bars, p50",
            "÷ bare",
            "then to roll up a full minute",
        ],
        rows,
    )


def timed(rounds: int, action: Callable[[], object]) -> list[float]:
    """Seconds of each round, after one that warms up."""
    action()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return seconds


def read(conn: Connection, query: str) -> int:
    """Take all rows of a query as text, without making Python objects of them; how many."""
    with conn.cursor() as cursor, cursor.copy(f"copy ({query}) to stdout") as rows:
        return sum(bytes(block).count(b"\n") for block in rows)


@pytest.mark.timeout(3_600)
def test_bench_reading_a_year(conn: Connection) -> None:
    assert account(conn, deposit=None) == 1
    began = time.perf_counter()
    for day in range(DAYS):
        walk(conn, START + timedelta(days=day // 5 * 7 + day % 5), HOURS * 3_600)
    written = time.perf_counter() - began
    close_bars(conn)
    began = time.perf_counter()
    roll_up(conn)
    settled = time.perf_counter() - began
    conn.execute("vacuum analyze")
    end = one(conn, "select closed_to from equity.curve_clock")["closed_to"]
    year = f"account_id = 1 and bucket_at >= '{START}' and bucket_at < '{end}'"
    hour = f"account_id = 1 and bucket_at >= '{end - timedelta(hours=1)}' and bucket_at < '{end}'"
    queries = {
        "last hour of curve_1s": f"select * from equity.curve_1s where {hour} order by bucket_at",
        "a year of curve_1d": f"select * from equity.curve_1d where {year} order by bucket_at",
        "a year of curve_1h": f"select * from equity.curve_1h where {year} order by bucket_at",
        "a year of curve_1m": f"select * from equity.curve_1m where {year} order by bucket_at",
    }
    span = f"1, '{START}', '{end}'"
    if has(conn, "api.equity_curve(bigint, timestamptz, timestamptz, interval)"):
        queries["api.equity_curve, the last hour by second"] = (
            f"select * from api.equity_curve(1, '{end - timedelta(hours=1)}', '{end}', '1 second')"
        )
        for width in ("1 day", "1 minute"):
            queries[f"api.equity_curve, a year by {width}"] = (
                f"select * from api.equity_curve({span}, interval '{width}')"
            )
    if has(conn, "api.drawdown_episodes(bigint, timestamptz, timestamptz)"):
        queries["api.drawdown_episodes, a year"] = f"select * from api.drawdown_episodes({span})"
    rows = []
    for name, query in queries.items():
        seconds = timed(20, lambda query=query: read(conn, query))  # type: ignore[misc]
        count = read(conn, query)
        median, most = (milliseconds(percentile(seconds, part)) for part in (0.5, 0.95))
        rows.append([name, f"{count:,}", median, most])
    bars = DAYS * HOURS * 3_600
    table(
        f"{edition(conn)}: one account, {bars:,} bars of a second in {DAYS} days",
        ["read", "rows", "p50", "p95"],
        rows,
    )
    total = one(conn, "select public.hypertable_size('equity.curve_bars') as bytes")["bytes"]
    print(
        f"\nWritten with roll-ups in {written:.0f} s ({bars / written:,.0f} bars/s), refreshed and"
        f" compressed in {settled:.0f} s; bars of a second take {total / 1e9:.2f} GB."
    )


def has(conn: Connection, function: str) -> bool:
    found = one(conn, "select to_regprocedure(%s) is not null as is_there", [function])
    return bool(found["is_there"])
