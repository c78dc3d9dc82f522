import { asFromPage, asFromRelay } from './contract.js';

/** @import { FromPage, FromRelay } from '#page/services/messages.js' */

/** Stands for the browser's WebSocket, and lets nothing pass that is not as agreed. */
export class FakeSocket {
  /** @type {FakeSocket[]} */
  static all = [];
  static get last() {
    const last = FakeSocket.all.at(-1);
    if (!last) throw new Error('no socket was opened');
    return last;
  }

  readyState = 0;
  /** @type {FromPage[]} */
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
    this.sent.push(asFromPage(JSON.parse(text)));
  }

  /** What was sent of one type. @param {FromPage['type']} type */
  sentOf(type) {
    return this.sent.filter((message) => message.type === type);
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
    this.onmessage?.({ data: JSON.stringify(asFromRelay(message)) });
  }

  fail() {
    this.readyState = 3;
    this.onclose?.();
  }
}
