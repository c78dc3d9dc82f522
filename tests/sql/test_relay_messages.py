"""What the relay reads: the same figures as the views, the history asked for, and nothing else."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from glue.relay import CHANNELS
from glue.relay.frames import snapshot_message
from tests import contract
from tests.factories import (
    START,
    Connection,
    Row,
    account,
    every,
    instrument,
    one,
    tick,
    ticks,
)

STATE = """
    select s.*, a.name, a.position_mode, m.fresh_until
    from api.account_states s
    join api.accounts a using (account_id)
    left join equity.account_margins m using (account_id)
    where account_id = %s
"""
POSITIONS = """
    select p.*, v.fresh_until
    from api.positions p
    join market.instruments i using (symbol)
    join equity.position_values v
        on v.account_id = p.account_id and v.instrument_id = i.instrument_id
        and (v.quantity > 0) = (p.side = 'long')
    where p.account_id = %s
    order by symbol, side
"""


def open_account(conn: Connection, deposit: str | None, **terms: Any) -> int:
    account_id = account(conn, deposit=None, **terms)
    if deposit is not None:
        entry(conn, account_id, "deposit", deposit, second=1)
    return account_id


def entry(conn: Connection, account_id: int, kind: str, amount: str, second: int) -> None:
    """A cash movement, in the time of the ticks."""
    conn.execute(
        "select api.record_entry(%s, %s, %s::numeric, %s)",
        [account_id, kind, amount, START + timedelta(seconds=second)],
    )


def fill(
    conn: Connection,
    account_id: int,
    symbol: str,
    side: str,
    quantity: str,
    price: str,
    effect: str = "auto",
    commission: str = "0",
) -> None:
    """A trade, in the time of the ticks."""
    conn.execute(
        "select api.record_fill(%s, %s, %s, %s::numeric, %s::numeric, %s,"
        " p_commission => %s::numeric, p_effect => %s)",
        [
            account_id,
            symbol,
            side,
            quantity,
            price,
            START + timedelta(seconds=3),
            commission,
            effect,
        ],
    )


@pytest.fixture
def book(conn: Connection) -> dict[str, int]:
    """Accounts of all kinds, some with a drawdown and some without a price."""
    for symbol in ("EUR/USD", "USD/JPY", "GBP/JPY", "EUR/GBP"):
        instrument(conn, symbol, margin_rate="0.0333")
    instrument(conn, "XAU/USD", contract_size="100")
    instrument(conn, "XAG/USD")  # never gets a price
    ticks(
        conn,
        ("EUR/USD", 0, "1.10000", "1.10010"),
        ("USD/JPY", 0, "150.000", "150.020"),
        ("GBP/JPY", 1, "190.100", "190.140"),
        ("EUR/GBP", 2, "0.85000", "0.85020"),
        ("XAU/USD", 0, "2400.10", "2400.60"),
    )
    accounts = {
        "netting": open_account(conn, "10000", name='Quote " and \\ and\nline \u00e9'),
        "yen": open_account(conn, "1000000", currency="JPY", scale=0),
        "hedging": open_account(conn, "10000.00", currency="EUR", mode="hedging"),
        "net margin": open_account(conn, "500", currency="GBP", mode="hedging", scale=4),
        "unpriced": open_account(conn, "10000"),
        "empty": open_account(conn, None),
        "flat": open_account(conn, "10000"),
        "ruined": open_account(conn, "10"),
    }
    conn.execute(
        "update ledger.accounts set hedged_margin = 'net' where account_id = %s",
        [accounts["net margin"]],
    )
    fill(conn, accounts["netting"], "EUR/USD", "buy", "3333.33", "1.09731", commission="0.35")
    fill(conn, accounts["netting"], "GBP/JPY", "sell", "700", "189.9")
    fill(conn, accounts["netting"], "XAU/USD", "buy", "0.03", "2400.55")
    fill(conn, accounts["yen"], "EUR/GBP", "sell", "12345", "0.84999")
    for name in ("hedging", "net margin"):
        fill(conn, accounts[name], "EUR/USD", "buy", "1000", "1.1", effect="open")
        fill(conn, accounts[name], "EUR/USD", "sell", "700.5", "1.1003", effect="open")
        fill(conn, accounts[name], "USD/JPY", "sell", "50", "149.9", effect="open")
    fill(conn, accounts["unpriced"], "EUR/USD", "buy", "1", "1.1")
    fill(conn, accounts["unpriced"], "XAG/USD", "buy", "1", "30")
    fill(conn, accounts["flat"], "EUR/USD", "buy", "10000", "1.1001")
    fill(conn, accounts["flat"], "EUR/USD", "sell", "10000", "1.1")
    fill(conn, accounts["ruined"], "EUR/USD", "buy", "20000", "1.1001")
    tick(conn, "EUR/USD", 5, "1.10500", "1.10510")
    entry(conn, accounts["netting"], "withdrawal", "-17.25", second=6)
    entry(conn, accounts["netting"], "credit", "5", second=7)
    tick(conn, "EUR/USD", 8, "1.09100", "1.09110")
    tick(conn, "EUR/USD", 30, "1.09200", "1.09210")
    conn.execute("call api.close_bars()")
    tick(conn, "EUR/USD", 31, "1.09050", "1.09060")
    return accounts


def as_json(value: object) -> object:
    """What a column of a view is on the wire."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def like(row: Row, names: Any) -> Row:
    return {name: as_json(row[name]) for name in names}


def snapshot(conn: Connection, *account_ids: int, **since: dict[int, int]) -> dict[str, Any]:
    held = since.get("since", {})
    text = one(
        conn,
        "select api.snapshot_message(%s::bigint[], %s::bigint[], %s::bigint[], '{}', null) as text",
        [list(account_ids), list(held), list(held.values())],
    )["text"]
    message: dict[str, Any] = json.loads(snapshot_message(text, may_acknowledge=False))
    return message


def post(conn: Connection, account_id: int, alert_id: int, is_open: bool = True) -> None:
    body = {
        "alert_id": alert_id,
        "kind": "test",
        "severity": "info",
        "status": "raised" if is_open else "resolved",
        "title": "t",
        "message": "m",
        "raised_at": as_json(START),
        "resolved_at": None,
        "discrepancy_id": None,
    }
    conn.execute(
        "select ledger.post_event(%s, 'alert', %s, %s, %s)",
        [account_id, alert_id, is_open, json.dumps(body)],
    )


def test_every_figure_is_that_of_the_views(conn: Connection, book: dict[str, int]) -> None:
    conn.execute("set timezone = 'Asia/Kathmandu'")
    message = snapshot(conn, *book.values())
    contract.check(message, "fromRelay")
    assert [portfolio["account_id"] for portfolio in message["accounts"]] == sorted(book.values())
    for portfolio in message["accounts"]:
        shown = portfolio["state"]
        assert shown == like(one(conn, STATE, [portfolio["account_id"]]), shown)
        rows = every(conn, POSITIONS, [portfolio["account_id"]])
        assert portfolio["positions"] == [
            like(row, given) for row, given in zip(rows, portfolio["positions"], strict=True)
        ]
    by_id = {portfolio["account_id"]: portfolio for portfolio in message["accounts"]}
    assert by_id[book["unpriced"]]["state"]["equity"] is None
    assert by_id[book["ruined"]]["state"]["margin_state"] == "close_out"
    assert by_id[book["ruined"]]["state"]["drawdown_pct"] is None
    assert by_id[book["netting"]]["state"]["drawdown"] != "0.00"
    assert [p["side"] for p in by_id[book["hedging"]]["positions"]][:2] == ["long", "short"]


def test_the_snapshot_for_psql_is_the_same(conn: Connection, book: dict[str, int]) -> None:
    message = snapshot(conn, *book.values())
    conn.execute("set role tidemark_readonly")
    found = one(conn, "select api.portfolio_snapshot(%s) as found", [list(book.values())])["found"]
    assert found["accounts"] == message["accounts"]
    assert set(found) == {"as_of", "accounts", "totals"}


def test_changes_are_those_accounts_that_are_not_as_held(
    conn: Connection, book: dict[str, int]
) -> None:
    held = every(
        conn,
        "select account_id, version, last_event_seq from equity.account_states"
        " join ledger.accounts using (account_id) order by 1",
    )

    def changes() -> list[Row]:
        return every(
            conn,
            "select * from api.portfolio_changes(%s, %s, %s)",
            [[row[name] for row in held] for name in ("account_id", "version", "last_event_seq")],
        )

    assert changes() == []
    post(conn, book["empty"], 1)
    fill(conn, book["flat"], "EUR/USD", "buy", "1", "1.1")
    found = {row["account_id"]: row for row in changes()}
    assert set(found) == {book["empty"], book["flat"]}
    (alert,) = map(json.loads, found[book["empty"]]["events"])
    contract.check(alert, "fromRelay")
    assert (alert["type"], alert["event_seq"]) == ("alert", 1)
    recorded = one(conn, "select recorded_at from ledger.events")["recorded_at"]
    assert datetime.fromisoformat(alert["recorded_at"]) == recorded
    (trade,) = map(json.loads, found[book["flat"]]["events"])
    assert (trade["type"], trade["event_seq"]) == ("trade", 3)
    assert found[book["flat"]]["state"] == json.dumps(
        snapshot(conn, book["flat"])["accounts"][0]["state"],
        separators=(",", ":"),
        ensure_ascii=False,
    )


def test_of_a_thousand_accounts_only_those_asked_for_are_read(conn: Connection) -> None:
    conn.execute("select api.open_account('Account ' || n, 'USD') from generate_series(1, 1000) n")
    conn.execute("analyze")
    conn.execute("begin")
    conn.execute("select relay.portfolios('{1, 2}')")
    scanned = one(
        conn,
        "select array_agg(relname::text order by relname) filter (where seq_scan > 0) as wholly,"
        " array_agg(relname::text order by relname) filter (where idx_scan > 0) as by_key"
        " from pg_stat_xact_user_tables"
        " where relname in ('accounts', 'account_states', 'curves')",
    )
    conn.execute("rollback")
    assert scanned == {"wholly": None, "by_key": ["account_states", "accounts", "curves"]}


def test_a_trade_tells_when_it_was_committed(conn: Connection, book: dict[str, int]) -> None:
    fill(conn, book["flat"], "EUR/USD", "buy", "1", "1.1")
    (text,) = one(conn, "select relay.events_after(%s, 2) as events", [book["flat"]])["events"]
    trade = json.loads(text)
    if one(conn, "show track_commit_timestamp")["track_commit_timestamp"] == "off":
        assert trade["committed_at"] is None
        return
    committed = datetime.fromisoformat(trade["committed_at"])
    recorded = datetime.fromisoformat(trade["fill"]["recorded_at"])
    assert timedelta(0) <= committed - recorded < timedelta(seconds=5)


def test_history_is_short_or_reaches_back_to_what_is_held(
    conn: Connection, book: dict[str, int]
) -> None:
    account_id = book["flat"]
    for _ in range(598):
        fill(conn, account_id, "EUR/USD", "buy", "1", "1.1")

    def history(since: int | None) -> tuple[int, list[int]]:
        held = {} if since is None else {account_id: since}
        (portfolio,) = snapshot(conn, account_id, since=held)["accounts"]
        return portfolio["history_from"], [row["event_seq"] for row in portfolio["fills"]]

    assert history(None) == (551, list(range(600, 550, -1)))
    assert history(580) == (551, list(range(600, 550, -1)))
    assert history(300) == (301, list(range(600, 300, -1)))
    assert history(20) == (101, list(range(600, 100, -1)))
    assert history(9999) == (551, list(range(600, 550, -1))), "the database was set back"


def test_histories_of_many_accounts_share_what_a_snapshot_can_hold(
    conn: Connection, book: dict[str, int]
) -> None:
    account_ids = [account(conn, "USD", None) for _ in range(15)]
    conn.execute(
        "select api.record_fill(a.account_id, 'EUR/USD', 'buy', 1, 1.1)"
        " from unnest(%s::bigint[]) a (account_id), generate_series(1, 500)",
        [account_ids],
    )
    quiet = book["flat"]

    def lengths(since: dict[int, int]) -> list[int]:
        message = snapshot(conn, *account_ids, quiet, since=since)
        return [
            len(portfolio["fills"])
            for portfolio in message["accounts"]
            if portfolio["account_id"] != quiet
        ]

    assert lengths({}) == [50] * 15
    assert lengths(dict.fromkeys(account_ids[:11], 0)) == [500] * 11 + [50] * 4
    assert lengths(dict.fromkeys([*account_ids, quiet], 0)) == [50 + 5000 // 15] * 15
    assert lengths(dict.fromkeys(account_ids[:14], 0) | {account_ids[14]: 390}) == [
        *[50 + 5000 * 450 // (14 * 450 + 60)] * 14,
        50 + 5000 * 60 // (14 * 450 + 60),
    ]


def test_what_is_open_is_told_however_old(conn: Connection, book: dict[str, int]) -> None:
    account_id = book["flat"]  # two fills
    for alert_id, is_open in ((1, True), (2, True), (2, False), (3, True), (3, True)):
        post(conn, account_id, alert_id, is_open)  # events 3 to 7

    def events() -> list[tuple[int, int]]:
        (portfolio,) = snapshot(conn, account_id)["accounts"]
        return [(event["event_seq"], event["alert"]["alert_id"]) for event in portfolio["events"]]

    assert events() == [(7, 3), (6, 3), (5, 2), (4, 2), (3, 1)]
    for _ in range(60):
        fill(conn, account_id, "EUR/USD", "buy", "1", "1.1")
    assert events() == [(7, 3), (3, 1)]


def test_totals_are_those_of_the_portfolio(conn: Connection, book: dict[str, int]) -> None:
    ids = [book["netting"], book["yen"], book["hedging"]]
    row = one(conn, "select * from api.portfolio_totals(%s, 'GBP')", [ids])
    text = one(conn, "select api.totals_message(%s, 'GBP') as text", [ids])["text"]
    message = json.loads(text)
    contract.check(message, "fromRelay")
    assert message["totals"] == like(row, row) | {"unlinked_currency": None}


def test_totals_without_a_way_to_the_currency_are_unknown(
    conn: Connection, book: dict[str, int]
) -> None:
    ids = [book["netting"], book["flat"]]
    text = one(conn, "select api.totals_message(%s, 'SEK') as text", [ids])["text"]
    message = json.loads(text)
    contract.check(message, "fromRelay")
    totals = message["totals"]
    assert (totals["unlinked_currency"], totals["accounts"]) == ("USD", 2)
    assert (totals["balance"], totals["is_priced"]) == (None, False)


def test_curve_has_the_extremes_of_equity_and_drawdown(
    conn: Connection, book: dict[str, int]
) -> None:
    ranges = [(START, START + timedelta(minutes=5)), (START, datetime.now(UTC))]
    for (begin, end), points_at_most in itertools.product(ranges, (2, 400)):
        arguments = [book["netting"], begin, end, points_at_most]
        text = one(conn, "select api.curve_columns(%s, %s, %s, %s) as text", arguments)["text"]
        columns = json.loads(text)
        points = every(conn, "select * from api.equity_curve_points(%s, %s, %s, %s)", arguments)
        width = one(conn, "select equity.chart_bucket(%s, %s, %s, %s) as width", arguments)
        falls = every(
            conn,
            "select * from api.drawdown_series(%s, %s, %s, %s)",
            [*arguments[:3], width["width"]],
        )
        assert 0 < len(columns["at"]) == len(points) == len(falls) <= points_at_most
        for name, rows, column in (
            *((name, points, name) for name in ("open", "high", "low", "close", "performance")),
            ("at", points, "bucket_at"),
            ("drawdown", falls, "deepest"),
            ("drawdown_pct", falls, "deepest_pct"),
        ):
            assert columns[name] == [as_json(row[column]) for row in rows], name


def test_an_empty_range_has_no_curve(conn: Connection, book: dict[str, int]) -> None:
    with pytest.raises(psycopg.Error) as refused:
        conn.execute("select api.curve_columns(%s, now(), now(), 9)", [book["flat"]])
    assert refused.value.sqlstate == "TM160"


EXECUTABLE = [
    "api.acknowledge_with_token",
    "api.broker_changes",
    "api.curve_columns",
    "api.open_sessions",
    "api.portfolio_changes",
    "api.rolled_up_before",  # for everybody, since views call it
    "api.snapshot_message",
    "api.timeline_id",
    "api.totals_message",
]


FOREIGN = [
    "_timescaledb_functions.drop_chunk({chunk}::oid)",
    "_timescaledb_functions.freeze_chunk({chunk}::oid)",
    "public.compress_chunk({chunk}::oid)",
    "public.reorder_chunk({chunk}::oid)",
    "public.drop_chunks({table}::oid, older_than => interval '0')",
    "public.set_chunk_time_interval({table}::oid, interval '1 hour')",
    "public.attach_tablespace('pg_default', {table}::oid)",
    "public.add_retention_policy({table}::oid, interval '1 day')",
    "public.add_job('_timescaledb_functions.policy_retention', '1 hour')",
    "_timescaledb_functions.stop_background_workers()",
    "public.timescaledb_pre_restore()",
]
"""Functions of TimescaleDB that change something; by number a table is found in any schema."""
REFUSED = {
    "42501",  # insufficient privilege
    "28000",  # a role that cannot log in has no jobs
    "0A000",  # the Apache edition does not have it
}


def test_the_relay_may_do_what_it_does_and_nothing_else(
    conn: Connection, book: dict[str, int]
) -> None:
    numbers = one(
        conn,
        "select c.oid as chunk, p.inhparent as table from pg_inherits p"
        " join pg_class c on c.oid = p.inhrelid"
        " where p.inhparent = 'market.ticks'::regclass limit 1",
    )
    conn.execute("set role tidemark_relay")
    allowed = every(
        conn,
        "select distinct format('%s.%s', nspname, proname) as name from pg_proc p"
        " join pg_namespace n on n.oid = pronamespace"
        " where proowner = 'tidemark_owner'::regrole and has_schema_privilege(n.oid, 'usage')"
        " and has_function_privilege(p.oid, 'execute') order by 1",
    )
    assert [row["name"] for row in allowed] == EXECUTABLE
    relations = every(
        conn,
        "select format('%I.%I', nspname, relname) as name from pg_class c"
        " join pg_namespace n on n.oid = relnamespace where relowner = 'tidemark_owner'::regrole"
        " and relkind in ('r', 'v', 'm', 'p', 'S') order by 1",
    )
    schemas = {row["name"].partition(".")[0] for row in relations}
    assert schemas >= {"market", "ledger", "equity", "recon", "relay", "api"}
    assert "_timescaledb_internal" in schemas, "chunks are read past their tables"
    for row in relations:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"select from {row['name']}".encode())
    for statement in (
        "select api.record_entry(1, 'deposit', 1)",
        "select api.record_fill(1, 'EUR/USD', 'buy', 1, 1)",
        "select api.issue_token('mine')",
        "select api.acknowledge_discrepancy(1, 'me')",
        "select relay.snapshot('{}', '{}', '{}', '{}', null)",
        "select ledger.post_event(1, 'alert', 1, true, '{}')",
        "create table public.mine ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement.encode())
    for call in FOREIGN:
        with pytest.raises(psycopg.Error) as refused:
            conn.execute(f"select {call.format(**numbers)}".encode())
        assert refused.value.sqlstate in REFUSED, call
    for channel in CHANNELS:
        conn.execute(f"listen {channel}".encode())
