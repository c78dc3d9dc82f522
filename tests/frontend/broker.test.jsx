// @vitest-environment jsdom
import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { App } from '#page/components/App.jsx';
import { describeBroker } from '#page/components/BrokerFigures.jsx';
import { formatInstant, subtractAmounts } from '#page/format.js';
import { IDLE } from '#page/services/portfolioSocket.js';
import { createInbox } from '#page/stores/inbox.js';
import { createLatency } from '#page/stores/latency.js';
import { EMPTY, applyMessages, usePortfolioStore } from '#page/stores/portfolioStore.js';
import { asFromRelay } from './contract.js';
import { AT, portfolio, snapshot, state, update } from './messages.js';

/** @import { Broker, BrokerChanged } from '#page/services/messages.js' */
/** @import { StateMessage } from '#page/services/portfolioSocket.js' */

// A canvas is what jsdom has not.
vi.mock('#page/components/curveChart.js', () => ({
  createCurveChart: () => ({ draw: () => {}, destroy: () => {} }),
}));

const LATER = '2014-05-02T12:31:30.000000Z';

/** @param {Partial<Broker>} [fields] @returns {Broker} */
const broker = (fields = {}) => ({
  balance: '1000.00',
  equity: '1010.25',
  unrealized_pnl: '10.25',
  margin_used: '100.00',
  answered_at: AT,
  consistent_since: AT,
  last_run_at: AT,
  overdue_at: LATER,
  failing_since: null,
  failure: null,
  open_discrepancies: 0,
  ...fields,
});

/** @param {Broker | null} told @param {number} [id] @returns {BrokerChanged} */
const changed = (told, id = 1) => asFromRelay({ type: 'broker', account_id: id, broker: told });

const differing = broker({ consistent_since: null, open_discrepancies: 2, balance: '999.5' });

describe('subtracting', () => {
  test.each([
    ['1000.00', '999.5', '0.50'],
    ['0.1', '0.30', '-0.20'],
    ['-5', '-5.000', '0.000'],
    ['-0.05', '0.01', '-0.06'],
    ['12345678901234567890.12', '0.01', '12345678901234567890.11'],
    ['7', '10', '-3'],
  ])('%s − %s = %s', (a, b, difference) => {
    expect(subtractAmounts(a, b)).toBe(difference);
  });
});

describe('what the broker said', () => {
  const first = applyMessages(EMPTY, [snapshot(portfolio({ broker: broker() }), portfolio({ account_id: 2 }))]);

  test('comes with the snapshot and is replaced by what comes later', () => {
    expect(first.portfolios[1]?.broker).toEqual(broker());
    expect(first.portfolios[2]?.broker).toBeNull();
    const next = applyMessages(first, [changed(differing), changed(broker(), 2), changed(null, 2)]);
    expect(next.portfolios[1]?.broker).toEqual(differing);
    expect(next.portfolios[2]?.broker).toBeNull();
    expect(next.portfolios[1]?.state).toBe(first.portfolios[1]?.state);
  });

  test('of an account that is not held, or before a snapshot, says nothing', () => {
    expect(applyMessages(first, [changed(broker(), 9)])).toBe(first);
    const lost = { ...first, isSynced: false };
    expect(applyMessages(lost, [changed(differing)])).toBe(lost);
  });

  test('is painted with the prices, the latest of each account', () => {
    /** @type {StateMessage[][]} */
    const delivered = [];
    /** @type {(() => void)[]} */
    const due = [];
    const { accept } = createInbox({
      deliver: (messages) => delivered.push(messages),
      timers: /** @type {any} */ ({ setTimeout: (/** @type {() => void} */ run) => due.push(run), clearTimeout: () => {} }),
    });
    accept(changed(broker()), 0);
    accept(changed(null, 2), 0);
    accept(changed(differing), 0);
    accept(update(), 0);
    expect(delivered).toEqual([]);
    expect(due).toHaveLength(1);
    due[0]?.();
    expect(delivered).toEqual([[update(), changed(differing), changed(null, 2)]]);
  });
});

test('each standing is said in words', () => {
  const at = formatInstant(AT);
  const failing = { failing_since: LATER, failure: 'timed out' };
  const later = formatInstant(LATER);
  /** @type {[Broker | null, boolean, string][]} */
  const cases = [
    [null, false, 'Not compared with a broker'],
    [broker(), false, `Consistent since ${at}`],
    [differing, false, 'Differs: 2 open'],
    [broker(failing), false, `Consistent until ${at}; no answer since ${later} (timed out)`],
    [{ ...differing, ...failing }, false, `Differs: 2 open; no answer since ${later} (timed out)`],
    [broker(), true, `Consistent until ${at}; not compared since ${at}`],
    [{ ...differing, ...failing }, true, `Differs: 2 open; not compared since ${at}`],
    [broker({ consistent_since: null, answered_at: null, last_run_at: null }), false, 'Not compared yet'],
    [broker({ consistent_since: null, answered_at: null, last_run_at: null }), true, 'Never compared'],
    [broker({ consistent_since: null, answered_at: null, ...failing }), false, `No answer since ${later} (timed out)`],
  ];
  for (const [told, isOverdue, words] of cases) expect(describeBroker(told, isOverdue)).toBe(words);
});

describe('the page', () => {
  const store = usePortfolioStore;
  beforeEach(() => {
    store.getState().forget();
    store.getState().setConnection({ ...IDLE, phase: 'live' });
    store.getState().receive(
      [snapshot(portfolio({ broker: broker() }), portfolio({ account_id: 2, state: state({ account_id: 2, name: 'Quay' }) }))],
      Date.now(),
    );
    const requestCurve = () => new Promise(() => {});
    render(<App requestCurve={/** @type {any} */ (requestCurve)} acknowledge={async () => {}} latency={createLatency()} />);
  });
  afterEach(cleanup);

  /** @param {StateMessage[]} messages */
  const receive = (...messages) => act(() => store.getState().receive(messages, Date.now()));
  const standing = () => document.querySelector('#account [data-standing]')?.getAttribute('data-standing');
  /** @param {number} id */
  const mark = (id) => document.querySelector(`[data-account-id="${id}"] [data-broker]`);
  /** @param {string} name */
  const value = (name) => document.querySelector(`#account [data-field="${name}"]`)?.getAttribute('data-value');

  test('shows both sides and what is between them, as prices move', () => {
    expect(['broker_equity', 'ours_equity', 'difference_equity'].map(value)).toEqual(['1010.25', '1010.00', '0.25']);
    expect(['broker_balance', 'ours_balance', 'difference_balance'].map(value)).toEqual(['1000.00', '1000.00', '0.00']);
    receive(update({ version: 2, equity: '1011.00' }));
    expect(['broker_equity', 'ours_equity', 'difference_equity'].map(value)).toEqual(['1010.25', '1011.00', '-0.75']);
    receive(changed(differing));
    expect(['broker_balance', 'ours_balance', 'difference_balance'].map(value)).toEqual(['999.5', '1000.00', '-0.50']);
    expect(standing()).toBe('differs');
    receive(update({ version: 3, equity: null, unrealized_pnl: null, margin_used: null, is_priced: false }));
    expect(value('difference_equity')).toBeNull();
    const dash = document.querySelector('[data-field="difference_equity"] [role="img"]');
    expect(dash?.getAttribute('aria-label')).toMatch(/^Unknown/);
  });

  test('marks each account in the list', () => {
    expect(mark(1)?.getAttribute('data-broker')).toBe('consistent');
    expect(mark(1)?.getAttribute('aria-label')).toBe(`Consistent since ${formatInstant(AT)}`);
    expect(mark(2)?.getAttribute('data-broker')).toBe('none');
    receive(changed(differing));
    expect(mark(1)?.getAttribute('data-broker')).toBe('differs');
  });

  test('notices by itself that nobody compares any more', () => {
    act(() => store.getState().tick(Date.parse(LATER)));
    expect(standing()).toBe('consistent');
    act(() => store.getState().tick(Date.parse(LATER) + 1));
    expect(standing()).toBe('failing');
    expect(mark(1)?.getAttribute('data-broker')).toBe('failing');
  });

  test('shows no figures where nothing is compared', () => {
    fireEvent.click(screen.getByRole('button', { name: 'Quay' }));
    expect(standing()).toBe('none');
    expect(document.querySelector('#account [data-field="broker_equity"]')).toBeNull();
    receive(changed(broker({ balance: null, equity: null, unrealized_pnl: null, margin_used: null }), 2));
    expect(value('ours_equity')).toBe('1010.00');
    expect(value('broker_equity')).toBeNull();
    expect(value('difference_equity')).toBeNull();
  });
});
