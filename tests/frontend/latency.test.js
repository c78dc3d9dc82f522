import { beforeEach, expect, test } from 'vitest';
import { TRADES_KEPT, createLatency, summarize } from '#page/stores/latency.js';
import { parseInstant } from '#page/services/clock.js';
import { fill, trade } from './messages.js';

const COMMITTED = '2014-05-02T12:30:00.000250Z';
const READ = '2014-05-02T12:30:00.002750Z';

/** @type {number} */
let now;
/** @type {(() => void)[]} */
let frames;
/** @type {(() => void)[]} what comes after the paint */
let posted;
/** @type {EventTarget & { hidden: boolean }} */
let page;
/** @type {ReturnType<typeof createLatency>} */
let latency;

beforeEach(() => {
  now = parseInstant(READ);
  frames = [];
  posted = [];
  page = Object.assign(new EventTarget(), { hidden: false });
  latency = createLatency({
    now: () => now,
    frames: /** @type {any} */ ({ requestAnimationFrame: (/** @type {() => void} */ run) => frames.push(run) }),
    post: (run) => posted.push(run),
    page,
  });
});

/** @param {number} eventSeq @param {string | null} [committedAt] */
const timed = (eventSeq, committedAt = COMMITTED) =>
  trade(eventSeq, {}, { committed_at: committedAt, read_at: READ });

function runFrame() {
  for (const frame of frames.splice(0)) frame();
}

/** @param {number} ms */
function finishFrame(ms) {
  now += ms;
  for (const run of posted.splice(0)) run();
}

/** @param {number} ms */
function paint(ms) {
  runFrame();
  finishFrame(ms);
}

/** @param {boolean} hidden */
function setHidden(hidden) {
  page.hidden = hidden;
  page.dispatchEvent(new Event('visibilitychange'));
}

const paintedAt = () => latency.trades().map((times) => times.painted_at);

test('a trade is timed from commit to paint, to the microsecond', () => {
  const received = now + 4;
  now = received + 1.5;
  latency.record(timed(1), received);
  expect(latency.trades()).toMatchObject([{ fill_id: 101, painted_at: null, received_at: received }]);
  paint(8);
  const summary = summarize(latency.trades(), 0);
  expect(summary.count).toBe(1);
  expect(summary.relay?.last).toBeCloseTo(2.5, 3);
  expect(summary.wire?.last).toBeCloseTo(4, 3);
  expect(summary.page?.last).toBeCloseTo(1.5, 3);
  expect(summary.paint?.last).toBeCloseTo(8, 3);
  expect(summary.whole?.last).toBeCloseTo(16, 3);
});

test('the page’s clock is set by that of the relay', () => {
  latency.record(timed(1), now);
  paint(0);
  const summary = summarize(latency.trades(), 3);
  expect(summary.wire?.last).toBeCloseTo(3, 3);
  expect(summary.whole?.last).toBeCloseTo(5.5, 3);
  expect(summary.paint?.last).toBe(0);
});

test('what no frame has shown yet is not counted', () => {
  latency.record(timed(1), now);
  expect(summarize(latency.trades(), 0)).toMatchObject({ count: 0, whole: null, relay: null });
});

test('a database that does not keep commit times leaves that stretch out, and the rest stands', () => {
  latency.record(timed(1, null), now);
  paint(5);
  const summary = summarize(latency.trades(), 0);
  expect(summary.relay).toBeNull();
  expect(summary.whole?.last).toBeCloseTo(5, 3);
});

test('trades of one frame are painted by it, and percentiles are of the nearest rank', () => {
  for (let seq = 1; seq <= 100; seq += 1) {
    latency.record(timed(seq), now);
    now += 1;
  }
  expect(frames).toHaveLength(1);
  paint(0);
  // They waited 1 to 100 ms.
  expect(summarize(latency.trades(), 0).paint).toMatchObject({ last: 1, p50: 50, p99: 99 });
});

test('a trade that comes once the frame has begun is painted by the next', () => {
  latency.record(timed(1), now);
  runFrame();
  latency.record(timed(2), now);
  finishFrame(5);
  expect(paintedAt()).toEqual([now, null]);
  paint(16);
  expect(paintedAt()).toEqual([now - 16, now]);
});

test('what came while the page was hidden is never painted, and does not count when it is back', () => {
  setHidden(true);
  latency.record(timed(1), now);
  expect(frames).toHaveLength(0);
  now += 3_600_000;
  setHidden(false);
  latency.record(timed(2), now);
  paint(8);
  expect(paintedAt()).toEqual([null, now]);
  expect(summarize(latency.trades(), 0)).toMatchObject({ count: 1, paint: { p50: 8, p99: 8 } });
});

test('what waited for a frame when the page was hidden is not painted by the one that it comes back with', () => {
  latency.record(timed(1), now);
  setHidden(true);
  now += 3_600_000;
  setHidden(false);
  latency.record(timed(2), now);
  paint(8);
  expect(paintedAt()).toEqual([null, now]);
});

test('the last thousand are kept, oldest first', () => {
  for (let seq = 1; seq <= 3 * TRADES_KEPT; seq += 1) {
    latency.record(trade(seq, {}, { fill: fill({ fill_id: seq, event_seq: seq }) }), now);
  }
  const kept = latency.trades();
  expect(kept).toHaveLength(TRADES_KEPT);
  expect([kept[0]?.fill_id, kept.at(-1)?.fill_id]).toEqual([2 * TRADES_KEPT + 1, 3 * TRADES_KEPT]);
});
