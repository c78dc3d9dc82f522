// @vitest-environment jsdom
import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import { Profiler } from 'react';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AccountRow } from '#page/components/AccountsTable.jsx';
import { App } from '#page/components/App.jsx';
import { describeConnection } from '#page/components/ConnectionState.jsx';
import { describeMissed } from '#page/components/Missed.jsx';
import { formatClock } from '#page/format.js';
import { IDLE } from '#page/services/portfolioSocket.js';
import { CurveError } from '#page/services/portfolioSocket.js';
import { followAddress, readRange, readTotalsCurrency } from '#page/services/address.js';
import { createLatency } from '#page/stores/latency.js';
import { usePortfolioStore } from '#page/stores/portfolioStore.js';
import {
  AT,
  alert,
  curve,
  discrepancy,
  fill,
  heartbeat,
  portfolio,
  position,
  relayError,
  snapshot,
  state,
  totals,
  totalsChanged,
  trade,
  update,
} from './messages.js';

/** @import { StateMessage } from '#page/services/portfolioSocket.js' */
/** @import { RequestCurve } from '#page/components/EquityCurve.jsx' */
/** @import { Columns } from '#page/stores/curve.js' */

// A canvas is what jsdom has not; what is drawn is tested, how it looks in a browser is not.
const drawn = vi.hoisted(() => /** @type {{ columns: any[] }} */ ({ columns: [] }));
vi.mock('#page/components/curveChart.js', () => ({
  createCurveChart: () => ({
    draw: (/** @type {Columns} */ columns) => drawn.columns.push(columns),
    destroy: () => {},
  }),
}));

const store = usePortfolioStore;
const HUGE = '12345678901234567890.12';

/** @param {StateMessage[]} messages */
const receive = (...messages) => act(() => store.getState().receive(messages, Date.now()));

/** @param {string} selector */
function find(selector) {
  const found = document.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/** @param {number} id @param {string} field */
const cell = (id, field) => find(`[data-account-id="${id}"] [data-field="${field}"]`);

beforeEach(() => {
  store.getState().forget();
  store.getState().setConnection({ ...IDLE, phase: 'live' });
});
afterEach(cleanup);

/** @type {RequestCurve} */
const noCurve = () => new Promise(() => {});

/** @param {{ requestCurve?: RequestCurve, latency?: ReturnType<typeof createLatency> }} [options] */
function open({ requestCurve = noCurve, latency = createLatency() } = {}) {
  render(<App requestCurve={requestCurve} acknowledge={async () => {}} latency={latency} />);
}

/** @param {Parameters<typeof snapshot>} accounts */
function show(...accounts) {
  store.getState().receive([snapshot(...accounts)], Date.now());
  open();
}

describe('figures', () => {
  test('are written exactly, and carry the exact amount for programs', () => {
    show(portfolio({ state: state({ balance: HUGE, equity: `-${HUGE}` }) }));
    expect(cell(1, 'balance').textContent).toBe('12,345,678,901,234,567,890.12');
    expect(cell(1, 'balance').getAttribute('data-value')).toBe(HUGE);
    expect(cell(1, 'equity').textContent).toBe('−12,345,678,901,234,567,890.12');
    expect(cell(1, 'equity').getAttribute('data-value')).toBe(`-${HUGE}`);
  });

  test('that are unknown are a dash that says why, never zero', () => {
    const unknown = { unrealized_pnl: null, equity: null, margin_used: null, margin_level: null };
    show(portfolio({ state: state({ ...unknown, is_priced: false, margin_available: null }) }));
    for (const field of [...Object.keys(unknown), 'margin_available']) {
      expect(cell(1, field).textContent).toBe('—');
      expect(cell(1, field).hasAttribute('data-value')).toBe(false);
      expect(cell(1, field).querySelector('[title]')?.getAttribute('title')).toMatch(/^Unknown/);
    }
    expect(find('[data-account-id="1"] [data-flag="not-priced"]').textContent).toContain('not priced');
  });

  test('a level without margin says that there is none', () => {
    show(portfolio({ state: state({ margin_used: '0.00', margin_level: null }) }));
    expect(within(/** @type {HTMLElement} */ (cell(1, 'margin_level'))).getByTitle(/no margin/)).toBeTruthy();
  });

  test('a priced account carries no flag', () => {
    show(portfolio());
    expect(document.querySelector('[data-flag]')).toBeNull();
  });

  test('equity shows by an arrow which way it moved', () => {
    show(portfolio());
    expect(cell(1, 'equity').textContent).toBe('1,010.00');
    receive(update({ version: 2, equity: '1010.01' }));
    expect(cell(1, 'equity').textContent).toBe('▲1,010.01');
    receive(update({ version: 3, equity: '1009.99' }));
    expect(cell(1, 'equity').textContent).toBe('▼1,009.99');
    receive(update({ version: 4, equity: '1009.99' }));
    expect(cell(1, 'equity').textContent).toBe('▼1,009.99');
  });
});

describe('accounts', () => {
  test('prices are written into their cells, and render no row', () => {
    store.getState().receive(
      [snapshot(portfolio({ account_id: 1 }), portfolio({ account_id: 2 }))],
      Date.now(),
    );
    /** @type {string[]} */
    const renders = [];
    render(
      <table>
        <tbody>
          {[1, 2].map((id) => (
            <Profiler key={id} id={String(id)} onRender={(row) => void renders.push(row)}>
              <AccountRow accountId={id} />
            </Profiler>
          ))}
        </tbody>
      </table>,
    );
    renders.length = 0;
    for (let version = 2; version < 12; version += 1) {
      receive(update({ account_id: 2, version, equity: `${version}.00` }));
    }
    expect(renders).toEqual([]);
    expect(cell(1, 'equity').getAttribute('data-value')).toBe('1010.00');
    expect(cell(2, 'equity').getAttribute('data-value')).toBe('11.00');
  });

  test('choosing one shows what it holds', () => {
    const other = portfolio({
      account_id: 2,
      state: state({ account_id: 2, name: 'Lighthouse' }),
      positions: [position({ symbol: 'GBP/JPY', side: 'short', unrealized_pnl: '-3.20' })],
      fills: [fill({ fill_id: 77, symbol: 'GBP/JPY', realized_pnl: '4.00' })],
    });
    show(portfolio(), other);
    expect(find('#account-title').textContent).toBe('Harbour');
    const button = screen.getByRole('button', { name: 'Lighthouse' });
    fireEvent.click(button);
    expect(button.getAttribute('aria-pressed')).toBe('true');
    expect(find('#account-title').textContent).toBe('Lighthouse');
    const held = find('[data-symbol="GBP/JPY"][data-side="short"] [data-field="unrealized_pnl"]');
    expect(held.textContent).toBe('−3.20');
    expect(find('[data-fill-id="77"] [data-field="realized_pnl"]').textContent).toBe('+4.00');
  });

  test('a token that opens none is told so', () => {
    show();
    expect(screen.getByText(/opens no accounts/)).toBeTruthy();
  });

  test('nothing is said of a token’s accounts before the snapshot', () => {
    store.getState().receive([heartbeat({}, { database_ok: false })], Date.now());
    open();
    expect(screen.getByText(/Waiting for the first figures/)).toBeTruthy();
  });
});

test('a trade appears once, on top, with the state after it', () => {
  show(portfolio({ event_seq: 1, fills: [fill({ event_seq: 1 })] }));
  receive(trade(2, { balance: '999.90' }));
  receive(trade(2, { balance: '999.90' }));
  const shown = [...document.querySelectorAll('[data-fill-id]')];
  expect(shown.map((row) => row.getAttribute('data-fill-id'))).toEqual(['102', '101']);
  expect(cell(1, 'balance').getAttribute('data-value')).toBe('999.90');
});

test('every table has a name and headings with a scope', () => {
  show(portfolio({ event_seq: 2, fills: [fill()], events: [discrepancy(2)] }));
  const tables = screen.getAllByRole('table');
  expect(tables).toHaveLength(4);
  for (const table of tables) {
    const title = document.getElementById(table.getAttribute('aria-labelledby') ?? '');
    expect((title ?? table.querySelector('caption'))?.textContent).toBeTruthy();
    for (const heading of table.querySelectorAll('th')) {
      expect(heading.getAttribute('scope')).toMatch(/^(col|row)$/);
    }
  }
});

test('nothing on the page carries a style of its own, so that a strict policy can hold', () => {
  show(portfolio({ fills: [fill()] }));
  expect(document.querySelector('#root [style], table [style], style')).toBeNull();
});

describe('the line', () => {
  const at = Date.parse('2014-05-02T12:30:00Z');

  /** @type {[typeof IDLE['phase'], number | null, string, string][]} */
  const cases = [
    ['idle', null, 'idle', 'Not connected'],
    ['connecting', null, 'connecting', 'Connecting'],
    ['connecting', at, 'connecting', `Stale since ${formatClock(at)}, reconnecting`],
    ['live', null, 'live', 'Live'],
    ['live', at, 'stale', `Stale since ${formatClock(at)}, database lost`],
    ['stale', at, 'stale', `Stale since ${formatClock(at)}, reconnecting`],
    ['disconnected', null, 'disconnected', 'Disconnected'],
    ['disconnected', at, 'disconnected', `Stale since ${formatClock(at)}, disconnected`],
    ['refused', null, 'refused', 'Refused'],
    ['refused', at, 'refused', `Stale since ${formatClock(at)}, refused`],
  ];

  test.each(cases)('%s with figures current until %s is %s: %s', (phase, staleSince, name, text) => {
    expect(describeConnection({ ...IDLE, phase }, staleSince)).toEqual({ state: name, text });
  });

  test('tells programs since when its figures are stale', () => {
    show(portfolio());
    expect(find('[data-connection]').hasAttribute('data-stale-since')).toBe(false);
    act(() => store.getState().setConnection({ ...IDLE, phase: 'stale', liveUntil: at }));
    expect(find('[data-connection]').getAttribute('data-stale-since')).toBe('2014-05-02T12:30:00.000Z');
    act(() => store.getState().setConnection({ ...IDLE, phase: 'live' }));
    receive(snapshot(portfolio()));
    expect(find('[data-connection]').hasAttribute('data-stale-since')).toBe(false);
  });

  test('to a relay that does not understand the page leaves the figures in sight, and says to reload it', () => {
    show(portfolio());
    const error = relayError('bad_message');
    act(() => store.getState().setConnection({ ...IDLE, phase: 'refused', liveUntil: at, error }));
    expect(screen.getByRole('alert').textContent).toMatch(/^What went wrong. Reload the page;/);
    expect(find('main').className).toBe('desk outdated');
    expect(screen.getAllByText('Harbour').length).toBeGreaterThan(0);
    expect(screen.queryByLabelText('Token')).toBeNull();
  });

  test('counts down to the next attempt outside of what is read aloud', () => {
    show(portfolio());
    const retryAt = Date.now() + 4000;
    act(() => store.getState().setConnection({ ...IDLE, phase: 'disconnected', retryAt }));
    expect(find('[data-connection]').getAttribute('data-connection')).toBe('disconnected');
    expect(screen.getByText(/retrying in 4 s/).closest('[aria-live]')).toBeNull();
    expect(find('main').className).toContain('outdated');
    expect(cell(1, 'equity').textContent).toBe('1,010.00');
  });

  test('tells the age of the last message apart from the age of the prices', () => {
    const pricedAt = new Date(Date.now() - 90_000).toISOString();
    show(portfolio({ state: state({ priced_at: pricedAt }) }));
    expect(find('[data-age="message"]').textContent).toBe('0 s');
    expect(find('[data-age="prices"]').textContent).toBe('1 min old');
  });

  test('a lost database makes the figures outdated although heartbeats come', () => {
    show(portfolio());
    receive(heartbeat({}, { database_ok: false }));
    expect(find('[data-connection]').getAttribute('data-connection')).toBe('stale');
    expect(find('main').className).toContain('outdated');
  });
});

describe('totals', () => {
  afterEach(() => {
    window.location.hash = '';
  });

  /** @param {Parameters<typeof totals>[0]} [fields] */
  function showTotals(fields) {
    const accounts = [portfolio({ account_id: 1 }), portfolio({ account_id: 2 })];
    store.getState().receive([{ ...snapshot(...accounts), totals: totals(fields) }], Date.now());
    open();
  }
  const total = (/** @type {string} */ field) => find(`[data-totals] [data-field="${field}"]`);

  test('stand in the first row, exact, and follow', () => {
    showTotals({ balance: HUGE });
    expect(find('table.accounts tbody tr').hasAttribute('data-totals')).toBe(true);
    expect(total('balance').getAttribute('data-value')).toBe(HUGE);
    receive(totalsChanged({ equity: '2021.00' }));
    expect(total('equity').textContent).toBe('2,021.00');
  });

  test('that are unknown say why, and stale ones are said to be', () => {
    showTotals({ equity: null, unlinked_currency: 'XAU', is_priced: false });
    expect(total('equity').textContent).toBe('—');
    expect(total('equity').querySelector('[title]')?.getAttribute('title')).toMatch(/from XAU to USD/);
    expect(find('[data-totals] [data-flag="unlinked"]').textContent).toContain('XAU');
    receive(totalsChanged({ is_stale: true }));
    expect(find('[data-totals] [data-flag="stale"]').textContent).toContain('stale');
    expect(document.querySelector('[data-totals] [data-flag="unlinked"]')).toBeNull();
  });

  test('of one account are not shown', () => {
    showTotals({ accounts: 1 });
    expect(document.querySelector('[data-totals]')).toBeNull();
  });

  test('can be had in another currency, which goes to the address', () => {
    showTotals();
    fireEvent.change(screen.getByLabelText('Currency of the totals'), { target: { value: 'JPY' } });
    expect(readTotalsCurrency()).toBe('JPY');
  });
});

describe('what is to be said of an account', () => {
  test('prices that have not been renewed in time, by time alone, at the account and the position', () => {
    show(portfolio());
    expect(document.querySelector('[data-flag="stale"]')).toBeNull();
    act(() => store.getState().tick(Date.parse('2014-05-02T12:31:00.001Z')));
    expect(find('[data-account-id="1"] [data-flag="stale"]')).toBeTruthy();
    expect(find('tr[data-symbol="EUR/USD"]').getAttribute('data-stale')).toBe('true');
    const fresh = '2014-05-02T12:32:00Z';
    receive(update({ version: 2, fresh_until: fresh }, { positions: [position({ fresh_until: fresh })] }));
    expect(document.querySelector('[data-flag="stale"]')).toBeNull();
  });

  test.each(/** @type {const} */ (['margin_call', 'close_out']))('a margin level that means %s', (marginState) => {
    show(portfolio({ state: state({ margin_state: marginState }) }));
    expect(find(`[data-account-id="1"] [data-flag="${marginState}"]`)).toBeTruthy();
    receive(update({ version: 2, margin_state: 'ok' }));
    expect(document.querySelector('[data-flag]')).toBeNull();
  });

  test('drawdown, high-water mark and since when', () => {
    show(portfolio());
    const summary = (/** @type {string} */ field) => find(`.summary [data-field="${field}"]`);
    expect(summary('high_water_mark').getAttribute('data-value')).toBe('1015.00');
    expect(summary('drawdown').getAttribute('data-value')).toBe('5.00');
    expect(summary('drawdown_pct').textContent).toBe('0.49%');
    expect(find('[data-note="under_water_since"]').textContent).toMatch(/^since /);
    receive(update({ version: 2, drawdown: '0.00', drawdown_pct: null, under_water_since: null }));
    expect(summary('drawdown').textContent).toBe('0.00');
    expect(summary('drawdown_pct').textContent).toBe('');
    expect(find('[data-note="under_water_since"]').textContent).toBe('');
    receive(update({ version: 3 }));
    expect(summary('drawdown_pct').textContent).toBe('0.49%');
  });
});

describe('discrepancies and alerts', () => {
  test('are not there where there are none', () => {
    show(portfolio());
    expect(document.querySelector('.issues')).toBeNull();
  });

  test('say what differs, by how much, and stay as resolved when they are over', () => {
    show(portfolio());
    receive(discrepancy(1));
    const row = find('[data-discrepancy-id="5"]');
    expect(row.getAttribute('data-status')).toBe('open');
    expect(row.querySelector('[data-field="difference"]')?.getAttribute('data-value')).toBe('-2000');
    expect(row.textContent).toContain('A fill of 2,000 EUR/USD is missing here.');
    expect(find('.issues').getAttribute('data-open')).toBe('1');
    receive(discrepancy(2, { status: 'acknowledged', acknowledged_at: AT, acknowledged_by: 'mara', theirs: null }));
    expect(find('[data-discrepancy-id="5"]').textContent).toContain('acknowledged by mara');
    expect(find('[data-discrepancy-id="5"] [data-field="theirs"]').textContent).toBe('—');
    receive(discrepancy(3, { status: 'resolved', resolved_at: AT }));
    expect(document.querySelectorAll('[data-discrepancy-id="5"]')).toHaveLength(1);
    expect(find('[data-discrepancy-id="5"]').getAttribute('data-status')).toBe('resolved');
    expect(find('.issues').getAttribute('data-open')).toBe('0');
    expect(find('.issues > details').hasAttribute('open')).toBe(false);
  });

  test('an alert of several accounts is there once, and names them', () => {
    const names = ['Harbour', 'Lighthouse'];
    show(
      ...[1, 2].map((id) => portfolio({ account_id: id, state: state({ account_id: id, name: names[id - 1] ?? '' }) })),
    );
    receive(alert(1, {}, 1), alert(1, {}, 2));
    const shown = document.querySelectorAll('[data-alert-id="8"]');
    expect(shown).toHaveLength(1);
    expect(shown[0]?.textContent).toContain('Harbour, Lighthouse');
    expect(shown[0]?.getAttribute('data-severity')).toBe('critical');
  });
});

describe('what was missed', () => {
  test('is said plainly, account by account, until it was read', () => {
    store.getState().receive([snapshot(portfolio({ event_seq: 4, fills: [fill({ event_seq: 4 })] }))], 0);
    store.getState().setConnection({ ...IDLE, phase: 'disconnected' });
    const after = portfolio({ event_seq: 600, history_from: 101, fills: [fill({ event_seq: 600 })] });
    show(after);
    expect(find('[data-missed]').getAttribute('data-missed')).toBe('1');
    expect(find('[data-missed-of="1"]').getAttribute('data-count')).toBe('96');
    expect(find('[data-missed-of="1"]').textContent).toMatch(/^Harbour: 96 events between .* are not shown; api.fills/);
    fireEvent.click(screen.getByRole('button', { name: 'Dismiss' }));
    expect(document.querySelector('[data-missed]')).toBeNull();
  });

  test('is worded for one event, and for instants that are not known', () => {
    expect(describeMissed('Harbour', { count: 1, after: null, before: null })).toBe('Harbour: 1 event is not shown;');
    expect(describeMissed('Harbour', { count: 2, after: null, before: AT })).toMatch(/^Harbour: 2 events before .* are not shown;$/);
  });
});

test('the way of trades is shown once there was one', () => {
  const times = createLatency({ frames: /** @type {any} */ ({ requestAnimationFrame: (/** @type {() => void} */ run) => run() }), post: (run) => run() });
  store.getState().receive([snapshot(portfolio())], Date.now());
  open({ latency: times });
  expect(document.querySelector('.latency')).toBeNull();
  cleanup();
  times.record(trade(1, {}, { committed_at: null }), Date.now());
  open({ latency: times });
  expect(find('.latency').getAttribute('data-latency-count')).toBe('1');
  expect(find('[data-stretch="relay"] [data-field="p99"]').textContent).toBe('—');
  expect(find('[data-stretch="whole"] [data-field="p50"]').textContent).toMatch(/^\d+\.\d$/);
});

describe('the curve', () => {
  beforeEach(() => {
    drawn.columns = [];
  });
  afterEach(() => {
    window.location.hash = '';
  });

  /** @type {any[]} */
  let wishes;
  /** @type {RequestCurve} */
  const answering = async (wish) => {
    wishes.push(wish);
    return curve({ account_id: wish.account_id ?? 1 });
  };

  /** @param {RequestCurve} requestCurve */
  async function showCurve(requestCurve) {
    wishes = [];
    store.getState().receive([snapshot(portfolio(), portfolio({ account_id: 2 }))], Date.now());
    open({ requestCurve });
    await vi.waitFor(() => find('[data-range]'), 4000);
  }

  test('is asked for over the range in the address, and drawn up to now', async () => {
    window.location.hash = '#range=7D';
    await showCurve(answering);
    await vi.waitFor(() => expect(find('[data-curve-points]').getAttribute('data-curve-points')).toBe('3'));
    expect(Date.parse(wishes[0].to_at) - Date.parse(wishes[0].from_at)).toBe((7 * 24 + 1) * 3_600_000);
    expect(wishes[0]).toMatchObject({ account_id: 1, points: window.innerWidth });
    expect(drawn.columns.at(-1).equity).toEqual(['1005.00', '1010.00', null, '1010.00']);
    expect(find('[role="img"].plot').getAttribute('aria-label')).toMatch(/deepest drawdown 20.00/);
    fireEvent.click(find('[data-range="1D"]'));
    await vi.waitFor(() => expect(wishes).toHaveLength(2));
    expect(readRange()).toBe('1D');
  });

  test('of another account is asked for anew, and the old request is given up', async () => {
    /** @type {AbortSignal[]} */
    const signals = [];
    await showCurve((wish, { signal }) => {
      wishes.push(wish);
      signals.push(signal);
      return noCurve(wish, { signal });
    });
    await vi.waitFor(() => expect(wishes).toHaveLength(1));
    act(() => store.getState().selectAccount(2));
    expect(wishes[1]?.account_id).toBe(2);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
  });

  test('that does not come is said, and can be tried again', async () => {
    let isThere = false;
    await showCurve(async (wish, options) => {
      if (!isThere) throw new CurveError('timeout');
      return answering(wish, options);
    });
    const again = await screen.findByRole('button', { name: 'Try again' });
    isThere = true;
    fireEvent.click(again);
    await vi.waitFor(() => expect(document.querySelector('.curve-problem')).toBeNull());
    expect(find('[data-curve-points]')).toBeTruthy();
  });

  test('that came while the page was hidden is drawn when it is seen', async () => {
    const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
    await showCurve(answering);
    await vi.waitFor(() => expect(find('[role="img"].plot').getAttribute('aria-label')).toMatch(/deepest/));
    expect(document.querySelector('[data-curve-points]')).toBeNull();
    hidden.mockReturnValue(false);
    fireEvent(document, new Event('visibilitychange'));
    expect(find('[data-curve-points]')).toBeTruthy();
  });

  test('without points says so', async () => {
    const none = { at: [], open: [], high: [], low: [], close: [], performance: [], drawdown: [], drawdown_pct: [] };
    await showCurve(async () => curve(none));
    expect(await screen.findByText('No curve in this range yet.')).toBeTruthy();
  });
});

describe('many accounts', () => {
  /** @type {{ element: Element, tell: (entries: any[]) => void }[]} */
  let observed;

  beforeEach(() => {
    observed = [];
    vi.stubGlobal(
      'IntersectionObserver',
      class {
        /** @param {(entries: any[]) => void} tell */
        constructor(tell) {
          this.tell = tell;
        }
        /** @param {Element} element */
        observe(element) {
          observed.push({ element, tell: this.tell });
        }
        disconnect() {}
      },
    );
  });
  afterEach(() => vi.unstubAllGlobals());

  const rows = () => [...document.querySelectorAll('tr[data-account-id]')].map((row) => Number(row.getAttribute('data-account-id')));
  /** @param {number} chunk @param {boolean} isIntersecting */
  const scroll = (chunk, isIntersecting) =>
    act(() => chunks()[chunk]?.tell([{ isIntersecting, boundingClientRect: { height: 700 } }]));
  const chunks = () => observed.filter(({ element }) => element.closest('.accounts'));

  /** @param {number} number */
  const showMany = (number) =>
    show(
      ...Array.from({ length: number }, (_, id) =>
        portfolio({ account_id: id, state: state({ account_id: id, name: `Desk ${id}`, currency: id % 2 ? 'USD' : 'JPY' }) }),
      ),
    );

  test('rows out of sight leave their room and come back as they then stand', () => {
    showMany(100);
    expect(chunks()).toHaveLength(4);
    expect(rows()).toEqual(Array.from({ length: 25 }, (_, id) => id));
    expect([...document.querySelectorAll('.room td')].map((one) => /** @type {HTMLElement} */ (one).style.height)).toEqual(['725px', '725px', '725px']);
    receive(update({ account_id: 30, version: 2, equity: '3.00', name: 'Desk 30' }));
    scroll(1, true);
    expect(rows()).toHaveLength(50);
    scroll(0, false);
    expect(rows()).toEqual(Array.from({ length: 25 }, (_, id) => 25 + id));
    expect(/** @type {HTMLElement} */ (find('.room td')).style.height).toBe('700px');
    expect(cell(30, 'equity').getAttribute('data-value')).toBe('3.00');
    expect(find('table.accounts').getAttribute('aria-rowcount')).toBe('101');
  });

  test('of the fills the latest are there, older blocks only where they are seen, all in order', () => {
    const fills = Array.from({ length: 40 }, (_, index) => fill({ event_seq: 45 - index }));
    show(portfolio({ event_seq: 45, fills }));
    const seqs = () =>
      [...document.querySelectorAll('tr[data-fill-id]')].map((row) => Number(row.getAttribute('data-fill-id')) - 100);
    const down = (/** @type {number} */ from, /** @type {number} */ to) =>
      Array.from({ length: from - to + 1 }, (_, index) => from - index);
    const blocks = () => [...document.querySelectorAll('.fills tbody')];
    const heights = () =>
      [...document.querySelectorAll('.fills .room td')].map((one) => /** @type {HTMLElement} */ (one).style.height);
    const see = (/** @type {number} */ block, /** @type {boolean} */ isIntersecting) => {
      const height = isIntersecting ? 29 : 30 * (blocks()[block]?.querySelectorAll('tr').length ?? 0);
      const { tell } = observed.find(({ element }) => element === blocks()[block]) ?? {};
      act(() => tell?.([{ isIntersecting, boundingClientRect: { height } }]));
    };
    expect(blocks()).toHaveLength(5);
    expect(seqs()).toEqual(down(45, 30));
    expect(heights()).toEqual(['290px', '290px', '116px']);
    see(2, true);
    see(3, true);
    expect(seqs()).toEqual(down(45, 10));
    see(2, false);
    expect(seqs()).toEqual([...down(45, 30), ...down(19, 10)]);
    expect(heights()).toEqual(['300px', '116px']);
    see(2, true);
    for (let block = 0; block < 5; block += 1) see(block, false);
    expect(seqs()).toEqual(down(45, 30));
    for (let seq = 46; seq <= 52; seq += 1) receive(trade(seq));
    expect(seqs()).toEqual(down(52, 40));
    expect(heights()).toEqual(['300px', '300px', '300px', '116px']);
    for (let block = 0; block < blocks().length; block += 1) see(block, true);
    expect(seqs()).toEqual(down(52, 6));
  });

  test('positions below the first ten are there only where they are seen, with their figures', () => {
    const positions = Array.from({ length: 30 }, (_, index) => position({ symbol: `X${10 + index}/USD`, price: '1.1' }));
    show(portfolio({ positions }));
    const held = () => [...document.querySelectorAll('tr[data-symbol] [data-field="price"]')].map((price) => price.getAttribute('data-value'));
    expect(held()).toEqual(Array(10).fill('1.1'));
    const moved = positions.map((one) => ({ ...one, price: '1.2' }));
    receive(update({ version: 2 }, { positions: moved }));
    const rest = observed.find(({ element }) => element.closest('.positions'));
    act(() => rest?.tell([{ isIntersecting: true, boundingClientRect: { height: 580 } }]));
    expect(held()).toEqual(Array(30).fill('1.2'));
    act(() => rest?.tell([{ isIntersecting: false, boundingClientRect: { height: 580 } }]));
    expect(held()).toHaveLength(10);
    expect(find('table.positions').getAttribute('aria-rowcount')).toBe('31');
  });

  test('are searched by the words of their name, or by currency', async () => {
    showMany(40);
    scroll(1, true);
    const search = screen.getByLabelText(/Search accounts/);
    fireEvent.change(search, { target: { value: 'desk 3 jpy' } });
    await vi.waitFor(() => expect(rows()).toEqual([30, 32, 34, 36, 38]));
    expect(find('.list-head .count').textContent).toBe('5 of 40');
    fireEvent.change(search, { target: { value: 'nobody' } });
    await vi.waitFor(() => expect(screen.getByText('No account is called like this')).toBeTruthy());
    fireEvent.change(search, { target: { value: '' } });
    await vi.waitFor(() => expect(rows()).toEqual(Array.from({ length: 25 }, (_, id) => id)));
  });

  test('few need no search', () => {
    showMany(3);
    expect(screen.queryByLabelText(/Search accounts/)).toBeNull();
  });
});

test('a long history of fills is shown on demand', () => {
  const fills = Array.from({ length: 70 }, (_, index) => fill({ event_seq: 70 - index }));
  show(portfolio({ event_seq: 70, fills }));
  expect(document.querySelectorAll('[data-fill-id]')).toHaveLength(50);
  fireEvent.click(screen.getByRole('button', { name: 'all 70' }));
  expect(document.querySelectorAll('[data-fill-id]')).toHaveLength(70);
});

describe('the token', () => {
  afterEach(() => {
    window.location.hash = '';
  });

  test('is asked for where there is none, and goes to the address', () => {
    store.getState().forget();
    open();
    expect(screen.getByText('tidemark token issue')).toBeTruthy();
    fireEvent.change(screen.getByLabelText('Token'), { target: { value: ' a+b=c ' } });
    fireEvent.click(screen.getByRole('button', { name: 'Connect' }));
    /** @type {(string | null)[]} */
    const told = [];
    followAddress(({ token }) => told.push(token));
    expect(told).toEqual(['a+b=c']);
  });

  test('that is refused is told with the remedy', () => {
    const error = relayError('bad_token');
    store.getState().setConnection({ ...IDLE, phase: 'refused', error });
    open();
    expect(screen.getByRole('alert').textContent).toBe('What went wrong. What to do.');
    expect(screen.getByLabelText('Token')).toBeTruthy();
  });

  test('that the relay cannot read can be replaced', () => {
    store.getState().setConnection({ ...IDLE, phase: 'refused', error: relayError('bad_message') });
    open();
    expect(screen.getByRole('heading', { level: 2 }).textContent).toBe('The relay does not understand this page');
    expect(screen.getByRole('alert').textContent).toMatch(/^What went wrong. Reload the page;/);
    expect(screen.getByLabelText('Token')).toBeTruthy();
  });
});
