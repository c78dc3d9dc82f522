// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import * as page from '#page/index.js';
import { RANGES } from '#page/ranges.js';
import { createLatency } from '#page/stores/latency.js';
import manifest from '../../frontend2/package.json';
import guide from '../../docs/page.md?raw';
import { FakeSocket } from './fakeSocket.js';
import { portfolio, snapshot, state, trade } from './messages.js';

/** docs/page.md says what is so. */

const [example = '', ...more] = [...guide.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);

/** What is in the first column of the table with this heading. @param {string} heading */
function listed(heading) {
  const lines = guide.split('\n');
  const begin = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  if (begin < 0) throw new Error(`docs/page.md has no table of ${heading}`);
  const length = lines.slice(begin).findIndex((line) => !line.startsWith('|'));
  return lines
    .slice(begin + 2, begin + length)
    .flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));
}

afterEach(() => vi.unstubAllGlobals());

describe('the example', () => {
  /** @type {Record<string, string>} */
  let shown;
  /** @type {(() => void)[]} */
  let leaving;

  beforeEach(() => {
    FakeSocket.all = [];
    shown = {};
    leaving = [];
    vi.stubGlobal('WebSocket', FakeSocket);
    page.usePortfolioStore.getState().forget();
  });

  test('of ten lines shows equity, says that it is stale, and ends', () => {
    expect(more).toEqual([]);
    expect(example.trim().split('\n').filter(Boolean).length).toBeLessThanOrEqual(10);
    const [, names = '', source] = example.match(/^import \{ (.*) \} from '(.*)';$/m) ?? [];
    expect(source).toBe(manifest.name);
    expect(manifest.exports['.'].default).toBe('./src/index.js');
    const run = new Function(...names.split(', '), 'readToken', 'show', 'onLeave', example.replace(/^import .*$/m, ''));
    run(
      ...names.split(', ').map((name) => /** @type {Record<string, unknown>} */ (page)[name]),
      () => 'secret',
      (/** @type {number} */ id, /** @type {string} */ text) => (shown[id] = text),
      (/** @type {() => void} */ leave) => leaving.push(leave),
    );
    const socket = FakeSocket.last;
    expect(socket.url).toBe('wss://desk.example/ws');
    socket.accept();
    expect(socket.sent).toEqual([{ type: 'hello', token: 'secret', updates_a_second: 10 }]);
    socket.say(snapshot(portfolio(), portfolio({ account_id: 2, state: state({ account_id: 2, equity: null }) })));
    expect(shown).toEqual({ 1: 'Harbour: 1010.00 USD', 2: 'Harbour: unknown USD' });
    socket.say(trade(1, { equity: '999.00' }));
    expect(shown[1]).toBe('Harbour: 999.00 USD');
    socket.fail();
    expect(shown[1]).toBe('Harbour: 999.00 USD (stale)');
    for (const leave of leaving) leave();
    expect(page.usePortfolioStore.getState().connection.phase).toBe('idle');
  });
});

test('every export is told, and none that is not there', () => {
  const told = listed('export').map((name) => name.replace(/\(.*/, ''));
  const reducers = Object.keys(page).filter((name) => name.startsWith('apply'));
  expect(reducers.length).toBeGreaterThan(6);
  const exported = new Set([...Object.keys(page), 'connectPortfolio']);
  const documented = new Set([...told.filter((name) => name !== 'apply…'), ...reducers, 'connectPortfolio', 'EMPTY']);
  expect([...documented].sort()).toEqual([...exported].sort());
});

test('every member of a connection is told, and none that is not there', () => {
  vi.stubGlobal('WebSocket', FakeSocket);
  const portfolio = page.connectPortfolio({ url: 'wss://desk.example/ws', token: 'secret' });
  portfolio.stop();
  const told = listed('member').map((name) => name.replace(/\(.*/, ''));
  expect(told.sort()).toEqual(Object.keys(portfolio).sort());
});

test('every field of a trade’s way is told', () => {
  const latency = createLatency({ frames: /** @type {any} */ ({ requestAnimationFrame: () => 0 }) });
  latency.record(trade(1), 0);
  const fields = listed('field').filter((name) => name.startsWith('latency[]'));
  expect(fields.map((name) => name.slice('latency[].'.length))).toEqual(Object.keys(latency.trades()[0] ?? {}));
});

test('parameters of the address and ranges are those that there are', () => {
  expect(listed('parameter')).toEqual(['token', 'totals', 'range']);
  for (const range of Object.keys(RANGES)) expect(guide).toContain(`\`${range}\``);
});
