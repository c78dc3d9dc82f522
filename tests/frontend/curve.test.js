// @vitest-environment jsdom
import { expect, test } from 'vitest';
import { RANGES, rangeOf } from '#page/ranges.js';
import { createCurveAhead } from '#page/stores/curveWish.js';
import { columnsOf, deepest, withLiveEnd } from '#page/stores/curve.js';
import { curve, state } from './messages.js';

const NOW = Date.parse('2014-05-02T12:30:00Z');

test('columns are of equal length, with instants as numbers and exact amounts', () => {
  const columns = columnsOf(curve());
  expect(columns.at).toEqual([9, 10, 11].map((hour) => Date.UTC(2014, 4, 2, hour)));
  expect(columns.equity).toEqual(['1005.00', '1010.00', null]);
  expect(columns.drawdown).toEqual(['15.00', '20.00', null]);
  expect(columns.share).toEqual(['0.0148', '0.0196', null]);
  expect(columns.from).toBe(Date.UTC(2014, 4, 2, 9));
});

test('the peak is the highest performance within a bucket, not only at its close', () => {
  expect(columnsOf(curve()).peak).toBe(20);
  const none = curve({ performance: [null, null, null] });
  expect(columnsOf(none).peak).toBeNull();
});

test('the curve ends with the account as it stands', () => {
  const columns = columnsOf(curve());
  const live = withLiveEnd(columns, state({ equity: '1008.00', drawdown: '7.00', drawdown_pct: '0.007' }), NOW);
  expect(live.at.at(-1)).toBe(NOW);
  expect(live.equity.at(-1)).toBe('1008.00');
  expect([live.drawdown.at(-1), live.share.at(-1)]).toEqual(['7.00', '0.007']);
  expect(columns.at).toHaveLength(3);
  expect(new Set([live.at, live.equity, live.drawdown, live.share].map((one) => one.length))).toEqual(new Set([4]));
});

test('a mark from before the range does not count in it: the live end hangs from the peak of the range', () => {
  const account = state({ high_water_at: '2014-01-01T00:00:00Z', equity: '1012.50', net_flow: '1000.00', drawdown: '99.00' });
  const live = withLiveEnd(columnsOf(curve()), account, NOW);
  expect([live.drawdown.at(-1), live.share.at(-1)]).toEqual(['7.50', null]);
  const above = withLiveEnd(columnsOf(curve()), { ...account, equity: '1030.00' }, NOW);
  expect(above.drawdown.at(-1)).toBe('0.00');
});

test.each([
  ['whose equity is unknown', state({ equity: null }), NOW],
  ['that is not held', undefined, NOW],
  ['whose last bucket is not over', state(), Date.UTC(2014, 4, 2, 11)],
])('an account %s has no live end', (_, account, now) => {
  const columns = columnsOf(curve());
  expect(withLiveEnd(columns, account, now)).toBe(columns);
});

test('the deepest drawdown is found exactly', () => {
  expect(deepest(curve())).toBe('20.00');
  expect(deepest(curve({ drawdown: ['9.00', '10.00', '9.99'] }))).toBe('10.00');
  expect(deepest(curve({ drawdown: [null, null, null] }))).toBeNull();
});

test('a curve asked for ahead is taken once, and only for what was asked', async () => {
  const wish = { account_id: 1, from_at: '2014-05-02T00:00:00Z', to_at: '2014-05-03T00:00:00Z', points: 9 };
  const ahead = createCurveAhead();
  const early = async () => curve({ close: ['1.00', '2.00', '3.00'] });
  const now = async () => curve();
  expect(await ahead.take(wish, now)).toEqual(curve());
  ahead.ask({ ...wish, account_id: null }, early);
  expect(await ahead.take(wish, now)).toEqual(await early());
  expect(await ahead.take(wish, now)).toEqual(curve());
  ahead.ask({ ...wish, account_id: null }, early);
  expect(await ahead.take({ ...wish, account_id: 2 }, now)).toEqual(curve());
  ahead.ask(wish, early);
  expect(await ahead.take({ ...wish, points: 8 }, now)).toEqual(curve());
  ahead.ask(wish, () => Promise.reject(new Error('gone')));
  await expect(ahead.take(wish, now)).rejects.toThrow('gone');
});

test('a range is of whole units, and the longest begins where there was nothing', () => {
  expect(rangeOf('1D', NOW - 300)).toEqual({ from: NOW - 60_000 - 86_400_000, to: NOW });
  expect(rangeOf('1Y', NOW).to).toBe(Date.UTC(2014, 4, 3));
  for (const name of /** @type {(keyof typeof RANGES)[]} */ (Object.keys(RANGES))) {
    const { from, to } = rangeOf(name, NOW);
    expect(from).toBeLessThan(to);
    expect(new Date(from).toISOString()).toMatch(/^\d{4}-/);
  }
  expect(rangeOf('all', NOW).from).toBe(0);
});
