import { describe, expect, test } from 'vitest';
import { IDLE } from '#page/services/portfolioSocket.js';
import {
  EMPTY,
  FILLS_KEPT,
  applyConnection,
  applyHeartbeat,
  applyMessage,
  applySnapshot,
  applyTrade,
  applyUpdate,
  selectIsCurrent,
  selectPricedAt,
  selectSelectedId,
} from '#page/stores/portfolioStore.js';
import { AT, fill, heartbeat, portfolio, snapshot, state, trade, update } from './messages.js';

/** @import { PortfolioData } from '#page/stores/portfolioStore.js' */

const NOW = Date.parse(AT) + 20;

/** @param {Parameters<typeof snapshot>} accounts */
const synced = (...accounts) =>
  applySnapshot(EMPTY, snapshot(...(accounts.length > 0 ? accounts : [portfolio()])));

/** @param {PortfolioData} data @param {number} [id] */
const held = (data, id = 1) => {
  const found = data.portfolios[id];
  if (!found) throw new Error(`account ${id} is not held`);
  return found;
};

/** @param {PortfolioData} data */
const seqs = (data) => held(data).fills.map((one) => one.event_seq);

/** @param {number} from @param {number} to newest first */
const fillsDown = (from, to) =>
  Array.from({ length: from - to + 1 }, (_, index) => fill({ event_seq: from - index }));

describe('state of an account', () => {
  test('the highest version stays, in whatever order versions arrive', () => {
    const updates = [2, 3, 4].map((version) => update({ version, equity: `${version}.00` }));
    for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]]) {
      let data = synced();
      for (const index of order) data = applyUpdate(data, updates[index] ?? update());
      expect(held(data).state.equity).toBe('4.00');
    }
  });

  test('an equal version changes nothing, not even identity', () => {
    const data = synced();
    expect(applyUpdate(data, update({ version: 1, equity: '5.00' }))).toBe(data);
  });

  test('a jump of the version is no gap', () => {
    expect(applyUpdate(synced(), update({ version: 900 })).wantsResync).toBe(false);
  });

  test('amounts stay the strings that came, and null stays null', () => {
    const exact = '12345678901234567890.12';
    const data = applyUpdate(synced(), update({ version: 2, balance: exact, equity: null }));
    expect(held(data).state.balance).toBe(exact);
    expect(held(data).state.equity).toBeNull();
  });

  test('an update of one account leaves the others as they are', () => {
    const before = synced(portfolio({ account_id: 1 }), portfolio({ account_id: 2 }));
    const after = applyUpdate(before, update({ account_id: 2, version: 2 }));
    expect(held(after, 1)).toBe(held(before, 1));
    expect(held(after, 2)).not.toBe(held(before, 2));
    expect(after.accountIds).toBe(before.accountIds);
  });

  test('an account that no snapshot named is asked for', () => {
    const data = applyUpdate(synced(), update({ account_id: 9, version: 5 }));
    expect(data.wantsResync).toBe(true);
    expect(data.portfolios[9]).toBeUndefined();
  });
});

describe('trades', () => {
  test('stand newest first', () => {
    const data = [1, 2, 3].reduce((all, seq) => applyTrade(all, trade(seq)), synced());
    expect(seqs(data)).toEqual([3, 2, 1]);
    expect(held(data).event_seq).toBe(3);
  });

  test('are shown once, however often they arrive', () => {
    const once = applyTrade(synced(), trade(1));
    expect(applyTrade(once, trade(1))).toBe(once);
    expect(seqs(once)).toEqual([1]);
  });

  test('that the snapshot holds already are not shown again', () => {
    const data = synced(portfolio({ event_seq: 2, fills: fillsDown(2, 1) }));
    expect(seqs(applyTrade(data, trade(2)))).toEqual([2, 1]);
  });

  test('count although their state is older than the one held', () => {
    const ahead = applyUpdate(synced(), update({ version: 50, equity: '50.00' }));
    const data = applyTrade(ahead, trade(1, { version: 40, equity: '40.00' }));
    expect(seqs(data)).toEqual([1]);
    expect(held(data).state.equity).toBe('50.00');
  });

  test('that leave a gap are shown and ask for a snapshot', () => {
    const data = applyTrade(synced(), trade(3));
    expect(data.wantsResync).toBe(true);
    expect(seqs(data)).toEqual([3]);
    expect(held(data).event_seq).toBe(0);
  });

  test('that come late close the gap', () => {
    const data = [3, 2, 1].reduce((all, seq) => applyTrade(all, trade(seq)), synced());
    expect(seqs(data)).toEqual([3, 2, 1]);
    expect(held(data).event_seq).toBe(3);
  });

  test('are kept to the last fifty', () => {
    let data = synced();
    for (let seq = 1; seq <= FILLS_KEPT + 5; seq += 1) data = applyTrade(data, trade(seq));
    expect(seqs(data)).toHaveLength(FILLS_KEPT);
    expect(seqs(data)[0]).toBe(FILLS_KEPT + 5);
    expect(held(data).event_seq).toBe(FILLS_KEPT + 5);
  });
});

describe('heartbeats', () => {
  test('that name an event which is not here ask for a snapshot', () => {
    expect(applyHeartbeat(synced(), heartbeat({ 1: 1 }), NOW).wantsResync).toBe(true);
  });

  test('that name what is held ask for nothing', () => {
    const data = synced(portfolio({ event_seq: 7 }));
    expect(applyHeartbeat(data, heartbeat({ 1: 7 }), NOW).wantsResync).toBe(false);
  });

  test('that name a new account ask for a snapshot', () => {
    expect(applyHeartbeat(synced(), heartbeat({ 1: 0, 2: 0 }), NOW).wantsResync).toBe(true);
  });

  test('tell since when the database has been lost, and that it is back', () => {
    const lost = heartbeat({}, { database_ok: false });
    let data = applyHeartbeat(synced(), lost, NOW);
    data = applyHeartbeat(data, lost, NOW + 5000);
    expect(data.databaseLostAt).toBe(NOW);
    expect(applyHeartbeat(data, heartbeat({}), NOW + 10_000).databaseLostAt).toBeNull();
  });

  test('give the difference of the clocks by the quickest of them', () => {
    let data = applyHeartbeat(synced(), heartbeat({}), NOW + 480);
    data = applyHeartbeat(data, heartbeat({}), NOW);
    data = applyHeartbeat(data, heartbeat({}), NOW + 80);
    expect(data.clockOffset).toBe(20);
  });
});

describe('snapshots', () => {
  test('end the wish for one', () => {
    const data = applyTrade(synced(), trade(3));
    const after = applySnapshot(data, snapshot(portfolio({ event_seq: 3, fills: fillsDown(3, 1) })));
    expect(after.wantsResync).toBe(false);
    expect(seqs(after)).toEqual([3, 2, 1]);
  });

  test('never take back a trade that overtook them', () => {
    const gap = applyTrade(synced(), trade(2));
    const overtaken = applyTrade(gap, trade(3, { version: 30, equity: '30.00' }));
    const late = portfolio({
      event_seq: 2,
      fills: fillsDown(2, 1),
      state: state({ version: 20, equity: '20.00' }),
    });
    const data = applySnapshot(overtaken, snapshot(late));
    expect(held(data).state.equity).toBe('30.00');
    expect(held(data).event_seq).toBe(3);
    expect(seqs(data)).toEqual([3, 2, 1]);
  });

  test('drop accounts that are no longer opened', () => {
    const both = synced(portfolio({ account_id: 1 }), portfolio({ account_id: 2 }));
    const data = applySnapshot(both, snapshot(portfolio({ account_id: 2 })));
    expect(data.accountIds).toEqual([2]);
    expect(data.portfolios[1]).toBeUndefined();
  });

  test('of a new connection replace also what looks newer: it may be another database', () => {
    const old = applyUpdate(synced(), update({ version: 99, equity: '99.00' }));
    const lost = applyConnection(old, { ...IDLE, phase: 'disconnected' });
    const data = applySnapshot(lost, snapshot(portfolio()));
    expect(held(data).state.equity).toBe('1010.00');
  });
});

describe('the line', () => {
  test('when lost leaves the figures in sight, but nothing counts before a new snapshot', () => {
    const live = applyConnection(synced(), { ...IDLE, phase: 'live' });
    expect(selectIsCurrent(live)).toBe(true);
    const lost = applyConnection(live, { ...IDLE, phase: 'stale', liveUntil: NOW });
    expect(selectIsCurrent(lost)).toBe(false);
    expect(held(lost).state.equity).toBe('1010.00');
    expect(applyMessage(lost, update({ version: 2 }), NOW)).toBe(lost);
    expect(applyMessage(lost, trade(1), NOW)).toBe(lost);
  });
});

describe('selectors', () => {
  test('the first account is shown until one is chosen, and again when that one is gone', () => {
    const data = synced(portfolio({ account_id: 4 }), portfolio({ account_id: 2 }));
    expect(selectSelectedId(data)).toBe(4);
    expect(selectSelectedId({ ...data, selectedId: 2 })).toBe(2);
    expect(selectSelectedId({ ...data, selectedId: 3 })).toBe(4);
    expect(selectSelectedId(EMPTY)).toBeNull();
  });

  test('the age of prices is that of the oldest one in use', () => {
    const at = (/** @type {string | null} */ pricedAt, /** @type {number} */ id) =>
      portfolio({ account_id: id, state: state({ account_id: id, priced_at: pricedAt }) });
    const older = '2014-05-02T12:29:00Z';
    expect(selectPricedAt(synced(at(AT, 1), at(older, 2), at(null, 3)))).toBe(older);
    expect(selectPricedAt(synced(at(null, 1)))).toBeNull();
  });
});
