import { HEARTBEAT_SECONDS, SUBPROTOCOL, parseMessage } from './wire.js';

/** @import { FromPage, FromRelay, RelayError } from './wire.js' */

/** Two heartbeats missed, and some: then the line is dead although nobody closed it. */
export const STALE_AFTER_MS = 2 * HEARTBEAT_SECONDS * 1000 + 2000;
export const FIRST_RETRY_MS = 500;
export const LONGEST_RETRY_MS = 15_000;

/** Trying again with the same token gives the same answer. */
const FINAL_CODES = new Set(['bad_token', 'not_allowed']);

/**
 * The line to the relay, as the page tells it. Instants are milliseconds since 1970.
 *
 *   idle → connecting → live ⇄ stale → disconnected → connecting …
 *   any → refused, until there is another token
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
 * @typedef {object} Clock
 * @property {() => number} now
 * @property {(run: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random
 */

/** @type {Clock} */
const SYSTEM_CLOCK = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer),
  random: () => Math.random(),
};

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
 * the store: `onMessage` gets every message but errors, `onConnection` every change of the line.
 *
 * @param {object} options
 * @param {string} options.url
 * @param {string} options.token
 * @param {(message: Exclude<FromRelay, RelayError>) => void} options.onMessage
 * @param {(connection: Connection) => void} options.onConnection
 * @param {new (url: string, protocols: string[]) => WebSocket} [options.Socket]
 * @param {Clock} [options.clock]
 */
export function createPortfolioSocket({
  url,
  token,
  onMessage,
  onConnection,
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

  function open() {
    retryTimer = null;
    isResyncing = false;
    report(connection.phase === 'stale' ? 'stale' : 'connecting');
    const opened = new Socket(url, [SUBPROTOCOL]);
    socket = opened;
    opened.onopen = () => send({ type: 'hello', token });
    opened.onmessage = (event) => receive(event.data);
    opened.onclose = () => lose('disconnected');
    watch();
  }

  /** Lets go of the socket without hearing from it again: a dead one may take minutes to close. */
  function drop() {
    clock.clearTimeout(staleTimer);
    staleTimer = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = null;
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

  /** @param {unknown} data */
  function receive(data) {
    let message;
    try {
      message = parseMessage(data);
    } catch {
      lastError = {
        type: 'error',
        code: 'bad_message',
        message: 'The relay sent something that this page cannot read.',
        remedy: 'Reload the page; if that does not help, compare the versions of page and relay.',
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
    if (message.type === 'snapshot') {
      isResyncing = false;
      lastError = null;
      watch();
      if (connection.phase !== 'live') report('live');
    } else if (message.type === 'heartbeat') {
      // Only now: a relay that drops us right after each snapshot is still a relay in trouble.
      attempt = 0;
      watch();
    }
    onMessage(message);
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
      send({ type: 'resync' });
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
