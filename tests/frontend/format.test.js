// @vitest-environment jsdom
import { expect, test } from 'vitest';
import { compareAmounts, formatAge, formatAmount, signOf } from '#page/format.js';

test.each([
  ['12345678901234567890.12', '12,345,678,901,234,567,890.12'],
  ['-98765432109876543210.99', '−98,765,432,109,876,543,210.99'],
  ['0.10', '0.10'],
  ['-0.00', '0.00'],
  ['180000000', '180,000,000'],
  ['9007199254740993.000000000001', '9,007,199,254,740,993.000000000001'],
])('money %s is written %s, to the last digit', (value, text) => {
  expect(formatAmount(value)).toBe(text);
});

test.each([
  ['0.01', '+0.01'],
  ['-0.01', '−0.01'],
  ['0.00', '0.00'],
  ['-0.00', '0.00'],
])('a profit of %s carries its sign: %s', (value, text) => {
  expect(formatAmount(value, 'pnl')).toBe(text);
});

test.each([
  ['2.1', '+2.10'],
  ['-1120', '−1,120.00'],
  ['9.0666666667', '+9.07'],
  ['0', '0.00'],
])('a profit in quote currency of %s is shown with two decimals: %s', (value, text) => {
  expect(formatAmount(value, 'quotePnl')).toBe(text);
});

test('quantities lose trailing zeros, prices keep theirs', () => {
  expect(formatAmount('1200000.00', 'quantity')).toBe('1,200,000');
  expect(formatAmount('0.001250', 'quantity')).toBe('0.00125');
  expect(formatAmount('1.38690', 'price')).toBe('1.38690');
});

test('an average price has the digits of the price, and at most two more', () => {
  expect(formatAmount('1.3869400000', 'price', '1.38705')).toBe('1.38694');
  expect(formatAmount('2360.1133333333', 'price', '2391.42')).toBe('2,360.1133');
});

test('a level is a fraction and shown in percent', () => {
  expect(formatAmount('2.5', 'percent')).toBe('250.0%');
});

test('amounts are compared exactly', () => {
  expect(compareAmounts('12345678901234567890.12', '12345678901234567890.13')).toBe(-1);
  expect(compareAmounts('1.5', '1.50')).toBe(0);
  expect(compareAmounts('-0.3', '-0.25')).toBe(-1);
  expect(compareAmounts('10', '9.99')).toBe(1);
});

test('a sign is found without reading the amount as a number', () => {
  expect(['-0.00', '0', '0.001', '-5'].map(signOf)).toEqual([0, 0, 1, -1]);
});

test('an age is in one unit, and from a day on the date', () => {
  const at = Date.parse('2014-05-02T12:30:00Z');
  expect(formatAge(at, at + 1900)).toBe('1 s');
  expect(formatAge(at, at + 61_000)).toBe('1 min');
  expect(formatAge(at, at + 7_200_000)).toBe('2 h');
  expect(formatAge(at, at + 3 * 86_400_000)).toBe('May 2, 2014');
  expect(formatAge(at, at - 300)).toBe('0 s');
});
