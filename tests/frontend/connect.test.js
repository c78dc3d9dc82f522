// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import * as page from '#page/index.js';
import { FakeSocket } from './fakeSocket.js';
import { curve, discrepancy, fill, heartbeat, portfolio, snapshot, totals, totalsChanged, trade, update } from './messages.js';

const { connectPortfolio, usePortfolioStore, selectIsCurrent, selectIsStale, selectTotals } = page;
const store = () => usePortfolioStore.getState();

/** @type {ReturnType<typeof connectPortfolio>} */
let connection;
const Socket = /** @type {any} */ (FakeSocket);

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse('2014-05-02T12:30:00Z') });
  FakeSocket.all = [];
  store().forget();
  connection = connectPortfolio({ url: 'ws://relay.test/ws', token: 'secret', totalsCurrency: 'USD', Socket });
  FakeSocket.last.accept();
});
afterEach(() => {
  connection.stop();
  vi.useRealTimers();
});

test('the store fills itself, and is live', () => {
  FakeSocket.last.say(snapshot(portfolio()));
  expect(store().connection.phase).toBe('live');
  FakeSocket.last.say(update({ version: 2, equity: '1.00' }));
  vi.advanceTimersByTime(100);
  expect(store().portfolios[1]?.state.equity).toBe('1.00');
});

test('a gap asks for a snapshot from where it began, once', () => {
  FakeSocket.last.say(snapshot(portfolio({ event_seq: 1, fills: [fill()] })));
  FakeSocket.last.say(trade(3));
  FakeSocket.last.say(discrepancy(5));
  expect(FakeSocket.last.sentOf('resync')).toEqual([{ type: 'resync', since: { 1: 1 } }]);
  const fills = [5, 4, 3, 2].map((seq) => fill({ event_seq: seq }));
  FakeSocket.last.say(snapshot(portfolio({ event_seq: 5, history_from: 2, fills })));
  FakeSocket.last.say(trade(7));
  expect(FakeSocket.last.sentOf('resync').at(-1)).toEqual({ type: 'resync', since: { 1: 5 } });
});

test('totals alone fill the store, without an account', () => {
  connection.stop();
  connection = connectPortfolio({ url: 'ws://relay.test/ws', token: 'secret', totalsCurrency: 'USD', onlyTotals: true, Socket });
  FakeSocket.last.accept();
  const hello = { type: 'hello', token: 'secret', totals_currency: 'USD', only_totals: true, updates_a_second: 10 };
  expect(FakeSocket.last.sent).toEqual([hello]);
  FakeSocket.last.say({ ...snapshot(), totals: totals() });
  expect(selectTotals(store())?.equity).toBe('2020.00');
  FakeSocket.last.say(totalsChanged({ equity: '1.00' }));
  FakeSocket.last.say(heartbeat({}));
  vi.advanceTimersByTime(100);
  expect(selectTotals(store())?.equity).toBe('1.00');
  expect(store()).toMatchObject({ accountIds: [], wantsResync: false });
  expect(selectIsCurrent(store())).toBe(true);
  FakeSocket.last.fail();
  expect(selectIsCurrent(store())).toBe(false);
  expect(selectTotals(store())?.equity).toBe('1.00');
  vi.advanceTimersByTime(500);
  FakeSocket.last.accept();
  expect(FakeSocket.last.sent).toEqual([hello]);
});

test('a lost line is opened again with what is held', () => {
  FakeSocket.last.say(snapshot(portfolio({ event_seq: 1, fills: [fill()] })));
  FakeSocket.last.fail();
  window.dispatchEvent(new Event('online'));
  FakeSocket.last.accept();
  expect(FakeSocket.all).toHaveLength(2);
  expect(FakeSocket.last.sent).toEqual([
    {
      type: 'hello',
      token: 'secret',
      totals_currency: 'USD',
      updates_a_second: 10,
      since: { 1: 1 },
    },
  ]);
});

test('prices go stale by time, without a message', () => {
  FakeSocket.last.say(snapshot(portfolio()));
  FakeSocket.last.onclose = null;
  expect(selectIsStale(1)(store())).toBe(false);
  vi.advanceTimersByTime(62_000);
  expect(selectIsStale(1)(store())).toBe(true);
});

test('trades are measured, and curves asked for', async () => {
  FakeSocket.last.say(snapshot(portfolio()));
  FakeSocket.last.say(trade(1));
  expect(connection.latency.trades()).toMatchObject([{ fill_id: 101 }]);
  const { from_at, to_at, account_id } = curve();
  const answer = connection.requestCurve({ account_id, from_at, to_at, points: 100 });
  FakeSocket.last.say(curve());
  expect((await answer).at).toHaveLength(3);
});

test('what waits when a connection is stopped does not come into the store any more', () => {
  FakeSocket.last.say(snapshot(portfolio()));
  FakeSocket.last.say(update({ version: 2 }));
  connection.stop();
  store().forget();
  vi.advanceTimersByTime(1000);
  expect(store().receivedAt).toBeNull();
  expect(vi.getTimerCount()).toBe(0);
});

test('a stopped connection leaves what is held, and no timer', () => {
  FakeSocket.last.say(snapshot(portfolio()));
  connection.stop();
  expect(store().connection.phase).toBe('idle');
  expect(store().accountIds).toEqual([1]);
  expect(vi.getTimerCount()).toBe(0);
});
