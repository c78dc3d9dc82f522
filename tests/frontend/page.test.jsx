// @vitest-environment jsdom
import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import { Profiler } from 'react';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AccountRow } from '#page/components/AccountsTable.jsx';
import { App } from '#page/components/App.jsx';
import { describeConnection } from '#page/components/ConnectionState.jsx';
import { formatClock } from '#page/format.js';
import { IDLE } from '#page/services/portfolioSocket.js';
import { followToken, writeToken } from '#page/services/token.js';
import { usePortfolioStore } from '#page/stores/portfolioStore.js';
import {
  fill,
  heartbeat,
  portfolio,
  position,
  relayError,
  snapshot,
  state,
  trade,
  update,
} from './messages.js';

/** @import { StateMessage } from '#page/stores/portfolioStore.js' */

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

/** @param {Parameters<typeof snapshot>} accounts */
function show(...accounts) {
  store.getState().receive([snapshot(...accounts)], Date.now());
  render(<App />);
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
  test('an update of one renders no other row', () => {
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
    expect(new Set(renders)).toEqual(new Set(['2']));
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
    expect(screen.getByRole('heading', { level: 2 }).textContent).toBe('Harbour');
    const button = screen.getByRole('button', { name: 'Lighthouse' });
    fireEvent.click(button);
    expect(button.getAttribute('aria-pressed')).toBe('true');
    expect(screen.getByRole('heading', { level: 2 }).textContent).toBe('Lighthouse');
    const held = find('[data-symbol="GBP/JPY"][data-side="short"] [data-field="unrealized_pnl"]');
    expect(held.textContent).toBe('−3.20');
    expect(find('[data-fill-id="77"] [data-field="realized_pnl"]').textContent).toBe('+4.00');
  });

  test('a token that opens none is told so', () => {
    show();
    expect(screen.getByText(/opens no accounts/)).toBeTruthy();
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

test('every table has a caption and headings with a scope', () => {
  show(portfolio({ fills: [fill()] }));
  const tables = screen.getAllByRole('table');
  expect(tables).toHaveLength(3);
  for (const table of tables) {
    expect(table.querySelector('caption')?.textContent).toBeTruthy();
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

  /** @type {[Partial<typeof IDLE>, number | null, string, string][]} */
  const cases = [
    [{ phase: 'connecting' }, null, 'connecting', 'Connecting'],
    [{ phase: 'live' }, null, 'live', 'Live'],
    [{ phase: 'live' }, at, 'stale', `Stale since ${formatClock(at)}, database lost`],
    [{ phase: 'stale', liveUntil: at }, null, 'stale', `Stale since ${formatClock(at)}, reconnecting`],
    [{ phase: 'disconnected' }, null, 'disconnected', 'Disconnected'],
    [{ phase: 'refused' }, null, 'refused', 'Refused'],
  ];

  test.each(cases)('%o with database lost at %s is %s', (connection, lostAt, name, text) => {
    const described = describeConnection({ ...IDLE, ...connection }, lostAt);
    expect(described).toEqual({ state: name, text });
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

describe('the token', () => {
  afterEach(() => {
    window.location.hash = '';
  });

  test('is asked for where there is none, and goes to the address', () => {
    store.getState().forget();
    render(<App />);
    expect(screen.getByText('tidemark token issue')).toBeTruthy();
    fireEvent.change(screen.getByLabelText('Token'), { target: { value: ' a+b=c ' } });
    fireEvent.click(screen.getByRole('button', { name: 'Connect' }));
    /** @type {(string | null)[]} */
    const told = [];
    followToken((token) => told.push(token));
    expect(told).toEqual(['a+b=c']);
  });

  test('that is given once more is tried once more', () => {
    window.location.hash = '#token=same';
    let times = 0;
    followToken(() => (times += 1));
    writeToken('same');
    expect(times).toBe(2);
  });

  test('that is refused is told with the remedy', () => {
    const error = relayError('bad_token');
    store.getState().setConnection({ ...IDLE, phase: 'refused', error });
    render(<App />);
    expect(screen.getByRole('alert').textContent).toBe('What went wrong. What to do.');
    expect(screen.getByLabelText('Token')).toBeTruthy();
  });
});
