"""`tidemark chart`: what its pictures show, and what it says when there is nothing to draw."""

import html
import os
import random
import re
import struct
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import Connection, Database
from tests.curve_oracle import Bar, bars, read
from tests.factories import START, D, account, instrument, one, ticks

NAME = "Macro $1 & $2 <desk>"
LENGTH = 600
"""Seconds of the curve."""
POINTS = """
create function api.equity_curve_points(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_points int
) returns table (
    bucket_at timestamptz, open numeric, high numeric, low numeric, close numeric, balance numeric,
    net_flow numeric, performance numeric, growth_index numeric, is_priced boolean,
    is_thinned boolean
) language sql security definer
as $$
    select bucket_at, (array_agg(equity_open order by part))[1], max(equity_high), min(equity_low),
        (array_agg(equity_close order by part desc))[1],
        (array_agg(balance order by part desc))[1], (array_agg(net_flow order by part desc))[1],
        (array_agg(close order by part desc))[1], (array_agg(index_close order by part desc))[1],
        bool_and(is_priced), bool_or(is_thinned)
    from equity.curve_1s
    where account_id = p_account_id and bucket_at >= p_from and bucket_at < p_to
    group by bucket_at
$$
"""
DRAWDOWNS = """
create function api.drawdown_series(
    p_account_id bigint, p_from timestamptz, p_to timestamptz, p_bucket interval
) returns table (
    bucket_at timestamptz, high_water_mark numeric, drawdown numeric, drawdown_pct numeric,
    deepest numeric, deepest_pct numeric
) language sql security definer
as $$
    with bars as (
        select *, max(high) over w as highest, max(index_high) over w as highest_index
        from equity.curve_1s
        where account_id = p_account_id
        window w as (order by bucket_at, part)
    )
    select public.time_bucket(p_bucket, bucket_at), max(highest),
        (array_agg(highest - close order by bucket_at desc, part desc))[1],
        (array_agg(1 - index_close / highest_index order by bucket_at desc, part desc))[1],
        max(greatest(fall, highest - low)), max(greatest(fall_pct, 1 - index_low / highest_index))
    from bars
    where bucket_at >= p_from and bucket_at < p_to
    group by 1
$$
"""


@pytest.fixture
def account_id(conn: Connection) -> int:
    """An account with ten minutes of a long position, a withdrawal and a credit."""
    chance = random.Random(5)
    bid, rows = D("1.10000"), []
    for second in range(1, LENGTH, 2):
        bid += D("0.00001") * chance.randint(-20, 20)
        rows.append(("EUR/USD", second + 0.5, str(bid), str(bid + D("0.00010"))))
    instrument(conn, "EUR/USD")
    ticks(conn, *rows)
    account_id = account(conn, "USD", None, name=NAME)
    for kind, amount, second in [
        ("deposit", "10000", 0),
        ("withdrawal", "-2500.50", 200),
        ("credit", "700", 400),
    ]:
        conn.execute(
            "select api.record_entry(%s, %s, %s, %s)",
            [account_id, kind, amount, START + timedelta(seconds=second)],
        )
    conn.execute(
        "select api.record_fill(%s, 'EUR/USD', 'buy', 100000, 1.1001, %s)",
        [account_id, START + timedelta(seconds=3)],
    )
    close_bars(conn)
    return account_id


def close_bars(conn: Connection) -> None:
    """Have all bars, and what reads them."""
    if has(conn, "to_regprocedure", "api.close_bars(timestamptz)"):
        conn.execute("call api.close_bars('2026-02-01Z')")
    else:
        columns = ", ".join(["%s"] * len(Bar._fields))
        with conn.cursor() as cursor:
            cursor.executemany(
                f"insert into equity.curve_bars values ({columns})", bars(read(conn))
            )
    if not has(conn, "to_regclass", "api.equity_curve_1s"):
        conn.execute("create view api.equity_curve_1s as select * from equity.curve_1s")
        conn.execute("grant select on api.equity_curve_1s to tidemark_readonly")
    for function, body in [
        ("api.equity_curve_points(bigint, timestamptz, timestamptz, int)", POINTS),
        ("api.drawdown_series(bigint, timestamptz, timestamptz, interval)", DRAWDOWNS),
    ]:
        if not has(conn, "to_regprocedure", function):
            conn.execute(body)
            conn.execute(f"grant execute on function {function} to tidemark_readonly")


def has(conn: Connection, lookup: str, name: str) -> bool:
    return one(conn, f"select {lookup}(%s) is not null as is_there", [name])["is_there"]


def chart(database: Database, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glue", "chart", *map(str, arguments)],
        env={**os.environ, "TIDEMARK_DSN": database.dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def texts(file: Path) -> list[str]:
    """What is written in an SVG."""
    return [
        html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())
    ]


def test_an_svg_says_whose_curve_it_is_and_what_happened(
    database: Database, conn: Connection, account_id: int, tmp_path: Path
) -> None:
    done = chart(database, account_id, "-o", tmp_path / "curve.svg")
    assert done.returncode == 0, done.stderr
    written = texts(tmp_path / "curve.svg")
    assert f"{NAME} · equity in USD" in written
    assert "2026-01-05 09:00:00 to 09:10:00 UTC" in written
    assert {"UTC", "Equity, USD", "Drawdown, %", "Drawdown, USD", "close", "low to high"} < set(
        written
    )
    assert {"+10,000.00", "-2,500.50", "+700.00"} < set(written)
    assert {"09:00", "09:01", "09:10", "2026-Jan-05"} < set(written)
    deepest = one(
        conn,
        "select max(deepest) as money, max(deepest_pct) as pct"
        " from api.drawdown_series(%s, %s, %s, '1 s')",
        [account_id, START, START + timedelta(seconds=LENGTH)],
    )
    assert f"deepest -{deepest['money']:,.2f} USD" in written
    assert f"deepest -{100 * deepest['pct']:,.2f} %" in written


def test_a_png_shows_line_band_and_drawdown(
    database: Database, account_id: int, tmp_path: Path
) -> None:
    from matplotlib.image import imread

    file = tmp_path / "curve.PNG"
    done = chart(database, NAME, "-o", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{file}: {NAME}, 2026-01-05 09:00:00 to 09:10:00 UTC\n"
    header = file.read_bytes()[:24]
    assert header.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", header[16:]) == (1800, 1125)
    red, green, blue = (imread(file)[:, :, channel] for channel in range(3))
    assert (blue > red + 0.3)[:700].sum() > 3_000, "the equity's line"
    assert not (blue > red + 0.3)[720:].any()
    assert (red > blue + 0.1)[720:].sum() > 3_000, "the drawdowns"
    assert ((red > 0.95) & (green > 0.95) & (blue > 0.95)).mean() > 0.7, "a light ground"


def test_a_range_is_drawn_from_its_beginning_to_before_its_end(
    database: Database, account_id: int, tmp_path: Path
) -> None:
    file = tmp_path / "curve.svg"
    done = chart(
        database,
        NAME,
        "--from",
        "2026-01-05T10:02:00+01:00",
        "--to",
        "2026-01-05T09:05",
        "-o",
        file,
    )
    assert done.returncode == 0, done.stderr
    written = texts(file)
    assert "2026-01-05 09:02:01 to 09:05:00 UTC" in written
    assert "-2,500.50" in written
    assert "+10,000.00" not in written, "it was before"
    assert "+700.00" not in written


def test_a_flow_in_the_first_bar_of_a_range_is_marked(
    database: Database, account_id: int, tmp_path: Path
) -> None:
    file = tmp_path / "curve.svg"
    done = chart(database, NAME, "--from", "2026-01-05T09:03:20", "-o", file)
    assert done.returncode == 0, done.stderr
    assert "-2,500.50" in texts(file)
    assert "+7,499.50" not in texts(file)


def test_one_bar_is_a_chart(database: Database, account_id: int, tmp_path: Path) -> None:
    done = chart(database, NAME, "--to", "2026-01-05T09:00:01", "-o", tmp_path / "curve.svg")
    assert done.returncode == 0, done.stderr
    written = texts(tmp_path / "curve.svg")
    assert "2026-01-05 09:00:00 to 09:00:01 UTC" in written
    assert "+10,000.00" in written


def test_where_equity_is_unknown_the_drawdown_is_said_to_be(
    database: Database, conn: Connection, tmp_path: Path
) -> None:
    instrument(conn, "EUR/USD")
    account_id = account(conn, "USD", None)
    for query in (
        "select api.record_fill(%s, 'EUR/USD', 'buy', 1, 1, '2026-01-05 09:00Z')",
        "select api.record_entry(%s, 'deposit', 1, '2026-01-05 09:01Z')",
    ):
        conn.execute(query, [account_id])
    close_bars(conn)
    done = chart(database, account_id, "-o", tmp_path / "curve.svg")
    assert done.returncode == 0, done.stderr
    assert "unknown" in texts(tmp_path / "curve.svg")


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_drawn_is_said_with_a_remedy(
    database: Database, conn: Connection, account_id: int, tmp_path: Path
) -> None:
    file = tmp_path / "curve.png"
    refused(chart(database, "Nobody", "-o", file), 1, "no account", "Nobody", "api.accounts")
    refused(chart(database, NAME, "--from", "2027-01-01", "-o", file), 1, "no bars", "--from")
    other = account(conn, "USD", None, name=NAME)
    refused(chart(database, NAME, "-o", file), 1, "several accounts", f"{account_id}, {other}")
    missing = tmp_path / "nowhere" / "curve.png"
    refused(chart(database, account_id, "-o", missing), 1, str(missing), "cannot be written")
    assert not file.exists()


def test_wrong_usage_is_exit_code_2(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "curve.png"
    refused(chart(database, 1, "-o", tmp_path / "curve.pdf"), 2, ".png, .svg")
    refused(chart(database, 1), 2, "-o")
    refused(chart(database, 1, "--from", "yesterday", "-o", file), 2, "yesterday")
    backwards = ["--from", "2026-01-02", "--to", "2026-01-02"]
    refused(chart(database, 1, *backwards, "-o", file), 2, "before --to")


def test_a_missing_matplotlib_is_said_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('none')")
    done = subprocess.run(
        [sys.executable, "-m", "glue", "chart", "1", "-o", "curve.png"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TIDEMARK_DSN": "host=/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    refused(done, 1, "needs matplotlib", "pip install 'tidemark[chart]'")
