import { describe, expect, test } from 'vitest';
import { ERROR_CODES, MESSAGE_TYPES } from '#page/services/messages.js';
import { parseMessage } from '#page/services/wire.js';
import contract from '../../docs/asyncapi.json';
import { asFromPage, asFromRelay } from './contract.js';
import { relayError, trade } from './messages.js';

test('a frame that is no message is an error, one of a later version is skipped', () => {
  for (const frame of ['', '[]', 'null', '7', '{}', '{"type":1}', new ArrayBuffer(2)]) {
    expect(() => parseMessage(frame)).toThrow(SyntaxError);
  }
  expect(parseMessage('{"type":"weather"}')).toBeNull();
});

test('every type that the relay may send is read', () => {
  expect(MESSAGE_TYPES).toHaveLength(contract.operations.fromRelay.messages.length);
  for (const type of MESSAGE_TYPES) expect(parseMessage(JSON.stringify({ type }))).toEqual({ type });
});

describe('the contract of these tests', () => {
  test('knows every error code', () => {
    for (const code of ERROR_CODES) expect(relayError(code).code).toBe(code);
    expect(() => relayError(/** @type {any} */ ('bad_mood'))).toThrow(/not as agreed/);
  });

  test('takes no amount that is a number, no instant that is a date, no field that is not there', () => {
    expect(() => trade(1, { balance: /** @type {any} */ (5) })).toThrow(/balance/);
    expect(() => trade(1, { updated_at: '2014-05-02' })).toThrow(/updated_at/);
    expect(() => trade(1, { equity: undefined })).toThrow(/equity/);
    const ping = { type: /** @type {const} */ ('ping'), sent_at: 1 };
    expect(asFromPage(ping)).toBe(ping);
    expect(() => asFromPage(/** @type {any} */ ({ ...ping, mood: 'good' }))).toThrow(/additional/);
  });

  test('lets neither side speak for the other', () => {
    expect(() => asFromRelay(/** @type {any} */ ({ type: 'ping', sent_at: 1 }))).toThrow(/ping/);
    expect(() => asFromPage(/** @type {any} */ (relayError('too_slow')))).toThrow(/error/);
  });
});
