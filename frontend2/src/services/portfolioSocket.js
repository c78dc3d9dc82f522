import { createClockEstimate, estimateOf, pageNow, parseInstant } from './clock.js';
import { HEARTBEAT_SECONDS, SUBPROTOCOL } from './messages.js';
import { parseMessage } from './wire.js';

/**
 * @import {
 *   Curve, CurveRequest, DiscrepancyChanged, FromPage, FromRelay, Hello, Refused, RefusedCode,
 *   RelayError
 * } from './messages.js'
 * @import { ClockEstimate } from './clock.js'
 */

/** Two heartbeats missed, and some: then the line is dead although nobody closed it. */
export const STALE_AFTER_MS = 2 * HEARTBEAT_SECONDS * 1000 + 2000;
export const FIRST_RETRY_MS = 500;
export const LONGEST_RETRY_MS = 15_000;
/** A few round trips soon, so that one of them is a quick one; then now and then. */
export const FIRST_PINGS = 5;
export const FIRST_PINGS_MS = 200;
export const PING_MS = 10_000;
export const CURVE_TIMEOUT_MS = 15_000;
/** Longer than the relay waits for its database. */
export const ACKNOWLEDGE_TIMEOUT_MS = 10_000;

/** What helps where page and relay do not understand each other. */
export const RELOAD = 'Reload the page; if that does not help, compare the versions of page and relay.';

/** Trying again with the same token and the same messages gives the same answer. */
const FINAL_CODES = new Set(['bad_message', 'bad_token', 'not_allowed']);

/**
 * The line to the relay, as the page tells it. Instants are milliseconds since 1970.
 *
 *   idle → connecting → live ⇄ stale → disconnected → connecting …
 *   any → refused, for good
 *
 * @typedef {object} Connection
 * @property {'idle' | 'connecting' | 'live' | 'stale' | 'disconnected' | 'refused'} phase
 * @property {number | null} liveUntil when the line was last known to be alive; null while it is
 * @property {number | null} retryAt when the next attempt begins
 * @property {RelayError | null} error what the relay said last, before it closed the line
 */

/** @type {Connection} */
export const IDLE = { phase: 'idle', liveUntil: null, retryAt: null, error: null };

/**
 * What comes in by itself, for whoever keeps the state.
 * @typedef {Exclude<FromRelay, RelayError | import('./messages.js').Pong | Curve | Refused>} StateMessage
 */

/** @typedef {Omit<CurveRequest, 'type'>} CurveWish */

/**
 * @typedef {object} Clock
 * @property {() => number} now the wall clock, ms since 1970
 * @property {() => number} precise the same with fractions, but not through a sleep
 * @property {(run: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random
 */

/** @type {Clock} */
const SYSTEM_CLOCK = {
  now: () => Date.now(),
  precise: pageNow,
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer),
  random: () => Math.random(),
};

/** Why a curve did not come; ask again after `timeout`, and after `disconnected` once live. */
export class CurveError extends Error {
  /** @param {'timeout' | 'disconnected' | 'aborted'} code */
  constructor(code) {
    super(
      {
        timeout: 'The relay has not answered in time.',
        disconnected: 'There is no connection to the relay.',
        aborted: 'Nobody waits for it any more.',
      }[code],
    );
    this.name = 'CurveError';
    this.code = code;
  }
}

/** Why it is not known that a discrepancy was acknowledged, and what to do. */
export class AcknowledgeError extends Error {
  /** @param {'timeout' | 'disconnected' | Refused} reason */
  constructor(reason) {
    super(
      typeof reason === 'object'
        ? reason.message
        : {
            timeout: 'The relay has not answered in time.',
            disconnected: 'There is no connection to the relay.',
          }[reason],
    );
    this.name = 'AcknowledgeError';
    /** @type {RefusedCode | 'timeout' | 'disconnected'} */
    this.code = typeof reason === 'object' ? reason.code : reason;
    this.remedy =
      typeof reason === 'object'
        ? reason.remedy
        : 'Try again with the same note, which cannot do it twice.';
  }
}

/**
 * How long to wait before attempt number `attempt`, from 0: doubling, and drawn from the upper
 * half, so that pages which lost the same relay do not all come back in the same instant.
 * @param {number} attempt
 * @param {number} random from 0 to 1
 */
export function retryDelay(attempt, random) {
  const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 16));
  return longest * (0.5 + 0.5 * random);
}

/**
 * Keeps one connection to the relay alive and hands on what it says. Knows nothing of React or of
 * the store: `onMessage` gets every message but errors and answers, `onConnection` every change of
 * the line, `onClock` each estimate of the relay's clock.
 *
 * @param {object} options
 * @param {string} options.url
 * @param {string} options.token
 * @param {number[] | null} [options.accountIds] null is all that the token opens
 * @param {string | null} [options.totalsCurrency] also the totals of these accounts, in this currency
 * @param {boolean} [options.onlyTotals] nothing but the totals, whose currency has to be named
 * @param {number | null} [options.updatesASecond] of an account, that there is a use for; null is all
 *   that the relay has
 * @param {() => Record<string, number> | null} [options.since] the last event held of each account:
 *   what has happened since then comes with the next snapshot
 * @param {(message: StateMessage, receivedAt: number) => void} options.onMessage `receivedAt` by the
 *   page's clock, in ms since 1970 with fractions, taken before the message was read
 * @param {(connection: Connection) => void} options.onConnection
 * @param {(clock: ClockEstimate | null) => void} [options.onClock] null when nothing is known
 * @param {(requestCurve: (wish: CurveWish) => Promise<Curve>) => void} [options.onHello] told on each
 *   new connection, where the first curve can be asked for already
 * @param {new (url: string, protocols: string[]) => WebSocket} [options.Socket]
 * @param {Clock} [options.clock]
 */
export function createPortfolioSocket({
  url,
  token,
  accountIds = null,
  totalsCurrency = null,
  onlyTotals = false,
  updatesASecond = null,
  since = () => null,
  onMessage,
  onConnection,
  onClock = () => {},
  onHello = () => {},
  Socket = globalThis.WebSocket,
  clock = SYSTEM_CLOCK,
}) {
  /** @type {WebSocket | null} */
  let socket = null;
  let connection = IDLE;
  let attempt = 0;
  let isStopped = true;
  let isResyncing = false;
  /** @type {number | null} */
  let aliveAt = null;
  /** @type {RelayError | null} */
  let lastError = null;
  /** @type {unknown} */
  let retryTimer = null;
  /** @type {unknown} */
  let staleTimer = null;
  /** @type {unknown} */
  let pingTimer = null;
  let pings = 0;
  const estimate = createClockEstimate();
  const curves = createCurveQueue({ send, clock });
  const acknowledgements = createAcknowledgements({ send, clock });

  /** @param {Connection['phase']} phase @param {number | null} [retryAt] */
  function report(phase, retryAt = null) {
    const liveUntil = phase === 'live' ? null : aliveAt;
    connection = { phase, liveUntil, retryAt, error: lastError };
    onConnection(connection);
  }

  /** @param {FromPage} message */
  function send(message) {
    if (socket?.readyState === 1) socket.send(JSON.stringify(message));
  }

  function greet() {
    /** @type {Hello} */
    const hello = { type: 'hello', token };
    if (accountIds !== null) hello.account_ids = accountIds;
    if (totalsCurrency !== null) hello.totals_currency = totalsCurrency;
    if (onlyTotals) hello.only_totals = true;
    if (updatesASecond !== null) hello.updates_a_second = updatesASecond;
    send({ ...hello, ...history() });
    onHello((wish) => curves.request(wish, CURVE_TIMEOUT_MS));
  }

  function history() {
    const held = since();
    return held === null ? {} : { since: held };
  }

  function open() {
    retryTimer = null;
    isResyncing = false;
    const opened = new Socket(url, [SUBPROTOCOL]);
    socket = opened;
    opened.onopen = greet;
    opened.onmessage = (event) => receive(event.data);
    opened.onclose = () => lose('disconnected');
    watch();
    report(connection.phase === 'stale' ? 'stale' : 'connecting');
  }

  /** Lets go of the socket without hearing from it again: a dead one may take minutes to close. */
  function drop() {
    clock.clearTimeout(staleTimer);
    clock.clearTimeout(pingTimer);
    staleTimer = pingTimer = null;
    pings = 0;
    curves.rejectAll();
    acknowledgements.rejectAll();
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = null;
    // The next one may lead to another relay, and the machine may have slept.
    estimate.forget();
    onClock(null);
  }

  /** @param {'stale' | 'disconnected'} phase */
  function lose(phase) {
    drop();
    const delay = retryDelay(attempt, clock.random());
    attempt += 1;
    retryTimer = clock.setTimeout(open, delay);
    report(phase, clock.now() + delay);
  }

  /** From the attempt to connect on: also a relay that accepts and then says nothing is dead. */
  function watch() {
    clock.clearTimeout(staleTimer);
    staleTimer = clock.setTimeout(
      () => lose(connection.phase === 'live' ? 'stale' : 'disconnected'),
      STALE_AFTER_MS,
    );
  }

  function ping() {
    send({ type: 'ping', sent_at: clock.precise() });
    pings += 1;
    pingTimer = clock.setTimeout(ping, pings < FIRST_PINGS ? FIRST_PINGS_MS : PING_MS);
  }

  /** @param {unknown} data */
  function receive(data) {
    const receivedAt = clock.precise();
    let message;
    try {
      message = parseMessage(data);
    } catch {
      lastError = {
        type: 'error',
        code: 'bad_message',
        message: 'The relay sent something that this page cannot read.',
        remedy: RELOAD,
      };
      lose('disconnected');
      return;
    }
    if (message === null) return;
    if (message.type === 'error') {
      lastError = message;
      if (FINAL_CODES.has(message.code)) {
        isStopped = true;
        drop();
        report('refused');
      } else {
        lose('disconnected');
      }
      return;
    }
    aliveAt = clock.now();
    if (message.type === 'pong') {
      estimate.add(estimateOf(message.sent_at, parseInstant(message.received_at), receivedAt));
      onClock(estimate.best());
      return;
    }
    if (message.type === 'curve') {
      curves.answer(message);
      return;
    }
    if (message.type === 'refused') {
      acknowledgements.refuse(message);
      return;
    }
    if (message.type === 'snapshot') {
      isResyncing = false;
      lastError = null;
      watch();
    } else if (message.type === 'heartbeat') {
      // Only now: a relay that drops us right after each snapshot is still a relay in trouble.
      attempt = 0;
      watch();
    }
    const from = socket;
    onMessage(message, receivedAt);
    if (socket !== from) return; // whoever was told has stopped it
    if (message.type === 'discrepancy') acknowledgements.see(message);
    if (message.type === 'snapshot') {
      for (const event of message.accounts.flatMap(({ events }) => events)) {
        if (event.type === 'discrepancy') acknowledgements.see(event);
      }
    }
    if (message.type === 'snapshot' && connection.phase !== 'live') {
      report('live');
      ping();
    }
  }

  return {
    start() {
      if (!isStopped) return;
      isStopped = false;
      open();
    },
    /** Asks for a new snapshot, once until it is here. */
    resync() {
      if (isResyncing || connection.phase !== 'live') return;
      isResyncing = true;
      send({ type: 'resync', ...history() });
    },
    /** Other totals from now on; null ends them. @param {string | null} currency */
    chooseTotals(currency) {
      totalsCurrency = currency;
      send({ type: 'totals', currency });
    },
    /**
     * Asks for an account's curve. Rejects with a CurveError: on a time-out, when the signal aborts
     * it, and when the line is not live or is lost meanwhile.
     * @param {CurveWish} wish
     * @param {{ signal?: AbortSignal, timeoutMs?: number }} [options]
     * @returns {Promise<Curve>}
     */
    requestCurve(wish, { signal, timeoutMs = CURVE_TIMEOUT_MS } = {}) {
      if (connection.phase !== 'live') return Promise.reject(new CurveError('disconnected'));
      return curves.request(wish, timeoutMs, signal);
    },
    /**
     * Says that the token's holder looks after a discrepancy. Resolves when its event says so, or
     * that it is resolved; rejects with an AcknowledgeError.
     * @param {number} discrepancyId
     * @param {string | null} note
     * @returns {Promise<void>}
     */
    acknowledge(discrepancyId, note) {
      if (connection.phase !== 'live') return Promise.reject(new AcknowledgeError('disconnected'));
      return acknowledgements.send(discrepancyId, note);
    },
    /** Ends the wait for the next attempt, for when the network has come back. */
    retryNow() {
      if (retryTimer === null || isStopped) return;
      clock.clearTimeout(retryTimer);
      open();
    },
    stop() {
      isStopped = true;
      clock.clearTimeout(retryTimer);
      retryTimer = null;
      drop();
      report('idle');
    },
  };
}

/** @typedef {ReturnType<typeof createPortfolioSocket>} PortfolioSocket */

/**
 * One request is with the relay at a time, since it answers only the last one that waits; an answer
 * belongs to the request that names the same account and range.
 * @param {{ send: (message: FromPage) => void, clock: Clock }} options
 */
function createCurveQueue({ send, clock }) {
  /**
   * @typedef {object} Job
   * @property {CurveWish} wish
   * @property {number} timeoutMs
   * @property {unknown} timer runs from when it was sent; null before
   * @property {(curve: Curve) => void} resolve
   * @property {(error: CurveError) => void} reject
   */
  /** @type {Job[]} the first is with the relay */
  let jobs = [];

  function sendNext() {
    const job = jobs[0];
    if (!job || job.timer !== null) return;
    job.timer = clock.setTimeout(() => end(job, 'timeout'), job.timeoutMs);
    send({ type: 'curve', ...job.wish });
  }

  /** @param {Job} job */
  function remove(job) {
    clock.clearTimeout(job.timer);
    jobs = jobs.filter((other) => other !== job);
  }

  /** @param {Job} job @param {CurveError['code']} code */
  function end(job, code) {
    if (!jobs.includes(job)) return;
    remove(job);
    job.reject(new CurveError(code));
    sendNext();
  }

  return {
    /** @param {CurveWish} wish @param {number} timeoutMs @param {AbortSignal} [signal] */
    request(wish, timeoutMs, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(new CurveError('aborted'));
          return;
        }
        /** @type {Job} */
        const job = { wish, timeoutMs, timer: null, resolve, reject };
        jobs.push(job);
        signal?.addEventListener('abort', () => end(job, 'aborted'), { once: true });
        sendNext();
      });
    },
    /** @param {Curve} curve */
    answer(curve) {
      const job = jobs.find(
        ({ wish }) =>
          (wish.account_id ?? curve.account_id) === curve.account_id &&
          Date.parse(wish.from_at) === Date.parse(curve.from_at) &&
          Date.parse(wish.to_at) === Date.parse(curve.to_at),
      );
      if (!job) return;
      remove(job);
      job.resolve(curve);
      sendNext();
    },
    rejectAll() {
      for (const job of jobs) {
        clock.clearTimeout(job.timer);
        job.reject(new CurveError('disconnected'));
      }
      jobs = [];
    },
  };
}

/**
 * What waits for an answer, by discrepancy.
 * @param {{ send: (message: FromPage) => void, clock: Clock }} options
 */
function createAcknowledgements({ send, clock }) {
  /** @type {Map<number, (error?: AcknowledgeError) => void>} how each ends */
  const waiting = new Map();
  return {
    /** @param {number} id @param {string | null} note @returns {Promise<void>} */
    send(id, note) {
      waiting.get(id)?.(new AcknowledgeError('timeout')); // the answer is the later one's
      return new Promise((resolve, reject) => {
        const timer = clock.setTimeout(
          () => waiting.get(id)?.(new AcknowledgeError('timeout')),
          ACKNOWLEDGE_TIMEOUT_MS,
        );
        waiting.set(id, (error) => {
          clock.clearTimeout(timer);
          waiting.delete(id);
          if (error) reject(error);
          else resolve();
        });
        send({ type: 'acknowledge', discrepancy_id: id, note });
      });
    },
    /** @param {DiscrepancyChanged} event */
    see({ discrepancy }) {
      if (discrepancy.status !== 'open') waiting.get(discrepancy.discrepancy_id)?.();
    },
    /** @param {Refused} message */
    refuse(message) {
      waiting.get(message.discrepancy_id)?.(new AcknowledgeError(message));
    },
    rejectAll() {
      for (const end of [...waiting.values()]) end(new AcknowledgeError('disconnected'));
    },
  };
}
