// @vitest-environment jsdom
import { beforeEach, expect, test } from 'vitest';
import {
  followAddress,
  readRange,
  readToken,
  readTotalsCurrency,
  writeRange,
  writeToken,
  writeTotalsCurrency,
} from '#page/services/address.js';

/** @import { Address } from '#page/services/address.js' */

beforeEach(() => {
  window.location.hash = '';
});

/** What is told from now on. */
function followed() {
  /** @type {Address[]} */
  const told = [];
  followAddress((address) => told.push(address));
  return told;
}

test('an address without a fragment says nothing', () => {
  expect([readToken(), readTotalsCurrency(), readRange()]).toEqual([null, null, '1Y']);
  expect(followed()).toEqual([{ token: null, totalsCurrency: null }]);
});

test('token, currency and range stand beside each other, whatever is in them', () => {
  writeToken(' a+b=c&d ');
  writeTotalsCurrency('EUR');
  writeRange('7D');
  expect([readToken(), readTotalsCurrency(), readRange()]).toEqual(['a+b=c&d', 'EUR', '7D']);
  writeToken('other');
  expect([readTotalsCurrency(), readRange()]).toEqual(['EUR', '7D']);
});

test.each(['eur', 'E', '<b>', 'ABCDEFGHIJKLM', ''])('%o is no currency', (code) => {
  window.location.hash = `#totals=${encodeURIComponent(code)}`;
  expect(readTotalsCurrency()).toBeNull();
});

test.each(['toString', '2W', ''])('%o is no range', (range) => {
  window.location.hash = `#range=${range}`;
  expect(readRange()).toBe('1Y');
});

test('a token that is given once more is tried once more', () => {
  window.location.hash = '#token=same';
  let times = 0;
  followAddress(() => (times += 1));
  writeToken('same');
  expect(times).toBe(2);
});

test('currency and range leave no step in the browser’s history; only the currency is told', () => {
  window.location.hash = '#token=t';
  const told = followed();
  const steps = window.history.length;
  writeTotalsCurrency('JPY');
  writeRange('1D');
  expect(window.history.length).toBe(steps);
  expect(told.slice(1)).toEqual([{ token: 't', totalsCurrency: 'JPY' }]);
});
