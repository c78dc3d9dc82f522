import { beforeEach, expect, test } from 'vitest';
import { HIDDEN_PAINT_MS, createInbox } from '#page/stores/inbox.js';
import { heartbeat, snapshot, trade, update } from './messages.js';

/** @import { StateMessage } from '#page/stores/portfolioStore.js' */

/** @type {Map<string, () => void>} */
let asked;
/** @type {StateMessage[][]} */
let delivered;
/** @type {(message: StateMessage) => void} */
let accept;
/** @type {number} */
let paintedNow;

beforeEach(() => {
  asked = new Map();
  delivered = [];
  paintedNow = 0;
  accept = createInbox({
    deliver: (messages) => delivered.push(messages),
    paintNow: (run) => {
      paintedNow += 1;
      run();
    },
    frames: /** @type {any} */ ({
      requestAnimationFrame: (/** @type {() => void} */ run) => (asked.set('frame', run), 1),
      cancelAnimationFrame: () => asked.delete('frame'),
      setTimeout: (/** @type {() => void} */ run, /** @type {number} */ ms) => (
        asked.set(`${ms} ms`, run), 2
      ),
      clearTimeout: () => asked.delete(`${HIDDEN_PAINT_MS} ms`),
    }),
  });
});

test('prices wait for the frame, merged to the latest of each account', () => {
  accept(update({ account_id: 1, version: 3 }));
  accept(update({ account_id: 2, version: 7 }));
  accept(update({ account_id: 1, version: 5 }));
  accept(update({ account_id: 1, version: 4 }));
  expect(delivered).toEqual([]);
  asked.get('frame')?.();
  const versions = delivered[0]?.map((one) => one.type === 'update' && one.state.version);
  expect(versions).toEqual([5, 7]);
  expect(asked.size).toBe(0);
});

test('a hidden page, which paints no frame, still gets its prices', () => {
  accept(update());
  asked.get(`${HIDDEN_PAINT_MS} ms`)?.();
  expect(delivered).toHaveLength(1);
  expect(asked.size).toBe(0);
});

test('a trade is painted at once and does not wait for prices', () => {
  accept(update());
  accept(trade(1));
  expect(paintedNow).toBe(1);
  expect(delivered.map((messages) => messages[0]?.type)).toEqual(['trade']);
});

test('prices that wait go before a snapshot, never after it', () => {
  accept(update());
  accept(snapshot());
  accept(heartbeat({}));
  const types = delivered.map((messages) => messages[0]?.type);
  expect(types).toEqual(['update', 'snapshot', 'heartbeat']);
  expect(asked.size).toBe(0);
});
