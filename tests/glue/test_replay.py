"""`tidemark replay`: every form of file, what is wrong with one, and the pace."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glue import replay
from glue.stop import Stop
from tests.conftest import Connection, Database
from tests.glue.broker import until

HEADER = "ts,symbol,bid,ask\n"


def lines(number: int, step_ms: int = 0) -> str:
    """So many ticks of EUR/USD, that much time apart."""
    return "".join(
        f"2014-05-02T12:30:{i * step_ms / 1000:06.3f}Z,EUR/USD,1.{i:05d},2\n" for i in range(number)
    )


def run(
    database: Database, file: Path | str, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """`tidemark replay`, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "glue", "replay", str(file), *arguments],
        env={**os.environ, "TIDEMARK_DSN": database.dsn},
        input=stdin,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def ticks(conn: Connection) -> int:
    (rows,) = conn.execute("select count(*) from api.ticks").fetchone() or (0,)
    return int(rows)


@pytest.fixture(autouse=True)
def eur_usd(conn: Connection) -> None:
    conn.execute("select api.upsert_instrument('EUR/USD', 'EUR', 'USD', 0.0333)")


def test_a_plain_file_is_stored(database: Database, conn: Connection, tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_text("\ufeff" + HEADER + lines(5_000) + "\n")
    done = run(database, file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5000 accepted, 0 rejected in ")
    assert done.stderr == ""
    assert ticks(conn) == 5_000


def test_gzip_is_known_by_its_content(database: Database, conn: Connection, tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_bytes(gzip.compress(lines(10).encode()))
    assert run(database, file).returncode == 0
    assert ticks(conn) == 10


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_standard_input_is_read(
    database: Database, conn: Connection, pack: Callable[[bytes], bytes]
) -> None:
    assert run(database, "-", stdin=pack((HEADER + lines(10)).encode())).returncode == 0
    assert ticks(conn) == 10


def test_bad_rows_are_filed_with_their_line_and_the_rest_counts(
    database: Database, conn: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "day.csv"
    bad = "2014-05-02T12:30:00Z,ABC/DEF,1,2\n,,,\nnonsense\n2014-05-02T12:30:00Z,EUR/USD,2,1\n"
    file.write_text(lines(3) + bad + lines(3))
    done = run(database, file)
    assert done.returncode == 0
    assert done.stdout.startswith("6 accepted, 4 rejected in ")
    assert "1 unknown symbol: ABC/DEF\n" in done.stdout
    assert "api.upsert_instrument" in done.stdout
    assert "1 bid is above ask (first: day.csv:7)\n" in done.stdout
    assert ticks(conn) == 6
    filed = conn.execute(
        "select source, message from api.rejected_ticks order by source"
    ).fetchall()
    assert filed == [
        ("day.csv:4", None),
        ("day.csv:5", ",,,"),
        ("day.csv:6", "nonsense"),
        ("day.csv:7", None),
    ]


def test_what_a_truncated_gzip_still_holds_is_stored(
    database: Database, conn: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "day.csv.gz"
    packed = gzip.compress(lines(20_000).encode())
    file.write_bytes(packed[: len(packed) // 2])
    done = run(database, file)
    assert done.returncode == 1
    stored = ticks(conn)
    assert 1_000 < stored < 20_000
    assert done.stdout.startswith(f"{stored} accepted, 0 rejected")
    assert f"day.csv.gz cannot be read beyond line {stored}" in done.stderr


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"hello\n", "is not CSV with the columns ts,symbol,bid,ask"),
        (b"symbol,ts,bid,ask\n", "is not CSV with the columns ts,symbol,bid,ask"),
        (b"\x7fELF\x00\x01\xff" * 20_000, "this is no CSV"),
        (gzip.compress(b"x")[:12], "cannot be read beyond line 0"),
    ],
    ids=["text", "other columns", "binary", "truncated gzip"],
)
def test_what_is_no_file_of_ticks_is_refused(
    database: Database, conn: Connection, tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    done = run(database, file)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert ticks(conn) == 0


def test_a_missing_file_and_a_directory_are_named(database: Database, tmp_path: Path) -> None:
    missing, directory = run(database, tmp_path / "nope.csv"), run(database, tmp_path)
    assert (missing.returncode, directory.returncode) == (1, 1)
    assert f"cannot read {tmp_path / 'nope.csv'}: No such file" in missing.stderr
    assert "Is a directory" in directory.stderr


def test_an_empty_file_is_nothing_to_do(database: Database) -> None:
    assert run(database, "-").returncode == 0


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_that_is_none_is_wrong_usage(database: Database, speed: str) -> None:
    assert run(database, "-", "--speed", speed).returncode == 2


def test_the_recorded_pace_is_kept(database: Database, conn: Connection, tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_text(lines(100, step_ms=100) + lines(1))  # 9.9 s, and a late one at the end
    with replay.Lines(str(file)) as rows, database.connect("tidemark_ingest") as connection:
        began = time.monotonic()
        summary, problem = replay.replay(connection, rows, 20.0, Stop())
        took = time.monotonic() - began
    assert problem is None
    assert (summary.accepted, summary.line) == (101, 101)
    assert took >= 9.9 / 20
    arrivals = conn.execute(
        "select extract(epoch from max(received_at) - min(received_at)) from api.ticks"
    ).fetchone()
    assert arrivals is not None
    assert arrivals[0] > 0.4


def test_ctrl_c_says_how_far_it_came(database: Database, conn: Connection, tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_text(lines(59, step_ms=1000))
    process = subprocess.Popen(
        [sys.executable, "-m", "glue", "replay", str(file), "--speed", "2"],
        env={**os.environ, "TIDEMARK_DSN": database.dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: ticks(conn) >= 1, "first tick")
    process.send_signal(signal.SIGINT)
    output, complaint = process.communicate(timeout=20)
    stored = ticks(conn)
    assert process.returncode == 1
    assert output.startswith(f"{stored} accepted")
    assert f"stopped after line {stored} of day.csv" in complaint


def test_a_lost_database_says_how_far_it_came(
    database: Database, conn: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "day.csv"
    file.write_text(lines(20, step_ms=50))
    with replay.Lines(str(file)) as rows, database.connect("tidemark_ingest") as connection:
        conn.execute("select pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        summary, problem = replay.replay(connection, rows, 1.0, Stop())
    assert problem is not None
    assert "database lost" in problem.message
    assert "Stored up to line 0 of day.csv" in problem.remedy
    assert summary.accepted == 0
