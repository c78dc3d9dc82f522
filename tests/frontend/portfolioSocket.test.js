import { beforeEach, describe, expect, test } from 'vitest';
import {
  CURVE_TIMEOUT_MS,
  CurveError,
  FIRST_PINGS,
  FIRST_PINGS_MS,
  FIRST_RETRY_MS,
  LONGEST_RETRY_MS,
  PING_MS,
  STALE_AFTER_MS,
  createPortfolioSocket,
  retryDelay,
} from '#page/services/portfolioSocket.js';
import { fakeClock } from './fakeClock.js';
import { FakeSocket } from './fakeSocket.js';
import { curve, heartbeat, pong, portfolio, relayError, snapshot, trade } from './messages.js';

/** @import { ClockEstimate } from '#page/services/clock.js' */
/** @import { Connection, StateMessage } from '#page/services/portfolioSocket.js' */

/** @param {Partial<Parameters<typeof createPortfolioSocket>[0]>} [options] */
function started(options = {}) {
  const clock = fakeClock();
  /** @type {Connection[]} */
  const line = [];
  /** @type {StateMessage[]} */
  const messages = [];
  /** @type {number[]} */
  const receivedAt = [];
  /** @type {(ClockEstimate | null)[]} */
  const clocks = [];
  const socket = createPortfolioSocket({
    url: 'ws://relay.test/ws',
    token: 'secret',
    onMessage: (message, at) => {
      messages.push(message);
      receivedAt.push(at);
    },
    onConnection: (connection) => line.push(connection),
    onClock: (estimate) => clocks.push(estimate),
    Socket: /** @type {any} */ (FakeSocket),
    clock,
    ...options,
  });
  socket.start();
  return { clock, line, messages, receivedAt, clocks, socket, phase: () => line.at(-1)?.phase };
}

/** @param {Parameters<typeof started>[0]} [options] */
function live(options) {
  const all = started(options);
  FakeSocket.last.accept();
  FakeSocket.last.say(snapshot(portfolio()));
  return all;
}

beforeEach(() => {
  FakeSocket.all = [];
});

describe('connecting', () => {
  test('says hello with the token first, under our subprotocol', () => {
    started();
    const opened = FakeSocket.last;
    expect(opened.protocols).toEqual(['tidemark.v1']);
    expect(opened.sent).toEqual([]);
    opened.accept();
    expect(opened.sent).toEqual([{ type: 'hello', token: 'secret' }]);
  });

  test('names accounts, currency of the totals and number of updates where they are chosen', () => {
    started({ accountIds: [3, 4], totalsCurrency: 'EUR', updatesASecond: 5 });
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent).toEqual([
      {
        type: 'hello',
        token: 'secret',
        account_ids: [3, 4],
        totals_currency: 'EUR',
        updates_a_second: 5,
      },
    ]);
  });

  test('asks for totals alone, and keeps to that in another currency and on the next line', () => {
    const { clock, socket } = live({ totalsCurrency: 'EUR', onlyTotals: true });
    socket.chooseTotals('JPY');
    FakeSocket.last.fail();
    clock.pass(FIRST_RETRY_MS);
    FakeSocket.last.accept();
    expect(FakeSocket.all.map((one) => one.sent[0])).toEqual(
      ['EUR', 'JPY'].map((currency) => ({
        type: 'hello',
        token: 'secret',
        totals_currency: currency,
        only_totals: true,
      })),
    );
  });

  test('asks for totals in another currency without greeting anew, and keeps to it', () => {
    const { clock, socket } = live({ totalsCurrency: 'EUR' });
    FakeSocket.last.sent.length = 0;
    socket.chooseTotals('JPY');
    expect(FakeSocket.last.sent).toEqual([{ type: 'totals', currency: 'JPY' }]);
    FakeSocket.last.fail();
    clock.pass(FIRST_RETRY_MS);
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent).toEqual([{ type: 'hello', token: 'secret', totals_currency: 'JPY' }]);
  });

  test('asks for what has happened since the last event that is held at that time', () => {
    /** @type {Record<string, number> | null} */
    let since = null;
    const { clock } = live({ since: () => since });
    expect(FakeSocket.last.sent[0]).not.toHaveProperty('since');
    since = { 1: 41, 2: 0 };
    FakeSocket.last.fail();
    clock.pass(FIRST_RETRY_MS);
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent).toEqual([{ type: 'hello', token: 'secret', since: { 1: 41, 2: 0 } }]);
  });

  test('messages carry when they came, to a fraction of a millisecond', () => {
    const { clock, receivedAt } = live();
    clock.pass(70);
    FakeSocket.last.say(trade(1));
    expect(receivedAt).toEqual([1_000_000.25, 1_000_070.25]);
  });

  test('is live with the snapshot, not before', () => {
    const { phase } = started();
    FakeSocket.last.accept();
    expect(phase()).toBe('connecting');
    FakeSocket.last.say(snapshot());
    expect(phase()).toBe('live');
  });

  test('a relay that accepts and says nothing is left again', () => {
    const { clock, phase } = started();
    FakeSocket.last.accept();
    clock.pass(STALE_AFTER_MS);
    expect(phase()).toBe('disconnected');
    expect(FakeSocket.last.readyState).toBe(3);
  });

  test('messages of a kind that the page does not know are skipped', () => {
    const { messages, phase } = live();
    FakeSocket.last.onmessage?.({ data: '{"type":"weather"}' });
    expect(messages).toHaveLength(1);
    expect(phase()).toBe('live');
  });

  test('what is no message ends the connection and says what to do', () => {
    const { line, phase } = live();
    FakeSocket.last.onmessage?.({ data: '{"type":' });
    expect(phase()).toBe('disconnected');
    expect(line.at(-1)?.error?.code).toBe('bad_message');
  });
});

describe('reconnecting', () => {
  test('waits twice as long after each failure, up to a limit', () => {
    const { clock, line } = started();
    const waits = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      FakeSocket.last.fail();
      const wait = (line.at(-1)?.retryAt ?? 0) - clock.now();
      waits.push(wait);
      clock.pass(wait - 1);
      expect(FakeSocket.all).toHaveLength(attempt + 1);
      clock.pass(1);
      expect(FakeSocket.all).toHaveLength(attempt + 2);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  });

  test('is spread over the upper half of the wait', () => {
    expect(retryDelay(0, 0)).toBe(FIRST_RETRY_MS / 2);
    expect(retryDelay(0, 1)).toBe(FIRST_RETRY_MS);
    expect(retryDelay(2, 0.5)).toBe(FIRST_RETRY_MS * 3);
    expect(retryDelay(1000, 0.9999)).toBeLessThanOrEqual(LONGEST_RETRY_MS);
  });

  test('starts over with short waits once a heartbeat has come', () => {
    const { clock, line } = started();
    for (let attempt = 0; attempt < 4; attempt += 1) {
      FakeSocket.last.fail();
      clock.pass(LONGEST_RETRY_MS);
    }
    FakeSocket.last.accept();
    FakeSocket.last.say(snapshot());
    FakeSocket.last.say(heartbeat({}));
    FakeSocket.last.fail();
    expect((line.at(-1)?.retryAt ?? 0) - clock.now()).toBe(FIRST_RETRY_MS);
  });

  test('keeps growing its waits for a relay that drops us after each snapshot', () => {
    const { clock, line } = live();
    const waits = [];
    for (let attempt = 0; attempt < 3; attempt += 1) {
      FakeSocket.last.say(relayError('too_slow'));
      const wait = (line.at(-1)?.retryAt ?? 0) - clock.now();
      waits.push(wait);
      clock.pass(wait);
      FakeSocket.last.accept();
      FakeSocket.last.say(snapshot());
    }
    expect(waits).toEqual([500, 1000, 2000]);
  });

  test('happens at once when the network is back', () => {
    const { socket } = live();
    FakeSocket.last.fail();
    socket.retryNow();
    expect(FakeSocket.all).toHaveLength(2);
  });

  test('tells until when the figures were live', () => {
    const { clock, line } = live();
    const lastAlive = clock.now();
    clock.pass(3000);
    FakeSocket.last.fail();
    expect(line.at(-1)?.liveUntil).toBe(lastAlive);
  });
});

describe('silence', () => {
  test('of twelve seconds makes the line stale and opens another', () => {
    const { clock, phase } = live();
    const silent = FakeSocket.last;
    clock.pass(STALE_AFTER_MS - 1);
    expect(phase()).toBe('live');
    clock.pass(1);
    expect(phase()).toBe('stale');
    expect(silent.readyState).toBe(3);
    clock.pass(FIRST_RETRY_MS);
    expect(FakeSocket.all).toHaveLength(2);
    expect(phase()).toBe('stale');
    FakeSocket.last.accept();
    FakeSocket.last.say(snapshot());
    expect(phase()).toBe('live');
  });

  test('never comes while heartbeats do', () => {
    const { clock, phase } = live();
    for (let beat = 0; beat < 10; beat += 1) {
      clock.pass(5000);
      FakeSocket.last.say(heartbeat({}));
    }
    expect(phase()).toBe('live');
    expect(FakeSocket.all).toHaveLength(1);
  });

  test('what a dropped socket says later is not heard', () => {
    const { clock, messages } = live();
    const dropped = FakeSocket.last;
    clock.pass(STALE_AFTER_MS);
    dropped.say(heartbeat({}));
    dropped.fail();
    expect(messages).toHaveLength(1);
    expect(FakeSocket.all).toHaveLength(1);
  });
});

describe('refusal', () => {
  test.each(/** @type {const} */ (['bad_message', 'bad_token', 'not_allowed']))('%s ends all attempts', (code) => {
    const { clock, line, phase } = started();
    FakeSocket.last.accept();
    FakeSocket.last.say(relayError(code));
    FakeSocket.last.fail();
    clock.pass(10 * LONGEST_RETRY_MS);
    expect(phase()).toBe('refused');
    expect(line.at(-1)?.error).toMatchObject({ code, remedy: 'What to do.' });
    expect(FakeSocket.all).toHaveLength(1);
    expect(clock.pending()).toBe(0);
  });

  test('any other error is shown while the page tries again', () => {
    const { clock, line } = live();
    FakeSocket.last.say(relayError('unavailable'));
    expect(line.at(-1)).toMatchObject({ phase: 'disconnected', error: { code: 'unavailable' } });
    clock.pass(LONGEST_RETRY_MS);
    FakeSocket.last.accept();
    FakeSocket.last.say(snapshot());
    expect(line.at(-1)).toMatchObject({ phase: 'live', error: null });
  });
});

describe('resync', () => {
  test('is asked for once until the snapshot is here, and from what is held then', () => {
    let held = 7;
    const { socket } = live({ since: () => ({ 1: held }) });
    socket.resync();
    held = 9;
    socket.resync();
    expect(FakeSocket.last.sentOf('resync')).toEqual([{ type: 'resync', since: { 1: 7 } }]);
    FakeSocket.last.say(snapshot());
    socket.resync();
    expect(FakeSocket.last.sentOf('resync').at(-1)).toEqual({ type: 'resync', since: { 1: 9 } });
  });

  test('is not asked of a line that is not live: its first snapshot is on its way', () => {
    const { socket } = started();
    FakeSocket.last.accept();
    socket.resync();
    expect(FakeSocket.last.sentOf('resync')).toEqual([]);
  });
});

describe('the relay’s clock', () => {
  test('is asked for a few times soon, then now and then, only while the line is live', () => {
    const { clock } = started();
    FakeSocket.last.accept();
    clock.pass(1000);
    expect(FakeSocket.last.sentOf('ping')).toEqual([]);
    FakeSocket.last.say(snapshot());
    expect(FakeSocket.last.sentOf('ping')).toEqual([{ type: 'ping', sent_at: 1_001_000.25 }]);
    clock.pass(FIRST_PINGS_MS * FIRST_PINGS);
    expect(FakeSocket.last.sentOf('ping')).toHaveLength(FIRST_PINGS);
    clock.pass(PING_MS);
    expect(FakeSocket.last.sentOf('ping')).toHaveLength(FIRST_PINGS + 1);
    const dropped = FakeSocket.last;
    dropped.fail();
    clock.pass(3 * PING_MS);
    expect(dropped.sentOf('ping')).toHaveLength(FIRST_PINGS + 1);
  });

  test('is estimated from pongs, by the quickest, with the relay’s microseconds', () => {
    const { clock, clocks, messages } = live();
    const sentAt = clock.precise();
    clock.pass(40);
    FakeSocket.last.say(pong(sentAt, '1970-01-01T00:16:45.020500Z'));
    expect(clocks.at(-1)?.uncertainty).toBe(20);
    expect(clocks.at(-1)?.offset).toBeCloseTo(5000.25, 3);
    const again = clock.precise();
    clock.pass(400);
    FakeSocket.last.say(pong(again, '1970-01-01T00:16:49.000000Z'));
    expect(clocks.at(-1)?.uncertainty).toBe(20);
    expect(messages).toHaveLength(1);
  });

  test('is forgotten with the line: the next one may lead to another relay', () => {
    const { clock, clocks } = live();
    FakeSocket.last.say(pong(clock.precise(), '1970-01-01T00:16:45Z'));
    expect(clocks.at(-1)).not.toBeNull();
    FakeSocket.last.fail();
    expect(clocks.at(-1)).toBeNull();
  });

  test('a pong does not keep a line alive whose heartbeats have stopped', () => {
    const { clock, phase } = live();
    for (let waited = 0; waited < STALE_AFTER_MS; waited += 4000) {
      FakeSocket.last.say(pong(clock.precise(), '1970-01-01T00:16:45Z'));
      clock.pass(4000);
    }
    expect(phase()).not.toBe('live');
  });
});

describe('curves', () => {
  const wish = (fields = {}) => ({
    account_id: 1,
    from_at: '2014-05-02T09:00:00.000Z',
    to_at: '2014-05-02T12:30:00.000Z',
    points: 300,
    ...fields,
  });
  const asked = () => FakeSocket.last.sentOf('curve').map((one) => one.type === 'curve' && one.account_id);
  /** @param {Promise<unknown>} request */
  const codeOf = (request) =>
    request.then(
      () => 'an answer',
      (error) => (error instanceof CurveError ? error.code : String(error)),
    );

  test('an answer belongs to the request of its account and range, however its instants are written', async () => {
    const { socket, messages } = live();
    const request = socket.requestCurve(wish());
    expect(FakeSocket.last.sent.at(-1)).toEqual({ type: 'curve', ...wish() });
    FakeSocket.last.say(curve({ account_id: 2 }));
    FakeSocket.last.say(curve({ from_at: '2014-05-02T08:00:00Z' }));
    FakeSocket.last.say(curve());
    expect((await request).close).toEqual(['1005.00', '1010.00', null]);
    expect(messages).toHaveLength(1);
  });

  test('the first can be asked for with the hello, of whichever account is the first', async () => {
    /** @type {Promise<import('#page/services/messages.js').Curve>[]} */
    const curves = [];
    const { account_id: _, ...range } = wish();
    started({
      onHello: (/** @type {(wish: any) => Promise<any>} */ request) =>
        void curves.push(request({ account_id: null, ...range })),
    });
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent).toEqual([
      { type: 'hello', token: 'secret' },
      { type: 'curve', account_id: null, ...range },
    ]);
    FakeSocket.last.say(curve());
    expect((await curves[0])?.account_id).toBe(1);
  });

  test('one is with the relay at a time, the others wait their turn', async () => {
    const { socket } = live();
    const requests = [1, 2, 3].map((id) => socket.requestCurve(wish({ account_id: id })));
    expect(asked()).toEqual([1]);
    FakeSocket.last.say(curve({ account_id: 1 }));
    expect(asked()).toEqual([1, 2]);
    FakeSocket.last.say(curve({ account_id: 2 }));
    FakeSocket.last.say(curve({ account_id: 3 }));
    expect((await Promise.all(requests)).map((one) => one.account_id)).toEqual([1, 2, 3]);
  });

  test('one that is not answered in time is given up, and the next is asked for', async () => {
    const { clock, socket } = live();
    const first = codeOf(socket.requestCurve(wish()));
    const second = socket.requestCurve(wish({ account_id: 2 }));
    for (let passed = 0; passed < CURVE_TIMEOUT_MS; passed += 5000) {
      FakeSocket.last.say(heartbeat({}));
      clock.pass(5000);
    }
    expect(await first).toBe('timeout');
    expect(asked()).toEqual([1, 2]);
    FakeSocket.last.say(curve());
    FakeSocket.last.say(curve({ account_id: 2 }));
    expect((await second).account_id).toBe(2);
  });

  test('the wait of one that is still in the queue has not begun', async () => {
    const { clock, socket } = live();
    void codeOf(socket.requestCurve(wish(), { timeoutMs: 900 }));
    const second = codeOf(socket.requestCurve(wish({ account_id: 2 }), { timeoutMs: 300 }));
    clock.pass(1000);
    FakeSocket.last.say(curve({ account_id: 2 }));
    expect(await second).toBe('an answer');
  });

  test('one that nobody waits for any more makes room, and is not asked for if it was not yet', async () => {
    const { socket } = live();
    const [first, second] = [new AbortController(), new AbortController()];
    const codes = [
      codeOf(socket.requestCurve(wish(), { signal: first.signal })),
      codeOf(socket.requestCurve(wish({ account_id: 2 }), { signal: second.signal })),
      codeOf(socket.requestCurve(wish({ account_id: 3 }))),
    ];
    second.abort();
    first.abort();
    expect(asked()).toEqual([1, 3]);
    FakeSocket.last.say(curve({ account_id: 3 }));
    expect(await Promise.all(codes)).toEqual(['aborted', 'aborted', 'an answer']);
    const signal = AbortSignal.abort();
    expect(await codeOf(socket.requestCurve(wish(), { signal }))).toBe('aborted');
  });

  test('a lost line ends all of them, and none is asked of a line that is not live', async () => {
    const { clock, socket } = live();
    const codes = [1, 2].map((id) => codeOf(socket.requestCurve(wish({ account_id: id }))));
    FakeSocket.last.fail();
    expect(await Promise.all(codes)).toEqual(['disconnected', 'disconnected']);
    expect(await codeOf(socket.requestCurve(wish()))).toBe('disconnected');
    clock.pass(FIRST_RETRY_MS);
    FakeSocket.last.accept();
    FakeSocket.last.say(snapshot());
    const after = codeOf(socket.requestCurve(wish()));
    expect(asked()).toEqual([1]);
    FakeSocket.last.say(curve());
    expect(await after).toBe('an answer');
  });
});

test('a socket that is stopped by whom it tells something stays stopped', () => {
  /** @type {(() => void)[]} */
  const stops = [];
  const stop = () => stops[0]?.();
  const byMessage = started({ onMessage: stop });
  stops.push(byMessage.socket.stop);
  FakeSocket.last.accept();
  FakeSocket.last.say(snapshot());
  expect(byMessage.phase()).toBe('idle');
  expect(byMessage.clock.pending()).toBe(0);

  const byConnection = live({ onConnection: ({ phase }) => phase === 'connecting' && stop() });
  stops[0] = byConnection.socket.stop;
  FakeSocket.last.fail();
  byConnection.clock.pass(LONGEST_RETRY_MS);
  expect(FakeSocket.last.readyState).toBe(3);
  expect(byConnection.clock.pending()).toBe(0);
});

test('a stopped socket is closed and stays so', () => {
  const { clock, phase, socket } = live();
  socket.stop();
  FakeSocket.last.fail();
  clock.pass(10 * LONGEST_RETRY_MS);
  expect(phase()).toBe('idle');
  expect(FakeSocket.all).toHaveLength(1);
  expect(clock.pending()).toBe(0);
});
