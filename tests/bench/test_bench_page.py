"""From a trade's commit to the screen, and from an open socket to a whole portfolio on it.

The page is the built one in Chromium, served by a relay process, while a feeder process stores
5,000 ticks/s and bars are closed. Commits are timed by the database (`pg_xact_commit_timestamp`),
what the page does by the page's own clock (`performance.timeOrigin + performance.now()`), on one
machine. A row of the trade is in the DOM when a MutationObserver sees it, and painted when a
message that was posted inside the next animation frame arrives. Of 50 positions those are in the
DOM that are in sight, or nearly.

Between every two trades the same page shows one in the simplest way that people write: a row of a
plain table, its NOTIFY sent on as it is (naive_relay.py), and one line put into the document.
"""

import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple

import pytest

from glue import wire
from glue.curve import CurveKeeper
from tests.bench import bare_browser, books
from tests.bench.bare_browser import Protocol
from tests.bench.feeder import RATE, Feeder, quotes_of
from tests.bench.naive_relay import FILLS, NaiveRelay
from tests.bench.report import milliseconds, percentile, table
from tests.bench.test_bench_curve_storage import DAYS as CURVE_DAYS
from tests.bench.test_bench_curve_storage import HOURS, close_bars, roll_up, walk
from tests.conftest import Connection, Database
from tests.factories import account, every, fill, instrument, one
from tests.glue.relays import Relay, running_relay

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

TRADES = int(os.environ.get("TIDEMARK_BENCH_TRADES", "500"))
PAUSE = 0.08
"""Seconds between two trades, at the mean."""
NAIVE_FILL = """
insert into public.naive_fills (account_id, symbol, side, quantity, price)
values (1, %s, %s, %s, 1.2) returning fill_id
"""
LOADS = int(os.environ.get("TIDEMARK_BENCH_LOADS", "200"))
"""Times that the page is opened."""

WATCH_TRADES = """
(() => {
    const now = () => performance.timeOrigin + performance.now();
    const watch = () => ({ arrived: {}, dom: {}, painted: {} });
    const seen = (window.seenTrades = { ours: watch(), naive: watch() });
    const Native = window.WebSocket;
    window.WebSocket = class extends Native {
        constructor(...args) {
            super(...args);
            this.addEventListener('message', ({ data }) => {
                if (!data.startsWith('{"type":"trade"')) return;
                seen.ours.arrived[/"fill_id": ?(\\d+)/.exec(data)[1]] = now();
            });
        }
    };
    const note = (row) => {
        const { fillId, naiveId } = row.dataset;
        const id = fillId ?? naiveId;
        const { dom, painted } = fillId === undefined ? seen.naive : seen.ours;
        if (id in dom) return;
        dom[id] = now();
        requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => { painted[id] = now(); };
            port2.postMessage(null);
        });
    };
    const rows = 'tr[data-fill-id], tr[data-naive-id]';
    new MutationObserver((records) => {
        for (const { addedNodes } of records) {
            for (const node of addedNodes) {
                if (!(node instanceof Element)) continue;
                if (node.matches(rows)) note(node);
                else node.querySelectorAll(rows).forEach(note);
            }
        }
    }).observe(document, { subtree: true, childList: true });
    window.watchNaive = (address, subprotocol) => new Promise((resolve) => {
        const table = document.body.appendChild(document.createElement('table'));
        table.style = 'position: fixed; bottom: 0; right: 0; height: 20px; overflow: hidden';
        const socket = new Native(address, subprotocol);
        socket.onopen = () => socket.send('{"account_ids": [1]}');
        socket.onmessage = ({ data }) => {
            const trade = JSON.parse(data);
            if (!trade.fill_id) return resolve();
            seen.naive.arrived[trade.fill_id] = now();
            const row = document.createElement('tr');
            row.dataset.naiveId = trade.fill_id;
            row.insertCell().textContent = `${trade.side} ${trade.quantity} ${trade.symbol}`;
            table.replaceChildren(row);
        };
    });
})();
"""

WATCH_HYDRATION = """
(() => {
    const now = () => performance.timeOrigin + performance.now();
    const seen = (window.seenHydration = { opened: null, figures: null, painted: null });
    const Native = window.WebSocket;
    window.WebSocket = class extends Native {
        constructor(...args) {
            super(...args);
            this.addEventListener('open', () => { seen.opened ??= now(); });
        }
    };
    const painted = (name) => requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => { seen[name] ??= now(); };
        port2.postMessage(null);
    });
    const look = () => {
        const count = (selector) => document.querySelectorAll(selector).length;
        const hasFigures = count('tr[data-account-id]') === 10 && count('tr[data-symbol]') > 0;
        if (hasFigures && seen.figures === null) painted('figures');
        if (hasFigures && document.querySelector('[data-curve-points]')) {
            painted('painted');
            observer.disconnect();
        }
    };
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, attributes: true });
})();
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Protocol]:
    with bare_browser.running() as running:
        yield running


@pytest.fixture
def relay(database: Database) -> Iterator[Relay]:
    with running_relay(database.dsn) as running:
        yield running


@pytest.mark.parametrize("watched", [10, 1_000])
def test_bench_commit_to_paint(
    conn: Connection, database: Database, browser: Protocol, relay: Relay, watched: int
) -> None:
    books.load(conn)
    books.make_wal_files(conn)
    quotes = quotes_of(conn)
    with (
        CurveKeeper(database.dsn, role="tidemark_watch", process="bench"),
        Feeder(database, quotes) as feeder,
        NaiveRelay(conn, database, FILLS) as naive,
    ):
        page = browser.tab(WATCH_TRADES, browser.visitor())
        page.go(address(relay, issue_token(conn, watched)))
        page.wait_for("document.querySelector('[data-connection=live]')")
        page.wait_for("document.querySelector('tr[data-fill-id]')")
        page.evaluate("document.querySelector('.fills').scrollIntoView()")  # trades are in sight
        page.evaluate(f"watchNaive('ws://{naive.host}:{naive.port}', '{wire.SUBPROTOCOL}')")
        time.sleep(3)  # the page has compiled what it runs often
        called, naive_ids = trade(database, TRADES)
        fill_ids = list(called)
        page.wait_for(f"'{naive_ids[-1]}' in window.seenTrades.naive.painted")
        page.wait_for(f"'{fill_ids[-1]}' in window.seenTrades.ours.painted")
        seen: dict[str, dict[str, dict[str, float]]] = page.evaluate("window.seenTrades")
        page.close()
        committed = commit_times(conn, "ledger.fills", fill_ids)
        naively = commit_times(conn, "public.naive_fills", naive_ids)
    steps = {"call → commit": between(called.values(), committed)}
    for start, times in (("commit", committed), ("call", called.values())):
        for name, at in arrivals(seen["ours"], fill_ids).items():
            steps[f"{start} → {name}"] = between(times, at)
    floors = {
        f"commit → {name}": between(naively, at)
        for name, at in arrivals(seen["naive"], naive_ids).items()
    }
    bounds = {"commit → DOM": ("8", "30"), "commit → painted": ("16", "50")}
    table(
        f"From call and commit of api.record_fill to the page, {len(fill_ids)} trades beside"
        f" {feeder.fed.ticks / feeder.fed.seconds:,.0f} ticks/s (asked: {RATE:,}) and closing bars,"
        f" 1,000 accounts × 10 positions, of which the page watches {watched:,}; in brackets the"
        " row of a plain table, its NOTIFY sent on as it is, in turns with them",
        ["", "p50", "bound", "p95", "p99", "bound", "slowest"],
        [
            [
                name,
                beside(values, floors.get(name), 0.5),
                bounds.get(name, ("", ""))[0],
                beside(values, floors.get(name), 0.95),
                beside(values, floors.get(name), 0.99),
                bounds.get(name, ("", ""))[1],
                milliseconds(max(values)),
            ]
            for name, values in steps.items()
        ],
    )
    assert all(len(values) == len(fill_ids) for values in steps.values())
    assert all(len(values) == len(naive_ids) for values in floors.values())


def arrivals(seen: dict[str, dict[str, float]], ids: Sequence[int]) -> dict[str, list[float]]:
    """Seconds since 1970 at which each came to the socket, into the DOM, and onto the screen."""
    return {
        name: [seen[key][str(id_)] / 1000 for id_ in ids]
        for name, key in (("socket", "arrived"), ("DOM", "dom"), ("painted", "painted"))
    }


def between(starts: Iterable[float], ends: Sequence[float]) -> list[float]:
    return [end - start for start, end in zip(starts, ends, strict=True)]


def beside(values: Sequence[float], floor: Sequence[float] | None, fraction: float) -> str:
    """A percentile, and how many times the floor's it is."""
    ours = percentile(values, fraction)
    if floor is None:
        return milliseconds(ours)
    theirs = percentile(floor, fraction)
    return f"{milliseconds(ours)} ({ours / theirs:.1f} × {milliseconds(theirs)})"


def test_bench_hydration(
    conn: Connection, database: Database, browser: Protocol, relay: Relay
) -> None:
    account_ids = hydration_books(conn)
    with database.connect("tidemark_relay") as connection:
        # As the relay does, before the first client comes.
        connection.execute("select api.snapshot_message('{}', '{}', '{}', '{}', 'USD')")
        queries = [
            seconds_of(
                connection,
                "select api.snapshot_message(%s, '{}', '{}', %s, 'USD')",
                [account_ids, account_ids],
            )
            for _ in range(LOADS)
        ]
    # The page adds the currency of the totals to its address by itself.
    target = address(relay, issue_token(conn, 10)) + "&totals=USD"
    firsts = [first_load(browser, target) for _ in range(LOADS // 2)]
    visitor = browser.visitor()
    for _ in range(3):
        load(browser, target, visitor)
    returns = [load(browser, target, visitor) for _ in range(LOADS)]
    points = returns[-1].points
    table(
        f"Hydration of 10 accounts × 50 positions and a year's curve ({CURVE_DAYS} days of 8 hours"
        f" in 1-second bars, {points} points on the page), {LOADS} loads in Chromium",
        ["", "p50", "p99", "bound", "slowest"],
        [
            [
                name,
                milliseconds(percentile(values, 0.5)),
                milliseconds(percentile(values, 0.99)),
                bound,
                milliseconds(max(values)),
            ]
            for name, values, bound in (
                ("api.snapshot_message, totals included", queries, "30"),
                ("socket open → figures painted", [one.figures for one in returns], ""),
                ("socket open → figures and curve painted", [one.all for one in returns], "250"),
                ("first visit: → figures painted", [one.figures for one in firsts], ""),
                ("first visit: → figures and curve painted", [one.all for one in firsts], "250"),
            )
        ],
    )


class Load(NamedTuple):
    """What became of one load of the page, in seconds from the open socket."""

    figures: float
    all: float
    points: str


def first_load(browser: Protocol, target: str) -> Load:
    """As `load`, by somebody who has never been here."""
    visitor = browser.visitor()
    first = load(browser, target, visitor)
    browser.leave(visitor)
    return first


def load(browser: Protocol, target: str, visitor: str) -> Load:
    """Open the page, look when it was painted, and close it."""
    page = browser.tab(WATCH_HYDRATION, visitor)
    page.go(target)
    page.wait_for("window.seenHydration?.painted")
    seen = page.evaluate("window.seenHydration")
    points = page.evaluate("document.querySelector('[data-curve-points]').dataset.curvePoints")
    page.close()
    time.sleep(0.3)  # the closed one has ended, and is no load on the next
    figures, painted = ((seen[name] - seen["opened"]) / 1000 for name in ("figures", "painted"))
    return Load(figures, painted, points)


def hydration_books(conn: Connection) -> list[int]:
    """Ten accounts with 50 positions each, and a year of bars of the first; their ids."""
    account_ids = [account(conn, deposit="1000000", name=f"Bench {n}") for n in range(10)]
    assert account_ids[0] == 1
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = end - timedelta(weeks=-(-CURVE_DAYS // 5))
    for day in range(CURVE_DAYS):
        walk(conn, first + timedelta(days=day // 5 * 7 + day % 5), HOURS * 3_600)
    close_bars(conn)
    roll_up(conn)
    chance = random.Random(1)
    for symbol in books.FIFTY:
        instrument(conn, symbol)
        conn.execute(
            "select api.ingest_ticks(array[%s], array[clock_timestamp()], array[%s::numeric],"
            " array[%s::numeric])",
            [symbol, *books.quote(chance)],
        )
    for account_id in account_ids:
        for symbol in books.FIFTY:
            fill(conn, account_id, symbol, chance.choice(["buy", "sell"]), "1000", "1.2")
    conn.execute("vacuum analyze")
    return account_ids


def issue_token(conn: Connection, accounts: int) -> str:
    """A token for the first accounts."""
    token: str = one(
        conn,
        "select token from api.issue_token('bench', array("
        " select account_id from api.accounts order by account_id limit %s))",
        [accounts],
    )["token"]
    return token


def address(relay: Relay, token: str) -> str:
    return f"http://{relay.host}:{relay.port}/#token={token}&range=1Y"


def trade(database: Database, trades: int) -> tuple[dict[int, float], list[int]]:
    """Book fills on the account that the page shows first, and naively between them.

    When each fill was asked for by its id, and the ids of the naive ones.
    """
    chance = random.Random(2)
    called, naive_ids = {}, []
    with database.connect() as connection:
        for _ in range(trades):
            time.sleep(chance.uniform(0, 2 * PAUSE))
            symbol = books.held(1, chance.randrange(10))
            side, quantity = chance.choice(["buy", "sell"]), str(chance.randint(1, 50) * 100)
            began = time.time()
            called[fill(connection, 1, symbol, side, quantity, "1.2")["fill_id"]] = began
            time.sleep(chance.uniform(0, 2 * PAUSE))
            naive_ids.append(one(connection, NAIVE_FILL, [symbol, side, quantity])["fill_id"])
    return called, naive_ids


def commit_times(conn: Connection, table: LiteralString, fill_ids: Sequence[int]) -> list[float]:
    """Seconds since 1970 at which each fill was committed."""
    return [
        float(row["at"])
        for row in every(
            conn,
            "select extract(epoch from pg_xact_commit_timestamp(f.xmin)) as at"
            f" from {table} f join unnest(%s::bigint[]) with ordinality as asked (fill_id, place)"
            " using (fill_id) order by place",
            [list(fill_ids)],
        )
    ]


def seconds_of(connection: Connection, query: str, parameters: Sequence[Any]) -> float:
    began = time.perf_counter()
    one(connection, query, parameters)
    return time.perf_counter() - began
