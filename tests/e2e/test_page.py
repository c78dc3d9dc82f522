"""The built page in a real browser, from a real relay, beside what the database says."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from glue import paths, settings
from glue.local.server import EmbeddedServer
from tests import browser as chromium
from tests import factories
from tests.conftest import Connection, Database
from tests.glue.relays import Relay, running_relay, until
from tests.line import Line

FIGURES = (
    *("balance", "unrealized_pnl", "equity", "drawdown", "drawdown_pct"),
    *("margin_used", "margin_available", "margin_level"),
)
IN_CI = bool(os.environ.get("CI"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; without one the tests are skipped, but not in CI."""
    if not (paths.PAGE / "index.html").is_file():
        give_up("the page is not built: make page")
    if chromium.find() is None:
        give_up("there is no Chromium: python -m tests.browser says how to get one")
    with chromium.running() as running:
        yield running


def give_up(reason: str) -> None:
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def relay(database: Database) -> Iterator[Relay]:
    with running_relay(database.dsn) as running:
        yield running


@pytest.fixture
def book(conn: Connection) -> SimpleNamespace:
    """Two accounts, one with a position; prices; a token."""
    factories.instrument(conn, "EUR/USD", "0.0333")
    factories.instrument(conn, "USD/JPY", "0.0333")
    tick(conn, "EUR/USD", "1.10000", "1.10010")
    tick(conn, "USD/JPY", "150.000", "150.020")
    alpha = factories.account(conn, name="Alpha")
    beta = factories.account(conn, currency="JPY", deposit="1000000", scale=0, name="Beta")
    factories.fill(conn, alpha, "EUR/USD", "buy", "10000", "1.09950")
    token = factories.one(conn, "select token from api.issue_token('page')")["token"]
    return SimpleNamespace(alpha=alpha, beta=beta, token=token, conn=conn)


@pytest.fixture
def page(browser: Browser, relay: Relay, book: SimpleNamespace) -> Iterator[Page]:
    """The page with its token, live. Nothing may be said on its console."""
    context = browser.new_context()
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda said: complaints.append(said.text) if said.type == "error" else None,
    )
    opened.goto(f"http://{relay.host}:{relay.port}/#token={book.token}")
    opened.wait_for_selector("[data-connection=live]")
    yield opened
    context.close()
    # a browser says for itself that a connection was refused or lost
    assert [text for text in complaints if "WebSocket connection to" not in text] == []


def tick(conn: Connection, symbol: str, bid: str, ask: str) -> None:
    conn.execute(
        "select api.ingest_ticks(array[%s], array[clock_timestamp()], array[%s::numeric],"
        " array[%s::numeric])",
        [symbol, bid, ask],
    )


def psql(dsn: str, statement: str) -> None:
    """As a user would do it: with psql, or with the driver where there is none."""
    configured = settings.load()
    program = EmbeddedServer(configured.home, configured.pg_bindir).bindir / "psql"
    if program.is_file():
        command = [str(program), "-X", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", statement]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    else:
        with Database(dsn).connect() as connection:
            connection.execute(statement.encode())


# What the page says, as exact values ----------------------------------------------------------

READ_ROWS = """
selector => [...document.querySelectorAll(selector)].map(row => [
    row.dataset.accountId ?? row.dataset.fillId ?? `${row.dataset.symbol} ${row.dataset.side}`,
    Object.fromEntries([...row.querySelectorAll('[data-field]')].map(
        cell => [cell.dataset.field, cell.dataset.value ?? null])),
])
"""


def rows(page: Page, selector: str) -> dict[str, dict[str, str | None]]:
    """The cells of each row, in the order of the page."""
    return dict(page.evaluate(READ_ROWS, selector))


def accounts_on(page: Page) -> dict[str, dict[str, str | None]]:
    return {
        account_id: {name: row[name] for name in FIGURES}
        for account_id, row in rows(page, "tr[data-account-id]").items()
    }


def accounts_in(conn: Connection) -> dict[str, dict[str, str | None]]:
    return {
        str(row["account_id"]): {name: text(row[name]) for name in FIGURES}
        for row in factories.every(conn, "select * from api.account_states")
    }


def positions_on(page: Page) -> dict[str, dict[str, str | None]]:
    return rows(page, "tr[data-symbol]")


def positions_in(conn: Connection, account_id: int) -> dict[str, dict[str, str | None]]:
    names = ("quantity", "average_price", "price", "unrealized_pnl", "unrealized_pnl_quote")
    return {
        f"{row['symbol']} {row['side']}": {name: text(row[name]) for name in names}
        for row in factories.positions(conn, account_id)
    }


def text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def is_contained(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether rows are the same, cell by cell, as far as `part` names cells."""
    return part.keys() == whole.keys() and all(
        part[key].items() <= whole[key].items() for key in part
    )


def equals_database(page: Page, conn: Connection, account_id: int) -> Callable[[], bool]:
    return lambda: (
        accounts_on(page) == accounts_in(conn)
        and is_contained(positions_in(conn, account_id), positions_on(page))
        and list(rows(page, "tr[data-fill-id]"))
        == [
            str(row["fill_id"])
            for row in factories.every(
                conn,
                "select fill_id from api.fills where account_id = %s order by event_seq desc",
                [account_id],
            )
        ]
    )


# The tests ------------------------------------------------------------------------------------


def test_the_page_shows_what_the_database_has(page: Page, book: SimpleNamespace) -> None:
    until(equals_database(page, book.conn, book.alpha))
    assert accounts_on(page)[str(book.alpha)]["equity"] == "10005.00"
    assert rows(page, "tr[data-account-id]")[str(book.beta)]["name"] == "Beta"


def test_a_fill_recorded_in_psql_appears(
    page: Page, book: SimpleNamespace, database: Database
) -> None:
    until(equals_database(page, book.conn, book.alpha))
    psql(
        database.dsn,
        f"select api.record_fill({book.alpha}, 'EUR/USD', 'sell', 4000, 1.10000,"
        " p_commission => 1.25)",
    )
    page.wait_for_selector("tr[data-fill-id='2']")
    assert positions_on(page)["EUR/USD long"]["quantity"] == "6000"
    assert accounts_on(page)[str(book.alpha)]["balance"] == "10000.75"
    assert rows(page, "tr[data-fill-id]")["2"]["realized_pnl"] == "2.00"
    until(equals_database(page, book.conn, book.alpha))
    psql(database.dsn, f"select api.record_fill({book.alpha}, 'USD/JPY', 'buy', 1000, 150)")
    page.wait_for_selector("tr[data-symbol='USD/JPY'][data-side=long]")
    until(equals_database(page, book.conn, book.alpha))


def test_a_tick_moves_equity(page: Page, book: SimpleNamespace) -> None:
    until(equals_database(page, book.conn, book.alpha))
    tick(book.conn, "EUR/USD", "1.10123", "1.10133")
    cell = f"tr[data-account-id='{book.alpha}'] [data-field=equity][data-value='10017.30']"
    page.wait_for_selector(cell)
    until(equals_database(page, book.conn, book.alpha))


def test_the_other_account_can_be_chosen(page: Page, book: SimpleNamespace) -> None:
    factories.fill(book.conn, book.beta, "USD/JPY", "sell", "2000", "150.5")
    page.click(f"tr[data-account-id='{book.beta}'] button")
    until(equals_database(page, book.conn, book.beta))


def test_a_lost_database_is_said(page: Page, book: SimpleNamespace, admin: Connection) -> None:
    name = book.conn.info.dbname
    admin.execute(f'alter database "{name}" allow_connections false'.encode())
    try:
        book.conn.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and application_name = 'tidemark relay'"
        )
        page.wait_for_selector("[data-connection=stale]")
        factories.fill(book.conn, book.alpha, "EUR/USD", "buy", "5000", "1.1")
    finally:
        admin.execute(f'alter database "{name}" allow_connections true'.encode())
    page.wait_for_selector("[data-connection=live]")
    until(equals_database(page, book.conn, book.alpha))


def test_a_killed_relay_is_said_and_the_page_comes_back(
    browser: Browser, database: Database, book: SimpleNamespace
) -> None:
    context = browser.new_context()
    page = context.new_page()
    with running_relay(database.dsn) as first:
        listen = f"{first.host}:{first.port}"
        page.goto(f"http://{listen}/#token={book.token}")
        page.wait_for_selector("[data-connection=live]")
        until(equals_database(page, book.conn, book.alpha))
        first.process.kill()
        page.wait_for_selector("[data-connection=disconnected]")
        factories.fill(book.conn, book.alpha, "EUR/USD", "buy", "5000", "1.1")
        tick(book.conn, "EUR/USD", "1.10200", "1.10210")
    with running_relay(database.dsn, listen=listen):
        page.wait_for_selector("[data-connection=live]")
        until(equals_database(page, book.conn, book.alpha))
    context.close()


def test_a_revoked_token_is_said(page: Page, book: SimpleNamespace) -> None:
    book.conn.execute("select api.revoke_token(token_id) from api.tokens")
    page.wait_for_selector("[data-connection=refused]")
    page.wait_for_selector("[data-error=bad_token]")


def test_the_token_is_in_no_request(browser: Browser, relay: Relay, book: SimpleNamespace) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.url} {request.headers}"))
    page.on("websocket", lambda opened: asked.append(opened.url))
    page.goto(f"http://{relay.host}:{relay.port}/#token={book.token}")
    page.wait_for_selector("[data-connection=live]")
    assert len(asked) >= 4
    assert not any(book.token in line for line in asked)
    context.close()


def test_totals_are_those_of_the_database(page: Page, book: SimpleNamespace) -> None:
    page.select_option("[data-totals] select", "JPY")
    page.wait_for_selector("[data-totals][data-currency=JPY]")
    tick(book.conn, "USD/JPY", "151.000", "151.020")
    names = ("balance", "unrealized_pnl", "equity", "margin_used", "margin_available")

    def is_equal() -> bool:
        row = factories.one(
            book.conn,
            "select * from api.portfolio_totals(%s, 'JPY')",
            [[book.alpha, book.beta]],
        )
        cells = page.evaluate(
            "names => names.map(name =>"
            " document.querySelector(`[data-totals] [data-field=${name}]`).dataset.value)",
            names,
        )
        return bool(cells == [text(row[name]) for name in names])

    until(is_equal)


def test_what_happened_while_the_line_was_down_appears_once(
    browser: Browser, relay: Relay, book: SimpleNamespace
) -> None:
    with Line(relay.port) as line, shown(browser, line, book.token) as page:
        line.close()
        page.wait_for_selector("[data-connection=disconnected][data-stale-since]")
        assert "Stale since" in page.inner_text("[data-connection]")
        for _ in range(3):
            factories.fill(book.conn, book.alpha, "EUR/USD", "buy", "1000", "1.1")
        post_discrepancy(book.conn, book.alpha)
        line.mend()
        page.wait_for_selector("[data-connection=live]")
        until(equals_database(page, book.conn, book.alpha))
        page.wait_for_selector("[data-discrepancy-id='7']")
        assert page.locator("[data-discrepancy-id='7']").count() == 1
        assert page.locator("[data-missed]").count() == 0
        # and what happens from now on is neither lost nor doubled
        factories.fill(book.conn, book.alpha, "EUR/USD", "sell", "1000", "1.1")
        until(equals_database(page, book.conn, book.alpha))


def test_more_than_a_history_holds_is_said_to_be_missing(
    browser: Browser, relay: Relay, book: SimpleNamespace
) -> None:
    with Line(relay.port) as line, shown(browser, line, book.token) as page:
        line.close()
        page.wait_for_selector("[data-connection=disconnected]")
        book.conn.execute(
            "select api.record_fill(%s, 'EUR/USD', 'buy', 100, 1.1) from generate_series(1, 520)",
            [book.alpha],
        )
        line.mend()
        page.wait_for_selector(f"[data-missed-of='{book.alpha}'][data-count='20']")
        assert "20 events" in page.inner_text("[data-missed]")
        until(lambda: accounts_on(page) == accounts_in(book.conn))


def test_an_alert_and_a_discrepancy_are_shown_as_they_change(
    page: Page, book: SimpleNamespace
) -> None:
    post_discrepancy(book.conn, book.alpha)
    page.wait_for_selector("[data-discrepancy-id='7'][data-status=open]", state="attached")
    post_discrepancy(book.conn, book.alpha, status="resolved")
    page.wait_for_selector("[data-discrepancy-id='7'][data-status=resolved]", state="attached")
    assert page.locator("[data-discrepancy-id='7']").count() == 1


def test_the_curve_is_painted(page: Page, book: SimpleNamespace) -> None:
    for pip in range(5):
        tick(book.conn, "EUR/USD", f"1.1{pip:02}00", f"1.1{pip:02}10")
        time.sleep(1.01)
    book.conn.execute("call api.close_bars()")
    page.click("[data-range='1D']")
    page.wait_for_function(
        "() => document.querySelector('[data-curve-points]')?.dataset.curvePoints >= 3",
        timeout=20_000,
    )


def test_the_way_of_a_trade_is_measured(page: Page, book: SimpleNamespace) -> None:
    factories.fill(book.conn, book.alpha, "EUR/USD", "buy", "1000", "1.1")
    page.wait_for_selector("tr[data-fill-id='2']")
    page.wait_for_function("() => window.tidemark.latency.at(-1)?.painted_at")
    times = page.evaluate("window.tidemark.latency.at(-1)")
    way = [times[name] for name in ("read_at", "received_at", "dom_at", "painted_at")]
    assert times["fill_id"] == 2
    assert way == sorted(way)
    if times["committed_at"] is not None:
        assert times["committed_at"] < times["painted_at"] < times["committed_at"] + 15_000


def test_only_what_is_in_sight_is_in_the_page(
    browser: Browser, relay: Relay, book: SimpleNamespace
) -> None:
    book.conn.execute("select api.open_account('More ' || n, 'USD') from generate_series(1, 300) n")
    with shown(browser, relay, book.token) as page:
        page.wait_for_selector(f"tr[data-account-id='{book.alpha}']")
        until(lambda: 10 < page.locator("tr[data-account-id]").count() < 200)
        page.fill("input[type=search]", "beta jpy")
        until(lambda: page.locator("tr[data-account-id]").count() == 1)


@contextlib.contextmanager
def shown(browser: Browser, at: Relay | Line, token: str) -> Iterator[Page]:
    """The page from this address, live."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://{at.host}:{at.port}/#token={token}")
    page.wait_for_selector("[data-connection=live]")
    yield page
    context.close()


def post_discrepancy(conn: Connection, account_id: int, status: str = "open") -> None:
    """As reconciliation does."""
    at = "2026-01-05T09:00:00.000000Z"
    body = {
        "discrepancy_id": 7, "cause": "quantity", "severity": "warning", "symbol": "EUR/USD",
        "field": "quantity", "ours": "10000", "theirs": "9000", "difference": "1000", "unit": "EUR",
        "status": status, "opened_at": at, "last_seen_at": at, "acknowledged_at": None,
        "acknowledged_by": None, "note": None, "resolved_at": at if status == "resolved" else None,
        "message": "The broker holds 1000 EUR less.",
    }  # fmt: skip
    conn.execute(
        "select ledger.post_event(%s, 'discrepancy', 7, %s, %s::jsonb)",
        [account_id, status != "resolved", json.dumps(body)],
    )
