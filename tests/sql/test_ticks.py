"""Ticks: quotes move forward, what cannot be true is kept aside, offsets count once."""

from datetime import timedelta

import psycopg
import pytest

from tests.factories import (
    START,
    Connection,
    D,
    account,
    assert_sound,
    every,
    fill,
    instrument,
    one,
    state,
    tick,
    ticks,
    timeless_state,
)


@pytest.fixture(autouse=True)
def eur_usd(conn: Connection) -> int:
    """EUR/USD; its instrument_id."""
    number: int = instrument(conn, "EUR/USD")["instrument_id"]
    return number


def quote(conn: Connection, symbol: str = "EUR/USD") -> tuple[object, object]:
    row = one(conn, "select bid, ask from api.quotes where symbol = %s", [symbol])
    return row["bid"], row["ask"]


def test_the_newest_tick_of_a_batch_becomes_the_quote(conn: Connection) -> None:
    answer = ticks(
        conn,
        ("EUR/USD", 2, "1.2", "1.21"),
        ("EUR/USD", 3, "1.3", "1.31"),
        ("EUR/USD", 1, "1.1", "1.11"),
    )
    assert answer == {"accepted": 3, "rejected": 0}
    assert quote(conn) == (D("1.3"), D("1.31"))
    assert_sound(conn)


def test_of_the_same_instant_the_last_to_arrive_counts(conn: Connection) -> None:
    ticks(conn, ("EUR/USD", 1, "1.2", "1.21"), ("EUR/USD", 1, "1.3", "1.31"))
    assert quote(conn) == (D("1.3"), D("1.31"))
    tick(conn, "EUR/USD", 1, "1.4", "1.41")
    assert quote(conn) == (D("1.4"), D("1.41"))
    assert_sound(conn)


def test_a_late_tick_is_kept_but_moves_nothing(conn: Connection) -> None:
    account_id = account(conn)
    tick(conn, "EUR/USD", 10, "1.2", "1.21")
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.2")
    before = timeless_state(conn, account_id)
    tick(conn, "EUR/USD", 5, "9", "9.1")
    assert quote(conn) == (D("1.2"), D("1.21"))
    assert timeless_state(conn, account_id) == before
    assert len(every(conn, "select * from api.ticks")) == 2
    assert_sound(conn)


def test_a_plain_insert_and_a_copy_value_accounts_too(conn: Connection, eur_usd: int) -> None:
    account_id = account(conn)
    fill(conn, account_id, "EUR/USD", "buy", "100", "1.0")
    conn.execute(
        "insert into market.ticks (instrument_id, event_at, bid, ask) values (%s, %s, 1.5, 1.6)",
        [eur_usd, START],
    )
    assert state(conn, account_id)["unrealized_pnl"] == D("50.00")
    with conn.cursor().copy(
        "copy market.ticks (instrument_id, event_at, bid, ask) from stdin"
    ) as copy:
        copy.write_row((eur_usd, START + timedelta(seconds=1), D("1.7"), D("1.8")))
    assert state(conn, account_id)["unrealized_pnl"] == D("70.00")
    assert_sound(conn)


def test_a_plain_insert_of_what_cannot_be_is_refused(conn: Connection, eur_usd: int) -> None:
    insert = "insert into market.ticks (instrument_id, event_at, bid, ask) values (%s, %s, %s, %s)"
    for bid, ask in [
        ("0", "1"),
        ("2", "1"),
        ("NaN", "NaN"),
        ("1", "Infinity"),
        ("1", "1.00000000001"),
    ]:
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(insert, [eur_usd, START, bid, ask])
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(insert, [eur_usd + 1, START, "1", "1"])
    assert refused.value.sqlstate == "TM203"


@pytest.mark.parametrize("event_at", ["'infinity'", "'1969-12-31'", "now() + interval '2 minutes'"])
def test_a_plain_insert_of_an_impossible_time_keeps_no_other_tick_out(
    conn: Connection, eur_usd: int, event_at: str
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(
            "insert into market.ticks (instrument_id, event_at, bid, ask) "
            f"values (%s, {event_at}, 1, 1)",
            [eur_usd],
        )
    assert refused.value.sqlstate == "TM204"
    assert every(conn, "select from api.quotes") == []


def test_bad_ticks_are_kept_aside_with_the_reason_and_the_rest_counts(conn: Connection) -> None:
    bad = [
        ("EUR/XXX", START, "1", "1", "unknown symbol"),
        (None, START, "1", "1", "symbol is missing or unreadable"),
        ("EUR/USD", None, "1", "1", "time is missing or unreadable"),
        ("EUR/USD", START, None, "1", "price is missing or unreadable"),
        ("EUR/USD", START, "0", "1", "price is not positive"),
        ("EUR/USD", START, "-1", "1", "price is not positive"),
        ("EUR/USD", START, "NaN", "1", "price is not finite"),
        ("EUR/USD", START, "1", "Infinity", "price is not finite"),
        ("EUR/USD", START, "1.2", "1.1", "bid is above ask"),
        ("EUR/USD", START, "1.00000000001", "1.1", "price has more than 10 decimals"),
        ("EUR/USD", "infinity", "1", "1", "time is not finite"),
        ("EUR/USD", "2999-01-01", "1", "1", "time is in the future"),
        ("EUR/USD", "1969-12-31", "1", "1", "time is before 1970"),
        ("EUR/USD", START, "1", "1e15", "price is out of range"),
    ]
    good = ("EUR/USD", START, "1.1", "1.2", None)
    rows = [*bad, good]
    answer = one(
        conn,
        "select * from api.ingest_ticks(%s::text[], %s::text[]::timestamptz[], "
        "%s::text[]::numeric[], %s::text[]::numeric[], p_sources => %s)",
        [
            *([row[column] and str(row[column]) for row in rows] for column in range(4)),
            [f"file:{number}" for number in range(len(rows))],
        ],
    )
    assert answer == {"accepted": 1, "rejected": len(bad)}
    assert quote(conn) == (D("1.1"), D("1.2"))
    kept = every(conn, "select reason, source from api.rejected_ticks order by source::text")
    assert {row["source"]: row["reason"] for row in kept} == {
        f"file:{number}": row[4] for number, row in enumerate(bad)
    }


def test_an_empty_batch_is_fine(conn: Connection) -> None:
    answer = one(conn, "select * from api.ingest_ticks('{}', '{}', '{}', '{}')")
    assert answer == {"accepted": 0, "rejected": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        "null, null, null, null",
        "array['EUR/USD'], '{}', '{}', '{}'",
        "'{}', '{}', '{}', '{}', 'c'",
        "'{}', '{}', '{}', '{}', 'c', 't', 0, 5, 4",
        "'{}', '{}', '{}', '{}', 'c', 't', 0, -1, 4",
        "'{}', '{}', '{}', '{}', p_sources => array['x']",
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(conn: Connection, arguments: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select api.ingest_ticks({arguments})")
    assert refused.value.sqlstate == "TM202"


def test_offsets_move_with_the_ticks_and_refuse_overlap_and_gap(conn: Connection) -> None:
    def batch(first: int, following: int) -> None:
        conn.execute(
            "select api.ingest_ticks(array['EUR/USD'], array[%s::timestamptz], '{1.1}', '{1.2}', "
            "'cluster', 'topic', 0, %s, %s)",
            [START, first, following],
        )

    batch(100, 101)  # a cluster that was not seen before starts where the caller says
    batch(101, 105)
    for first in (101, 104, 106):
        with pytest.raises(psycopg.Error) as refused:
            batch(first, first + 1)
        assert refused.value.sqlstate == "TM201"
    assert len(every(conn, "select * from api.ticks")) == 2
    assert one(conn, "select next_offset from api.ingest_offsets")["next_offset"] == 105


def test_offsets_of_a_topic_made_anew_are_refused(conn: Connection) -> None:
    def batch(first: int, topic_id: str | None) -> None:
        conn.execute(
            "select api.ingest_ticks('{}', '{}', '{}', '{}', 'cluster', 'topic', 0, %s, %s,"
            " p_topic_id => %s)",
            [first, first + 1, topic_id],
        )

    for first, topic_id in enumerate([None, "a", "a", None]):
        batch(first, topic_id)
    assert one(conn, "select next_offset, topic_id from api.ingest_offsets") == {
        "next_offset": 4,
        "topic_id": "a",
    }
    with pytest.raises(psycopg.Error) as refused:
        batch(4, "b")
    assert refused.value.sqlstate == "TM201"


def test_a_second_feeder_of_a_partition_waits_and_is_refused(database, conn: Connection) -> None:  # type: ignore[no-untyped-def]
    call = "select api.ingest_ticks('{}', '{}', '{}', '{}', 'cluster', 'topic', 0, 0, 10)"
    conn.autocommit = False
    conn.execute(call)
    with database.connect() as other:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("set lock_timeout = '100ms'").connection.execute(call)
        conn.commit()
        with pytest.raises(psycopg.Error) as refused:
            other.execute(call)
    assert refused.value.sqlstate == "TM201"


def test_ticks_ring_the_doorbell_once_a_statement(database, conn: Connection) -> None:  # type: ignore[no-untyped-def]
    with database.connect() as listener:
        listener.execute("listen tidemark_prices")
        ticks(conn, *[("EUR/USD", second, "1.1", "1.2") for second in range(50)])
        assert [n.payload for n in listener.notifies(timeout=5, stop_after=1)] == [""]
        assert list(listener.notifies(timeout=0.05)) == []
