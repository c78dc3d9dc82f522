// @vitest-environment jsdom
import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { App } from '#page/components/App.jsx';
import { formatInstant } from '#page/format.js';
import {
  ACKNOWLEDGE_TIMEOUT_MS,
  AcknowledgeError,
  IDLE,
  createPortfolioSocket,
} from '#page/services/portfolioSocket.js';
import { createLatency } from '#page/stores/latency.js';
import { EMPTY, applySnapshot, usePortfolioStore } from '#page/stores/portfolioStore.js';
import { asFromRelay } from './contract.js';
import { fakeClock } from './fakeClock.js';
import { FakeSocket } from './fakeSocket.js';
import { AT, discrepancy, portfolio, snapshot } from './messages.js';

/** @import { Refused } from '#page/services/messages.js' */
/** @import { SendAcknowledgement } from '#page/components/Acknowledgement.jsx' */

// A canvas is what jsdom has not.
vi.mock('#page/components/curveChart.js', () => ({
  createCurveChart: () => ({ draw: () => {}, destroy: () => {} }),
}));

/** @param {Partial<Refused>} [fields] @returns {Refused} */
const refused = (fields = {}) =>
  asFromRelay({
    type: 'refused',
    discrepancy_id: 5,
    code: 'resolved',
    message: 'It is resolved already.',
    remedy: 'Nothing is left to do.',
    ...fields,
  });

const acknowledged = (eventSeq = 2) =>
  discrepancy(eventSeq, {
    status: 'acknowledged',
    acknowledged_at: AT,
    acknowledged_by: 'night desk',
    note: 'asked them',
  });

describe('the socket', () => {
  beforeEach(() => {
    FakeSocket.all = [];
  });

  function live() {
    const clock = fakeClock();
    /** @type {string[]} */
    const types = [];
    const socket = createPortfolioSocket({
      url: 'ws://relay.test/ws',
      token: 'secret',
      onMessage: ({ type }) => types.push(type),
      onConnection: () => {},
      Socket: /** @type {any} */ (FakeSocket),
      clock,
    });
    socket.start();
    FakeSocket.last.accept();
    FakeSocket.last.say(snapshot(portfolio()));
    return { socket, clock, types };
  }

  /** @param {Promise<void>} promise */
  const codeOf = (promise) =>
    promise.then(
      () => 'acknowledged',
      (error) => error instanceof AcknowledgeError && error.remedy !== '' && error.code,
    );

  test('asks once, and the event is the answer', async () => {
    const { socket, types } = live();
    const done = codeOf(socket.acknowledge(5, 'asked them'));
    expect(FakeSocket.last.sentOf('acknowledge')).toEqual([
      { type: 'acknowledge', discrepancy_id: 5, note: 'asked them' },
    ]);
    FakeSocket.last.say(discrepancy(1)); // another look at it, open still
    FakeSocket.last.say(refused({ discrepancy_id: 6 })); // another's
    FakeSocket.last.say(acknowledged());
    expect(await done).toBe('acknowledged');
    expect(types).not.toContain('refused');
  });

  test('finds the answer in a snapshot, too', async () => {
    const { socket } = live();
    const done = codeOf(socket.acknowledge(5, null));
    FakeSocket.last.say(snapshot(portfolio({ event_seq: 2, events: [acknowledged()] })));
    expect(await done).toBe('acknowledged');
  });

  test('hands on why not, and stays connected', async () => {
    const { socket } = live();
    const done = codeOf(socket.acknowledge(5, null));
    FakeSocket.last.say(refused());
    expect(await done).toBe('resolved');
    expect(FakeSocket.all).toHaveLength(1);
    expect(FakeSocket.last.readyState).toBe(1);
  });

  test('does not wait for ever', async () => {
    const { socket, clock } = live();
    const done = codeOf(socket.acknowledge(5, null));
    clock.pass(ACKNOWLEDGE_TIMEOUT_MS);
    expect(await done).toBe('timeout');
  });

  test('does not know what became of it when the line is lost', async () => {
    const { socket } = live();
    const done = codeOf(socket.acknowledge(5, null));
    FakeSocket.last.fail();
    expect(await done).toBe('disconnected');
    expect(await codeOf(socket.acknowledge(5, null))).toBe('disconnected');
  });
});

test('a snapshot tells whether the token allows it', () => {
  const allowed = applySnapshot(EMPTY, { ...snapshot(), may_acknowledge: true });
  expect(allowed.mayAcknowledge).toBe(true);
  expect(applySnapshot(allowed, snapshot()).mayAcknowledge).toBe(false);
});

describe('the page', () => {
  const store = usePortfolioStore;
  beforeEach(() => {
    store.getState().forget();
    store.getState().setConnection({ ...IDLE, phase: 'live' });
  });
  afterEach(cleanup);

  /** @param {SendAcknowledgement} acknowledge @param {boolean} [may] */
  function show(acknowledge, may = true) {
    const first = snapshot(portfolio({ event_seq: 1, events: [discrepancy(1)] }));
    store.getState().receive([{ ...first, may_acknowledge: may }], Date.now());
    render(<App requestCurve={() => new Promise(() => {})} acknowledge={acknowledge} latency={createLatency()} />);
  }

  const button = () => screen.queryByRole('button', { name: /^Acknowledge: A fill of 2,000/ });
  const note = () => /** @type {HTMLInputElement} */ (screen.getByLabelText(/^Note/));

  test('offers nothing that the token does not allow', () => {
    show(async () => {}, false);
    expect(button()).toBeNull();
  });

  test('sends a note, or none, and shows by whom and when', async () => {
    const send = vi.fn(async () => {});
    show(send);
    const opener = /** @type {HTMLElement} */ (button());
    expect(opener.getAttribute('aria-expanded')).toBe('false');
    fireEvent.click(opener);
    expect(opener.getAttribute('aria-expanded')).toBe('true');
    expect(document.activeElement).toBe(note());
    const form = /** @type {HTMLFormElement} */ (note().form);
    expect(form.id).toBe(opener.getAttribute('aria-controls'));
    await act(async () => fireEvent.submit(form));
    fireEvent.change(note(), { target: { value: '  asked them ' } });
    await act(async () => fireEvent.submit(form));
    expect(send.mock.calls).toEqual([
      [5, null],
      [5, 'asked them'],
    ]);
    act(() => store.getState().receive([acknowledged()], Date.now()));
    const told = document.querySelector('[data-acknowledged-by="night desk"]');
    expect(told?.textContent).toBe(`acknowledged by night desk, ${formatInstant(AT)}asked them`);
    expect(document.activeElement).toBe(told);
    expect(button()).toBeNull();
  });

  test('says why not, keeps the note, and sends nothing twice', async () => {
    /** @type {(error: AcknowledgeError) => void} */
    let refuse = () => {};
    const send = vi.fn(() => new Promise((_, reject) => (refuse = reject)));
    show(/** @type {SendAcknowledgement} */ (send));
    fireEvent.click(/** @type {HTMLElement} */ (button()));
    fireEvent.change(note(), { target: { value: 'mine' } });
    const form = /** @type {HTMLFormElement} */ (note().form);
    fireEvent.submit(form);
    fireEvent.submit(form);
    expect(send).toHaveBeenCalledTimes(1);
    expect(form.getAttribute('aria-busy')).toBe('true');
    await act(async () => refuse(new AcknowledgeError(refused({ code: 'unavailable' }))));
    const alert = screen.getByRole('alert');
    expect(alert.dataset.refused).toBe('unavailable');
    expect(alert.textContent).toBe('It is resolved already. Nothing is left to do.');
    expect(note().value).toBe('mine');
    expect(form.getAttribute('aria-busy')).toBe('false');
  });

  test('Escape goes back to where one was', () => {
    show(async () => {});
    const opener = /** @type {HTMLElement} */ (button());
    fireEvent.click(opener);
    fireEvent.keyDown(note(), { key: 'Escape' });
    expect(screen.queryByLabelText(/^Note/)).toBeNull();
    expect(document.activeElement).toBe(opener);
  });

  test('one that is over says who looked after it', () => {
    show(async () => {});
    const over = { ...acknowledged().discrepancy, status: /** @type {const} */ ('resolved'), resolved_at: AT };
    act(() => store.getState().receive([discrepancy(2, over)], Date.now()));
    expect(document.querySelector('.over [data-acknowledged-by="night desk"]')).not.toBeNull();
    expect(button()).toBeNull();
  });
});
