import { beforeEach, describe, expect, test } from 'vitest';
import {
  FIRST_RETRY_MS,
  LONGEST_RETRY_MS,
  STALE_AFTER_MS,
  createPortfolioSocket,
  retryDelay,
} from '#page/services/portfolioSocket.js';
import { heartbeat, portfolio, relayError, snapshot } from './messages.js';

/** @import { Connection } from '#page/services/portfolioSocket.js' */
/** @import { FromRelay } from '#page/services/wire.js' */

class FakeSocket {
  /** @type {FakeSocket[]} */
  static all = [];
  static get last() {
    const last = FakeSocket.all.at(-1);
    if (!last) throw new Error('no socket was opened');
    return last;
  }

  readyState = 0;
  /** @type {unknown[]} */
  sent = [];
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: { data: string }) => void) | null} */
  onmessage = null;
  /** @type {(() => void) | null} */
  onclose = null;

  /** @param {string} url @param {string[]} protocols */
  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  accept() {
    this.readyState = 1;
    this.onopen?.();
  }

  /** @param {FromRelay} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  fail() {
    this.readyState = 3;
    this.onclose?.();
  }
}

function fakeClock() {
  let now = 1_000_000;
  let ids = 0;
  /** @type {Map<number, { at: number, run: () => void }>} */
  const timers = new Map();
  return {
    random: () => 1,
    now: () => now,
    /** @param {() => void} run @param {number} ms */
    setTimeout(run, ms) {
      timers.set((ids += 1), { at: now + ms, run });
      return ids;
    },
    /** @param {number} id */
    clearTimeout: (id) => void timers.delete(id),
    /** @param {number} ms */
    pass(ms) {
      const until = now + ms;
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.at <= until);
        const next = due.sort((a, b) => a[1].at - b[1].at)[0];
        if (!next) break;
        timers.delete(next[0]);
        now = next[1].at;
        next[1].run();
      }
      now = until;
    },
    pending: () => timers.size,
  };
}

function started() {
  const clock = fakeClock();
  /** @type {Connection[]} */
  const line = [];
  /** @type {FromRelay[]} */
  const messages = [];
  const socket = createPortfolioSocket({
    url: 'ws://relay.test/ws',
    token: 'secret',
    onMessage: (message) => messages.push(message),
    onConnection: (connection) => line.push(connection),
    Socket: /** @type {any} */ (FakeSocket),
    clock,
  });
  socket.start();
  return { clock, line, messages, socket, phase: () => line.at(-1)?.phase };
}

function live() {
  const all = started();
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
  test.each(/** @type {const} */ (['bad_token', 'not_allowed']))('%s ends all attempts', (code) => {
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
  test('is asked for once until the snapshot is here', () => {
    const { socket } = live();
    const asked = () => FakeSocket.last.sent.slice(1);
    socket.resync();
    socket.resync();
    expect(asked()).toEqual([{ type: 'resync' }]);
    FakeSocket.last.say(snapshot());
    socket.resync();
    expect(asked()).toHaveLength(2);
  });
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
