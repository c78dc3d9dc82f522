"""`tidemark ingest`: each offset counts once, whatever happens to it or around it."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from glue import kafka
from glue.errors import FeedError
from glue.ingest import MAX_MESSAGES, Ingest
from glue.stop import Stop
from tests import curve_oracle
from tests.conftest import Connection, Database
from tests.factories import account, assert_sound, entry, every, fill
from tests.glue.broker import (
    PARTITIONS,
    SYMBOLS,
    TOPIC,
    Broker,
    IngestProcess,
    count,
    ingest,
    message,
    stored_bids,
    until,
)

LOAD = 30_000
CHUNK = 200
TERMINATE = """
select pg_terminate_backend(pid)
from pg_stat_activity
where datname = current_database() and application_name = 'tidemark ingest'
"""
PACE = 0.02
"""Seconds from chunk to chunk: the load lasts 3 s."""


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "ingest.log"


@pytest.fixture(autouse=True)
def instruments(conn: Connection) -> None:
    for symbol in SYMBOLS:
        conn.execute("select api.upsert_instrument(%s, %s, %s, 0.05)", [symbol, *symbol.split("/")])


@pytest.fixture
def running(database: Database, broker: Broker, log: Path) -> Iterator[IngestProcess]:
    broker.make_topic()
    with ingest(database.dsn, broker.address, log) as process:
        yield process


def offsets(conn: Connection) -> dict[int, int]:
    rows = conn.execute("select partition, next_offset from api.ingest_offsets").fetchall()
    return dict(rows)


class Load:
    """Ticks that go to all partitions while something else happens."""

    def __init__(self, broker: Broker, number: int = LOAD) -> None:
        self._broker = broker
        self._number = number
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        for start in range(0, self._number, CHUNK):
            numbers = range(start, min(start + CHUNK, self._number))
            partition = (start // CHUNK) % PARTITIONS
            self._broker.send(*(message(n) for n in numbers), partition=partition)
            time.sleep(PACE)

    def check(self, conn: Connection) -> None:
        """Every tick that was sent is stored, and none twice."""
        self._thread.join()
        until(lambda: sum(offsets(conn).values()) == self._number, "all offsets stored")
        bids = stored_bids(conn)
        assert len(bids) == self._number
        assert len(set(bids)) == self._number


def test_ticks_are_stored_with_the_offset_after_them(
    running: IngestProcess, broker: Broker, conn: Connection
) -> None:
    broker.send(message(1), message(2))
    broker.send(b"[" + message(3) + b"," + message(4) + b"]", partition=2)
    until(lambda: count(conn) == 4, "four ticks")
    assert offsets(conn) == {0: 2, 2: 1}
    assert conn.execute("select distinct cluster_id, topic from api.ingest_offsets").fetchall() == [
        (broker.cluster, TOPIC)
    ]


def test_bad_messages_are_filed_and_the_rest_counts(
    running: IngestProcess, broker: Broker, conn: Connection
) -> None:
    bad = [b"{", None, b"\xff\x00", message(9, "ABC/DEF"), b'[{"symbol":"EUR/USD"}]']
    broker.send(message(1), *bad, b"[]", message(2))
    until(lambda: offsets(conn) == {0: 8}, "all offsets stored")
    assert count(conn) == 2
    filed = conn.execute(
        "select source, reason, message from api.rejected_ticks order by source"
    ).fetchall()
    source = f"{TOPIC}/0@"
    assert filed == [
        (source + "1", "symbol is missing or unreadable", "{"),
        (source + "2", "symbol is missing or unreadable", "(no value)"),
        (source + "3", "symbol is missing or unreadable", "\\xff\\x00"),
        (source + "4", "unknown symbol", None),
        (source + "5", "time is missing or unreadable", '{"symbol":"EUR/USD"}'),
    ]


def test_each_offset_counts_once_over_kills(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    chance = random.Random(17)
    broker.make_topic()
    load = Load(broker)
    for _ in range(6):
        before = count(conn)
        with ingest(database.dsn, broker.address, log) as process:
            until(lambda before=before: count(conn) > before, "some more ticks")
            time.sleep(chance.uniform(0, 0.1))  # so that the kill falls anywhere in a transaction
            process.kill()
    assert count(conn) < LOAD
    with ingest(database.dsn, broker.address, log):
        load.check(conn)


def test_bars_are_closed_beside_the_ticks_and_over_kills(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    chance = random.Random(18)
    begin = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
    account_id = account(conn, "USD", None)
    conn.execute("select api.record_entry(%s, 'deposit', 1000, %s)", [account_id, begin])
    conn.execute("select api.record_fill(%s, 'EUR/USD', 'buy', 1000, 1.1, %s)", [account_id, begin])
    times = [begin + timedelta(seconds=number / 20) for number in range(6_000)]
    ticks = [
        message(chance.randrange(9_000), ts=at.isoformat(timespec="milliseconds")) for at in times
    ]
    broker.make_topic()
    for first in range(0, 6_000, 1_500):
        with ingest(database.dsn, broker.address, log) as process:
            broker.send(*ticks[first : first + 1_500])
            until(lambda first=first: count(conn) > first + chance.randrange(1_400), "more ticks")
            process.kill()
    with ingest(database.dsn, broker.address, log):
        closed_to = times[-1].replace(microsecond=0) - timedelta(seconds=2)
        until(
            lambda: count(conn, f"api.curve_status where closed_to >= '{closed_to}'"),
            "all bars closed",
        )
    assert conn.execute("select * from api.curve_marks").fetchall() == []
    expected = curve_oracle.bars(curve_oracle.read(conn), closed_to, max_instants=6)
    assert len(expected) > 290
    assert curve_oracle.stored_bars(conn) == expected


def test_a_lost_database_connection_loses_and_doubles_nothing(
    running: IngestProcess, broker: Broker, conn: Connection
) -> None:
    load = Load(broker)
    for goal in (1, 5_000, 10_000, 20_000):
        until(lambda goal=goal: count(conn) >= goal, f"{goal} ticks")
        conn.execute(TERMINATE)
    load.check(conn)
    assert running.logged().count("does not take the ticks") == 4
    assert running.is_running()


def test_a_booking_that_is_left_open_is_named_and_does_not_keep_others_from_booking(
    running: IngestProcess, broker: Broker, database: Database, conn: Connection
) -> None:
    until(lambda: "consuming" in running.logged(), "start")
    accounts = [account(conn), account(conn)]
    with database.connect() as forgotten:
        forgotten.autocommit = False
        entry(forgotten, accounts[0], "deposit", "1")
        broker.send(message(1))
        until(lambda: "api.booking_sessions names" in running.logged(), "a line that says so")
        (session,) = every(conn, "select * from api.booking_sessions where holds_prices")
        assert session["pid"] == forgotten.info.backend_pid
        assert session["state"] == "idle in transaction"
        entry(conn, accounts[1], "deposit", "1")
        forgotten.commit()
        until(lambda: count(conn) == 1, "the tick")


@pytest.fixture
def shut(
    admin: Connection, conn: Connection, running: IngestProcess, broker: Broker
) -> IngestProcess:
    """A running process whose database lets nobody in any more."""
    until(lambda: "consuming" in running.logged(), "start")
    admin.execute(f"alter database {conn.info.dbname} allow_connections false")
    conn.execute(TERMINATE)
    broker.send(message(1))
    until(lambda: "does not take the ticks" in running.logged(), "a line that it tries again")
    return running


def test_it_goes_on_when_the_database_is_back(
    shut: IngestProcess, admin: Connection, conn: Connection
) -> None:
    admin.execute(f"alter database {conn.info.dbname} allow_connections true")
    until(lambda: count(conn) == 1, "the tick")
    until(lambda: "database is back" in shut.logged(), "a line that it goes on")
    assert shut.logged().count("does not take the ticks") == 1


def test_it_stops_when_asked_while_the_database_is_away(shut: IngestProcess) -> None:
    assert shut.stop() == 0


def test_a_database_without_the_schema_is_an_error_with_a_remedy(
    empty_database: Database, broker: Broker, log: Path
) -> None:
    broker.make_topic()
    with ingest(empty_database.dsn, broker.address, log) as process:
        assert process.wait() == 1
        assert "tidemark migrate" in process.logged()


def test_batches_grow_with_the_load(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    numbers = range(MAX_MESSAGES)
    broker.send(*(message(n) for n in numbers))
    with ingest(database.dsn, broker.address, log) as process:
        until(lambda: count(conn) == MAX_MESSAGES, "all ticks")
        (sizes,) = zip(
            *conn.execute("select count(*) from market.ticks group by xmin::text").fetchall(),
            strict=True,
        )
        assert len(sizes) < 20
        assert process.stop() == 0
    assert stored_bids(conn)[-1] == stored_bids(conn)[0] + (MAX_MESSAGES - 1) * (
        stored_bids(conn)[1] - stored_bids(conn)[0]
    )


def test_a_second_process_on_the_same_topic_is_refused(
    running: IngestProcess, broker: Broker, conn: Connection, database: Database, tmp_path: Path
) -> None:
    broker.send(message(1))
    until(lambda: count(conn) == 1, "first tick")
    with ingest(database.dsn, broker.address, tmp_path / "second.log") as second:
        until(lambda: "consuming" in second.logged(), "second process")
        until(
            lambda: broker.send(message(2)) or not (running.is_running() and second.is_running()),
            "one of them ended",
        )
        loser = running if not running.is_running() else second
        assert loser.wait() == 1
        assert "another process stores the same topic" in loser.logged()
    both = conn.execute(  # at one moment, since the winner goes on
        "select (select count(*) from market.ticks), (select sum(next_offset)"
        " from api.ingest_offsets)"
    ).fetchone()
    assert both is not None
    assert both[0] == both[1]


def test_an_offset_that_the_topic_lost_is_an_error_with_a_remedy(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    broker.send(message(1), message(2))
    conn.execute(
        "insert into market.ingest_offsets values (%s, %s, 0, 900, now())", [broker.cluster, TOPIC]
    )
    with ingest(database.dsn, broker.address, log) as process:
        assert process.wait() == 1
        assert f"offset 900 of {TOPIC}/0 is next, but the topic holds 0 to 2" in process.logged()
        remedy = process.logged().split("run in psql: ")[1].strip()
    conn.execute(remedy)
    with ingest(database.dsn, broker.address, log):
        until(lambda: count(conn) == 2, "both ticks")


def test_one_remedy_is_enough_for_all_partitions(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    broker.send(message(1), message(2))
    broker.send(message(3), partition=1)
    broker.send(message(4), partition=2)
    conn.execute(
        "insert into market.ingest_offsets"
        " select %s, %s, partition, next, now() from (values (0, 900), (1, 800), (2, 1))"
        " as v (partition, next)",
        [broker.cluster, TOPIC],
    )
    with ingest(database.dsn, broker.address, log) as process:
        assert process.wait() == 1
        assert f"offset 900 of {TOPIC}/0 is next, but the topic holds 0 to 2" in process.logged()
        assert f"offset 800 of {TOPIC}/1 is next, but the topic holds 0 to 1" in process.logged()
        remedy = process.logged().split("run in psql: ")[1].strip()
    conn.execute(remedy)
    with ingest(database.dsn, broker.address, log):
        until(lambda: count(conn) == 3, "the ticks of two partitions")
    assert offsets(conn) == {0: 2, 1: 1, 2: 1}


def test_an_error_of_one_partition_does_not_double_the_ticks_of_another(
    running: IngestProcess, broker: Broker, conn: Connection
) -> None:
    until(lambda: "consuming" in running.logged(), "start")
    running.signal(signal.SIGSTOP)
    # More than the broker keeps of a partition: offset 0, where the process stands, is gone.
    broker.send(*[bytes(900_000)] * 7, partition=0)
    broker.send(message(1), message(2), partition=1)
    running.signal(signal.SIGCONT)
    until(lambda: offsets(conn).keys() == {0, 1}, "both partitions")
    broker.send(message(3), partition=1)
    until(lambda: count(conn) >= 3, "the last tick")
    assert len(stored_bids(conn)) == 3
    assert conn.execute("select distinct cluster_id from api.ingest_offsets").fetchall() == [
        (broker.cluster,)
    ]


def test_ticks_before_the_oldest_offset_of_a_new_cluster_are_not_missed_in_silence(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    broker.send(message(1), message(2))
    with ingest(database.dsn, broker.address, log) as process:
        until(lambda: count(conn) == 2, "both ticks")
        assert "a cluster that is new here" in process.logged()


def test_it_waits_for_the_topic(
    database: Database, broker: Broker, conn: Connection, log: Path
) -> None:
    with ingest(database.dsn, broker.address, log) as process:
        until(lambda: "waiting for the topic" in process.logged(), "a line that it waits")
        broker.send(message(1))
        until(lambda: count(conn) == 1, "the tick")
        assert process.logged().count("waiting for the topic") == 1
        assert process.stop() == 0


def test_it_waits_for_the_cluster_and_says_so_once(database: Database, log: Path) -> None:
    with ingest(database.dsn, "127.0.0.1:1", log) as process:
        until(lambda: "cluster not reachable" in process.logged(), "a line that it waits")
        assert process.stop() == 0
        assert process.logged().count("cluster not reachable") == 1


def test_a_broker_that_goes_away_is_waited_for(
    database: Database, conn: Connection, log: Path
) -> None:
    broker = Broker()
    broker.send(message(1))
    with ingest(database.dsn, broker.address, log) as process:
        until(lambda: count(conn) == 1, "the tick")
        del broker
        until(lambda: "cluster not reachable" in process.logged(), "a line that it waits")
        assert process.stop() == 0
        assert process.logged().count("cluster not reachable") == 1


def test_a_database_that_is_not_there_at_the_start_is_an_error(
    database: Database, broker: Broker, log: Path
) -> None:
    with ingest(database.dsn + "_not", broker.address, log) as process:
        assert process.wait() == 1
        assert "no connection to the database" in process.logged()


def test_it_stops_when_asked(running: IngestProcess) -> None:
    until(lambda: "consuming" in running.logged(), "start")
    assert running.stop() == 0
    assert "stopped" in running.logged()


def test_fills_beside_ticks_of_several_partitions_meet_no_deadlock(
    running: IngestProcess, broker: Broker, conn: Connection
) -> None:
    account_id = account(conn)
    for symbol in SYMBOLS:
        fill(conn, account_id, symbol, "buy", "1", "1.0")

    def send() -> None:
        for number in range(2_000):
            for partition, symbol in enumerate(SYMBOLS):
                broker.send(message(number, symbol), partition=partition)

    sending = threading.Thread(target=send)
    sending.start()
    while sending.is_alive():
        for symbol in SYMBOLS:
            fill(conn, account_id, symbol, "buy", "1", "1.0")
    sending.join()
    until(lambda: count(conn) == 2_000 * len(SYMBOLS), "all ticks stored")
    assert_sound(conn)


def test_a_topic_made_anew_stops_ingest_with_the_remedy(
    database: Database, broker: Broker, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded broker gives topics no id, so the ids are given here."""
    broker.make_topic()
    broker.send(message(1))

    def store_one(topic_id: str) -> None:
        monkeypatch.setattr(kafka, "topic_id", lambda *_: topic_id)
        stop, before = Stop(), count(conn)

        def stop_when_stored() -> None:
            with database.connect() as watching:
                while count(watching) == before and not is_over.wait(0.01):
                    pass
            stop.set()

        is_over = threading.Event()
        threading.Thread(target=stop_when_stored).start()
        try:
            with closing(Ingest(database.dsn, broker.address, TOPIC, stop)) as running:
                running.serve()
        finally:
            is_over.set()

    store_one("first")
    with pytest.raises(FeedError, match="was made anew") as refused:
        store_one("second")
    conn.execute(refused.value.remedy.split("psql: ")[1].encode())
    store_one("second")
    rows = conn.execute("select next_offset, topic_id from api.ingest_offsets").fetchall()
    assert rows == [(1, "second")]
