/** @import { StateMessage } from './portfolioStore.js' */
/** @import { Update } from '../services/wire.js' */

/** While the page is hidden no frame is painted, and the figures still have to stay true. */
export const HIDDEN_PAINT_MS = 250;

/**
 * Stands between the socket and the store. Prices wait for the next frame, merged to the latest
 * per account (so what waits is bounded by the number of accounts); all else goes on at once.
 *
 * @param {object} options
 * @param {(messages: StateMessage[]) => void} options.deliver
 * @param {(run: () => void) => void} [options.paintNow] runs what must not wait for a frame
 * @param {Pick<Window, 'requestAnimationFrame' | 'cancelAnimationFrame' | 'setTimeout' |
 *   'clearTimeout'>} [options.frames]
 */
export function createInbox({ deliver, paintNow = (run) => run(), frames = window }) {
  /** @type {Map<number, Update>} */
  const waiting = new Map();
  let frame = 0;
  let timer = 0;

  function cancel() {
    frames.cancelAnimationFrame(frame);
    frames.clearTimeout(timer);
    frame = timer = 0;
  }

  function flush() {
    cancel();
    const updates = [...waiting.values()];
    waiting.clear();
    if (updates.length > 0) deliver(updates);
  }

  /** @param {StateMessage} message */
  return function accept(message) {
    if (message.type === 'update') {
      const other = waiting.get(message.account_id);
      if (!other || message.state.version > other.state.version) {
        waiting.set(message.account_id, message);
      }
      // Whichever comes first: a page may be hidden after it has asked for a frame.
      frame ||= frames.requestAnimationFrame(flush);
      timer ||= frames.setTimeout(flush, HIDDEN_PAINT_MS);
      return;
    }
    if (message.type === 'snapshot') {
      flush();
      deliver([message]);
    } else if (message.type === 'trade') {
      paintNow(() => deliver([message]));
    } else {
      deliver([message]);
    }
  };
}
