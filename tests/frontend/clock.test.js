import { expect, test } from 'vitest';
import { SAMPLES_KEPT, createClockEstimate, estimateOf, parseInstant } from '#page/services/clock.js';

test('an instant keeps its microseconds', () => {
  const at = Date.parse('2014-05-02T12:30:00.123Z');
  expect(parseInstant('2014-05-02T12:30:00.123456Z') - at).toBeCloseTo(0.456, 3);
  expect(parseInstant('2014-05-02T12:30:00.1234Z') - at).toBeCloseTo(0.4, 3);
  expect(parseInstant('2014-05-02T12:30:00.123Z')).toBe(at);
  expect(parseInstant('2014-05-02T12:30:00.1Z')).toBe(Date.parse('2014-05-02T12:30:00.100Z'));
  expect(parseInstant('2014-05-02T12:30:00Z')).toBe(Date.parse('2014-05-02T12:30:00Z'));
});

test('the offset is the middle of the round trip, wrong by half of it at most', () => {
  expect(estimateOf(1000, 5010.5, 1020)).toEqual({ offset: 4000.5, uncertainty: 10 });
  // Whatever the way there and the way back took, the truth is within the bounds.
  for (const there of [0, 3, 17, 20]) {
    const truth = -250;
    const { offset, uncertainty } = estimateOf(1000, 1000 + there + truth, 1020);
    expect(Math.abs(offset - truth)).toBeLessThanOrEqual(uncertainty);
  }
});

test('the quickest round trip is believed, of two alike the newer one', () => {
  const estimate = createClockEstimate();
  expect(estimate.best()).toBeNull();
  estimate.add({ offset: 1, uncertainty: 5 });
  estimate.add({ offset: 2, uncertainty: 2 });
  estimate.add({ offset: 3, uncertainty: 9 });
  expect(estimate.best()?.offset).toBe(2);
  estimate.add({ offset: 4, uncertainty: 2 });
  expect(estimate.best()?.offset).toBe(4);
  estimate.forget();
  expect(estimate.best()).toBeNull();
});

test('what was heard long ago is forgotten, however quick it was', () => {
  const estimate = createClockEstimate();
  estimate.add({ offset: 99, uncertainty: 0.1 });
  for (let n = 0; n < SAMPLES_KEPT; n += 1) estimate.add({ offset: 1, uncertainty: 5 });
  expect(estimate.best()?.offset).toBe(1);
});
