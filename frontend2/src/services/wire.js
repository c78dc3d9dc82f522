import { MESSAGE_TYPES } from './messages.js';

/** @import { FromRelay } from './messages.js' */

/** @type {Set<string>} */
const TYPES = new Set(MESSAGE_TYPES);

/**
 * Reads one frame. A type that this page does not know yet is null and may be skipped; what is no
 * message at all throws a SyntaxError.
 * @param {unknown} text
 * @returns {FromRelay | null}
 */
export function parseMessage(text) {
  const message = JSON.parse(String(text));
  if (typeof message !== 'object' || message === null || typeof message.type !== 'string') {
    throw new SyntaxError('a message is an object with a type');
  }
  return TYPES.has(message.type) ? message : null;
}
