import { expect, test } from 'vitest';
import { HEARTBEAT_SECONDS, SUBPROTOCOL, parseMessage } from '#page/services/wire.js';
import page from '../../frontend2/src/services/wire.js?raw';
import relay from '../../glue/wire.py?raw';

/** Names that the page must not take from the language. */
const RENAMED = new Map([['Error', 'RelayError']]);

/** Message or part → its fields, with the tag as `type`. */
function fieldsInPython() {
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const [, name = '', options = '', body = ''] of relay.matchAll(
    /^class (\w+)\(msgspec\.Struct(.*)\):\n((?:(?: {4}.*)?\n)+)/gm,
  )) {
    const fields = [...body.matchAll(/^ {4}(\w+): /gm)].map(([, field = '']) => field);
    const tag = options.includes('tag=') ? ['type'] : [];
    found.set(RENAMED.get(name) ?? name, [...tag, ...fields].sort());
  }
  return found;
}

function fieldsInJavaScript() {
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const [block] of page.matchAll(/\/\*\*.*?\*\//gs)) {
    const long = block.match(/@typedef \{object\} (\w+)/)?.[1];
    const short = block.match(/@typedef \{\{ (.*) \}\} (\w+)/);
    if (long) {
      found.set(long, [...block.matchAll(/@property \{.*?\} (\w+)/g)].map((one) => one[1] ?? '').sort());
    } else if (short) {
      const names = [...(short[1] ?? '').matchAll(/(\w+)\??: /g)].map((one) => one[1] ?? '');
      found.set(short[2] ?? '', names.sort());
    }
  }
  return found;
}

test('the page knows every message with the fields that the relay sends', () => {
  const python = fieldsInPython();
  expect(python.size).toBeGreaterThan(8);
  expect(Object.fromEntries(fieldsInJavaScript())).toEqual(Object.fromEntries(python));
});

test('the page knows every error code', () => {
  const codes = relay.match(/code: Literal\[(.*)\]/)?.[1]?.replaceAll('"', "'").split(', ') ?? [];
  expect(codes.length).toBeGreaterThan(0);
  expect(page).toContain(`{${codes.join(' | ')}} code`);
});

test('subprotocol and heartbeat are those of the relay', () => {
  expect(relay).toContain(`SUBPROTOCOL = "${SUBPROTOCOL}"`);
  expect(Number(relay.match(/HEARTBEAT_SECONDS = ([\d.]+)/)?.[1])).toBe(HEARTBEAT_SECONDS);
});

test('a frame that is no message is an error, one of a later version is skipped', () => {
  for (const frame of ['', '[]', 'null', '7', '{}', '{"type":1}', new ArrayBuffer(2)]) {
    expect(() => parseMessage(frame)).toThrow(SyntaxError);
  }
  expect(parseMessage('{"type":"weather"}')).toBeNull();
});
