import { beforeEach, expect, test } from 'vitest';
import { PRICES_MS, createInbox } from '#page/stores/inbox.js';
import { alert, discrepancy, heartbeat, snapshot, totalsChanged, trade, update } from './messages.js';
import { fakeClock } from './fakeClock.js';

/** @import { StateMessage } from '#page/services/portfolioSocket.js' */

/** @type {ReturnType<typeof fakeClock>} */
let clock;
/** @type {StateMessage[][]} */
let delivered;
/** @type {ReturnType<typeof createInbox>} */
let inbox;
/** @type {number} */
let paintedNow;
/** @type {number} ms that painting at once takes */
let painting;
/** @type {[number, number][]} */
let shown;

beforeEach(() => {
  clock = fakeClock();
  delivered = [];
  paintedNow = 0;
  painting = 0;
  shown = [];
  inbox = createInbox({
    deliver: (messages) => delivered.push(messages),
    paintNow: (run) => {
      paintedNow += 1;
      run();
      clock.busy(painting);
    },
    onShown: (message, receivedAt) => shown.push([message.event_seq, receivedAt]),
    now: clock.now,
    // No frames: a hidden page has none, and gets its prices all the same.
    timers: /** @type {any} */ (clock),
  });
});

/** @param {StateMessage} message */
const accept = (message) => inbox.accept(message, clock.now());

const types = () => delivered.map((messages) => messages.map(({ type }) => type));

test('prices that come together are delivered together, merged to the latest of each account', () => {
  accept(update({ account_id: 1, version: 3 }));
  accept(update({ account_id: 2, version: 7 }));
  accept(update({ account_id: 1, version: 5 }));
  accept(update({ account_id: 1, version: 4 }));
  accept(totalsChanged({ equity: '1.00' }));
  accept(totalsChanged({ equity: '2.00' }));
  expect(delivered).toEqual([]);
  clock.pass(4);
  expect(delivered).toHaveLength(1);
  const last = delivered[0]?.map((one) =>
    one.type === 'update' ? one.state.version : one.type === 'totals' && one.totals.equity,
  );
  expect(last).toEqual([5, 7, '2.00']);
});

test('prices are painted ten times a second at the most, and the last one in the end', () => {
  expect(PRICES_MS).toBe(100);
  for (let version = 1; version <= 200; version += 1) {
    accept(update({ version }));
    clock.pass(5);
  }
  expect(delivered.length).toBeGreaterThan(8);
  expect(delivered.length).toBeLessThanOrEqual(11);
  clock.pass(PRICES_MS);
  expect(delivered.at(-1)).toMatchObject([{ state: { version: 200 } }]);
  expect(clock.pending()).toBe(0);
});

test('what happened is painted at once and does not wait for prices', () => {
  accept(update());
  for (const message of [trade(1), discrepancy(2), alert(3)]) accept(message);
  expect(paintedNow).toBe(3);
  expect(types()).toEqual([['trade'], ['discrepancy'], ['alert']]);
  expect(shown).toEqual([[1, clock.now()]]);
});

test('what happens faster than it can be painted is painted together, in order, and all of it', () => {
  painting = 30;
  accept(trade(1));
  for (let seq = 2; seq <= 10; seq += 1) accept(trade(seq));
  expect(types()).toEqual([['trade']]);
  clock.pass(0);
  expect(delivered[1]?.map((one) => one.type === 'trade' && one.event_seq)).toEqual([
    2, 3, 4, 5, 6, 7, 8, 9, 10,
  ]);
  expect(shown).toHaveLength(10);
  clock.pass(painting);
  accept(trade(11));
  expect(delivered).toHaveLength(3);
});

test('prices that wait go before a snapshot, never after it', () => {
  accept(update());
  accept(snapshot());
  accept(heartbeat({}));
  expect(types()).toEqual([['update'], ['snapshot'], ['heartbeat']]);
  expect(clock.pending()).toBe(0);
});

test('what happened goes before the snapshot and heartbeat that came after it', () => {
  painting = 30;
  accept(trade(1));
  accept(trade(2));
  accept(heartbeat({ 1: 2 }));
  accept(trade(3));
  accept(snapshot());
  expect(types()).toEqual([['trade'], ['trade'], ['heartbeat'], ['trade'], ['snapshot']]);
});
