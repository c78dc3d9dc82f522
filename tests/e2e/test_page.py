"""The built page in a real browser, from a real relay, beside what the database says."""

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
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
from tests.glue.test_relay_protocol import many_fills, post
from tests.line import Line
from tests.sql.brokers import HandBroker, lasting

FIGURES = ("balance", "unrealized_pnl", "equity", "margin_used", "margin_available", "margin_level")
DRAWDOWN = ("high_water_mark", "drawdown", "drawdown_pct", "max_drawdown", "max_drawdown_pct")
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
    """The page with its token, live."""
    with opened(browser, f"http://{relay.host}:{relay.port}/#token={book.token}") as page:
        yield page


@pytest.fixture
def line(relay: Relay) -> Iterator[Line]:
    with Line(relay.port) as line:
        yield line


@pytest.fixture
def distant(browser: Browser, line: Line, book: SimpleNamespace) -> Iterator[Page]:
    """The page, live, behind a line that can be closed."""
    with opened(browser, f"http://{line.host}:{line.port}/#token={book.token}") as page:
        until(equals_database(page, book.conn, book.alpha))
        yield page


@contextlib.contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page that is live. Nothing may be said on its console."""
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type == "error" else None,
    )
    page.goto(address)
    page.wait_for_selector("[data-connection=live]")
    yield page
    context.close()
    # a browser says for itself that a connection was refused or lost
    assert [text for text in complaints if "WebSocket connection to" not in text] == []


@contextlib.contextmanager
def away(page: Page, line: Line) -> Iterator[None]:
    """The page has no line while the block lasts, and is live again in the end."""
    line.close()
    page.wait_for_selector("[data-connection]:not([data-connection=live])")
    yield
    line.mend()
    page.wait_for_selector("[data-connection=live]")


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


def totals_on(page: Page) -> dict[str, str | None]:
    found: list[tuple[str, dict[str, str | None]]] = page.evaluate(READ_ROWS, "tr[data-totals]")
    return {name: value for _, row in found for name, value in row.items() if name in FIGURES}


def totals_in(conn: Connection, currency: str) -> dict[str, str | None]:
    row = factories.one(conn, "select * from api.portfolio_totals(null, %s)", [currency])
    return {name: text(row[name]) for name in FIGURES}


def drawdown_on(page: Page) -> dict[str, str | None]:
    """Of the chosen account."""
    found: list[tuple[str, dict[str, str | None]]] = page.evaluate(READ_ROWS, ".summary")
    return {name: value for _, row in found for name, value in row.items() if name in DRAWDOWN}


def drawdown_in(conn: Connection, account_id: int) -> dict[str, str | None]:
    row = factories.state(conn, account_id)
    return {name: text(row[name]) for name in DRAWDOWN}


def count(page: Page, selector: str) -> int:
    return len(page.query_selector_all(selector))


def top_of(page: Page, selector: str) -> float:
    top: float = page.eval_on_selector(selector, "row => row.getBoundingClientRect().top")
    return top


def fills_by_scrolling(page: Page) -> list[str]:
    """The fills of the chosen account, as one sees them who scrolls to the last."""
    seen = []
    for number in range(count(page, ".fills tbody")):
        block = page.locator(".fills tbody").nth(number)
        block.scroll_into_view_if_needed()
        block.locator("tr[data-fill-id]").first.wait_for()
        seen += block.locator("tr").evaluate_all("rows => rows.map((row) => row.dataset.fillId)")
    return seen


def stale_since(page: Page) -> datetime | None:
    found = page.get_attribute("[data-connection]", "data-stale-since")
    return None if found is None else datetime.fromisoformat(found)


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
    assert accounts_on(page)[str(book.alpha)]["balance"] == "10000.75"
    until(lambda: positions_on(page)["EUR/USD long"]["quantity"] == "6000")
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


def test_totals_are_those_of_the_database(page: Page, book: SimpleNamespace) -> None:
    page.wait_for_selector("tr[data-totals][data-currency=USD]")
    until(lambda: totals_on(page) == totals_in(book.conn, "USD"))
    tick(book.conn, "USD/JPY", "151.000", "151.020")
    tick(book.conn, "EUR/USD", "1.10200", "1.10210")
    until(lambda: totals_on(page) == totals_in(book.conn, "USD"))
    assert totals_on(page)["unrealized_pnl"] == "25.00"
    page.select_option("tr[data-totals] select", "JPY")
    page.wait_for_selector("tr[data-totals][data-currency=JPY]")
    until(lambda: totals_on(page) == totals_in(book.conn, "JPY"))
    assert "totals=JPY" in page.url
    page.reload()
    page.wait_for_selector("tr[data-totals][data-currency=JPY]")
    until(equals_database(page, book.conn, book.alpha))


def test_drawdown_is_that_of_the_database(page: Page, book: SimpleNamespace) -> None:
    book.conn.execute("update equity.curve_settings set grace = '0 seconds'")
    for price in ("1.10300", "1.10100", "1.10200"):
        tick(book.conn, "EUR/USD", price, price)
        until(lambda: drawdown_on(page) == drawdown_in(book.conn, book.alpha))
        time.sleep(1)
        book.conn.execute("call api.close_bars()")
    assert drawdown_on(page)["high_water_mark"] == "10035.00"
    assert drawdown_on(page)["drawdown"] == "10.00"
    assert drawdown_on(page)["max_drawdown"] == "20.00"


def test_the_curve_is_painted(page: Page, book: SimpleNamespace) -> None:
    book.conn.execute("update equity.curve_settings set grace = '0 seconds'")
    points = iter(range(9000))

    def has_bars() -> bool:
        price = f"1.1{next(points):04}"
        tick(book.conn, "EUR/USD", price, price)
        book.conn.execute("call api.close_bars()")
        found = factories.one(
            book.conn,
            "select count(*) as bars from api.equity_curve_1s where account_id = %s",
            [book.alpha],
        )
        return bool(found["bars"] >= 3)

    until(has_bars)
    page.click("[data-range='7D']")
    page.wait_for_selector("[data-curve-points]:not([data-curve-points='0'])")
    assert page.evaluate(
        """() => [...document.querySelectorAll('.plot canvas')].map(canvas => {
            const {width, height} = canvas;
            const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
            return data.some(value => value > 0);
        })"""
    ) == [True, True]
    assert "range=7D" in page.url
    said = page.get_attribute(".plot", "aria-label") or ""
    assert said.startswith("Equity over seven days: 10,0"), said


def test_the_way_of_a_trade_is_measured(page: Page, book: SimpleNamespace) -> None:
    until(lambda: page.evaluate("window.tidemark.clock?.uncertainty < 1000"))
    factories.fill(book.conn, book.alpha, "EUR/USD", "buy", "1000", "1.1")
    page.wait_for_selector("[data-latency-count='1']")
    (times,) = page.evaluate("window.tidemark.latency")
    assert times["fill_id"] == 2
    assert times["received_at"] <= times["dom_at"] <= times["painted_at"]
    clock = page.evaluate("window.tidemark.clock")
    # all of it is one machine, but a browser reads its clock once and then counts
    assert abs(clock["offset"]) <= clock["uncertainty"] + 50
    way = times["painted_at"] + clock["offset"] - times["read_at"]
    assert -clock["uncertainty"] <= way < 5000
    page.click(".latency summary")
    for stretch in ("wire", "page", "paint", "whole"):
        shown = page.inner_text(f"[data-stretch={stretch}] [data-field=p99]")
        assert -1 - clock["uncertainty"] <= float(shown) < 5000, stretch


def test_what_happened_without_a_line_appears_once(
    distant: Page, line: Line, book: SimpleNamespace
) -> None:
    post(book.conn, book.alpha, "discrepancy", 6)
    distant.wait_for_selector("[data-discrepancy-id='6'][data-status=open]")
    cut_at = datetime.now(UTC)
    with away(distant, line):
        assert abs((stale_since(distant) - cut_at).total_seconds()) < 6
        factories.fill(book.conn, book.alpha, "EUR/USD", "sell", "4000", "1.1")
        post(book.conn, book.alpha, "discrepancy", 7)
        post(book.conn, book.alpha, "discrepancy", 6, is_open=False)
        for account_id in (book.alpha, book.beta):
            post(book.conn, account_id, "alert", 9)
    until(equals_database(distant, book.conn, book.alpha))
    assert stale_since(distant) is None
    assert count(distant, "[data-discrepancy-id='7'][data-status=open]") == 1
    assert count(distant, "[data-discrepancy-id='6']") == 1
    assert count(distant, "[data-discrepancy-id='6'][data-status=resolved]") == 1
    assert count(distant, "[data-alert-id='9']") == 1
    assert "Alpha, Beta" in distant.inner_text("[data-alert-id='9']")
    post(book.conn, book.alpha, "discrepancy", 7, is_open=False)
    distant.wait_for_selector("[data-discrepancy-id='7'][data-status=resolved]", state="attached")
    assert count(distant, "[data-discrepancy-id='7']") == 1
    assert count(distant, "[data-missed]") == 0


def test_more_than_can_be_shown_is_said(distant: Page, line: Line, book: SimpleNamespace) -> None:
    with away(distant, line):
        many_fills(book.conn, book.alpha, 620)
        many_fills(book.conn, book.beta, 3)
    missed = distant.wait_for_selector(f"[data-missed='1'] [data-missed-of='{book.alpha}']")
    assert missed is not None
    assert missed.get_attribute("data-count") == "120"
    assert missed.inner_text().startswith("Alpha: 120 events between ")
    distant.click("button:has-text('all 500')")
    shown = fills_by_scrolling(distant)
    every = factories.every(
        book.conn,
        "select fill_id from api.fills where account_id = %s order by event_seq desc",
        [book.alpha],
    )
    assert shown == [str(row["fill_id"]) for row in every[:500]]
    distant.click("[data-missed] button")
    assert count(distant, "[data-missed]") == 0


def test_three_hundred_accounts_cost_what_is_seen_of_them(
    browser: Browser, relay: Relay, book: SimpleNamespace
) -> None:
    book.conn.execute(
        "select api.record_entry(a.account_id, 'deposit', 1000)"
        " from generate_series(1, 298) as number,"
        " lateral api.open_account('Desk ' || lpad(number::text, 3, '0'), 'USD') as a"
    )
    with opened(browser, f"http://{relay.host}:{relay.port}/#token={book.token}") as page:
        until(lambda: 0 < count(page, "tr[data-account-id]") <= 100)
        assert page.inner_text(".list-head .count") == "300"
        last = "tr[data-account-id]:has-text('Desk 298')"
        assert count(page, last) == 0
        page.evaluate("document.querySelector('table.accounts').scrollIntoView({block: 'end'})")
        page.wait_for_selector(last)
        until(lambda: count(page, "tr[data-account-id]") <= 100)
        page.fill("input[type=search]", "usd 27")
        found = {
            str(row["account_id"])
            for row in factories.every(book.conn, "select account_id, name from api.accounts")
            if "27" in f"{row['name']} {row['account_id']}"
        }
        until(lambda: rows(page, "tr[data-account-id]").keys() == found)
        assert page.inner_text(".list-head .count") == f"{len(found)} of 300"


COUNT_WRITES = """
() => {
    window.writes = {};
    new MutationObserver((records) => {
        for (const { target: { dataset } } of records) {
            window.writes[dataset.field] = (window.writes[dataset.field] ?? 0) + 1;
        }
    }).observe(document, { subtree: true, attributes: true, attributeFilter: ['data-value'] });
}
"""
AFTER_FRAMES = """
new Promise((resolve) => {
    const frames = (left) => (left > 0 ? requestAnimationFrame(() => frames(left - 1)) : resolve());
    frames(5);
})
"""


def test_figures_out_of_sight_are_written_once_a_second(page: Page, book: SimpleNamespace) -> None:
    until(equals_database(page, book.conn, book.alpha))
    page.set_viewport_size({"width": 400, "height": 400})
    page.evaluate("scrollTo(0, 0)")
    until(lambda: top_of(page, "tr[data-account-id]") < 400 < top_of(page, "tr[data-symbol]"))
    page.evaluate(AFTER_FRAMES)  # in which the browser has told what is in sight
    page.evaluate(COUNT_WRITES)
    began = time.monotonic()
    bids = itertools.cycle(["1.10123", "1.10130", "1.10145"])

    def is_seen_ten_times() -> bool:
        bid = next(bids)
        tick(book.conn, "EUR/USD", bid, f"{bid}5")
        return bool(page.evaluate("window.writes.margin_available >= 10"))

    until(is_seen_ten_times)
    seconds = time.monotonic() - began
    assert page.evaluate("window.writes.price ?? 0") <= seconds + 1
    until(equals_database(page, book.conn, book.alpha))
    page.evaluate("document.querySelector('tr[data-symbol]').scrollIntoView()")
    tick(book.conn, "EUR/USD", "1.10200", "1.10210")
    until(equals_database(page, book.conn, book.alpha))


def test_a_lost_database_is_said(page: Page, book: SimpleNamespace, admin: Connection) -> None:
    name = book.conn.info.dbname
    admin.execute(f'alter database "{name}" allow_connections false'.encode())
    try:
        lost_at = datetime.now(UTC)
        book.conn.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and application_name = 'tidemark relay'"
        )
        page.wait_for_selector("[data-connection=stale]")
        since = stale_since(page)
        assert since is not None
        # it may say so with the next heartbeat only, but knows since when
        assert abs((since - lost_at).total_seconds()) < 5
        assert page.inner_text("[data-connection]").startswith("Stale since ")
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


def test_a_discrepancy_is_acknowledged_beside_the_brokers_figures(
    browser: Browser, relay: Relay, book: SimpleNamespace
) -> None:
    book.conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    broker = HandBroker(book.conn)
    broker.entry("deposit", "10000")
    broker.look()
    token = factories.one(
        book.conn,
        "select token from api.issue_token('night desk', %s, p_may_acknowledge => true)",
        [[book.alpha, broker.account_id]],
    )["token"]
    with opened(browser, f"http://{relay.host}:{relay.port}/#token={token}") as page:
        mark = f"tr[data-account-id='{broker.account_id}'] [data-broker={{}}]".format
        page.wait_for_selector(mark("consistent"))
        page.click(f"tr[data-account-id='{broker.account_id}'] button")
        page.wait_for_selector("#account [data-field=difference_balance][data-value='0.00']")

        for _ in range(2):
            broker.look(balance="9999.5", equity="9999.5", margin_equity="9999.5")
        (open_one,) = lasting(book.conn)
        page.wait_for_selector(mark("differs"))
        page.wait_for_selector("#account [data-field=difference_balance][data-value='-0.50']")

        page.wait_for_selector(f"[data-acknowledge='{open_one['discrepancy_id']}']").focus()
        page.keyboard.press("Enter")
        page.keyboard.type("asked them")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-acknowledged-by='night desk']")
        assert "asked them" in page.inner_text("[data-acknowledged-by]")
        (acknowledged,) = lasting(book.conn)
        assert acknowledged["status"] == "acknowledged"
        assert (acknowledged["acknowledged_by"], acknowledged["note"]) == (
            "night desk",
            "asked them",
        )

        broker.look()
        page.wait_for_selector(mark("consistent"))
        page.wait_for_selector("[data-discrepancy-id][data-status=resolved]", state="attached")
