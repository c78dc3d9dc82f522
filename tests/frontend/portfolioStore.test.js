import { describe, expect, test } from 'vitest';
import { IDLE } from '#page/services/portfolioSocket.js';
import { countOpen } from '#page/stores/issues.js';
import {
  CLOSED_EVENTS_KEPT,
  EMPTY,
  FILLS_KEPT,
  applyConnection,
  applyEvent,
  applyHeartbeat,
  applyMessages,
  applySnapshot,
  applyTotals,
  applyTrade,
  applyUpdates,
  chooseTotalsCurrency,
  isPast,
  selectIsCurrent,
  selectIsStale,
  selectMissedIds,
  selectPricedAt,
  selectSelectedId,
  selectSince,
  selectStaleSince,
  usePortfolioStore,
} from '#page/stores/portfolioStore.js';
import {
  AT,
  alert,
  discrepancy,
  fill,
  heartbeat,
  portfolio,
  snapshot,
  state,
  totals,
  totalsChanged,
  trade,
  update,
} from './messages.js';

/** @import { PortfolioData } from '#page/stores/portfolioStore.js' */

const NOW = Date.parse(AT);

/** @param {Parameters<typeof snapshot>} accounts */
const synced = (...accounts) =>
  applySnapshot(EMPTY, snapshot(...(accounts.length > 0 ? accounts : [portfolio()])));

/** @param {PortfolioData} data @param {ReturnType<typeof update>} message */
const applyUpdate = (data, message) => applyUpdates(data, [message]);

/** The line is lost at an instant, and connected again. @param {PortfolioData} data */
const reconnected = (data, liveUntil = NOW) =>
  applyConnection(data, { ...IDLE, phase: 'disconnected', liveUntil });

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

/** A portfolio with fills alone, the last one numbered so. @param {number} last @param {number} [first] */
const filled = (last, first = 1) =>
  portfolio({ event_seq: last, history_from: first, fills: fillsDown(last, first) });

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

  test('that came too early are shown once, too', () => {
    const early = applyTrade(synced(), trade(3));
    expect(seqs(applyTrade(early, trade(3)))).toEqual([3]);
    expect(held(applyTrade(early, trade(3))).ahead).toEqual([3]);
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

describe('discrepancies and alerts', () => {
  test('are numbered with the trades: one that is missing between them asks for a snapshot', () => {
    let data = applyTrade(synced(), trade(1));
    data = applyEvent(data, discrepancy(2));
    data = applyTrade(data, trade(3));
    expect(data.wantsResync).toBe(false);
    expect(held(data)).toMatchObject({ event_seq: 3, ahead: [] });
    expect(applyEvent(data, alert(5)).wantsResync).toBe(true);
  });

  test('are shown once, however often they arrive', () => {
    const once = applyEvent(synced(), discrepancy(1));
    expect(applyEvent(once, discrepancy(1))).toBe(once);
    expect(once.issues.discrepancies).toHaveLength(1);
  });

  test('stand as their latest event tells, also where that came first', () => {
    const opened = discrepancy(1);
    const resolved = discrepancy(2, { status: 'resolved', resolved_at: AT });
    for (const order of [[opened, resolved], [resolved, opened]]) {
      const data = order.reduce((all, event) => applyEvent(all, event), synced());
      expect(data.issues.discrepancies).toMatchObject([{ accountId: 1, discrepancy: { status: 'resolved' } }]);
      expect(countOpen(data.issues)).toBe(0);
      expect(held(data).event_seq).toBe(2);
    }
  });

  test('an alert of several accounts is shown once, with all of them, as it stands furthest', () => {
    let data = synced(portfolio({ account_id: 1 }), portfolio({ account_id: 2 }));
    data = applyEvent(data, alert(1, {}, 1));
    data = applyEvent(data, alert(1, {}, 2));
    expect(data.issues.alerts).toMatchObject([{ accountIds: [1, 2], alert: { status: 'raised' } }]);
    data = applyEvent(data, alert(2, { status: 'resolved', resolved_at: AT }, 2));
    expect(data.issues.alerts).toMatchObject([{ accountIds: [1, 2], alert: { status: 'resolved' } }]);
    expect(countOpen(data.issues)).toBe(0);
  });

  test('open ones stand first, the worst on top, then what is over, the last one first', () => {
    const events = [
      discrepancy(6, { discrepancy_id: 1, severity: 'info' }),
      discrepancy(5, { discrepancy_id: 2, severity: 'critical', status: 'resolved', resolved_at: AT }),
      discrepancy(4, { discrepancy_id: 3, severity: 'critical' }),
      discrepancy(3, { discrepancy_id: 4, severity: 'warning', status: 'acknowledged' }),
      discrepancy(2, { discrepancy_id: 5, status: 'resolved', resolved_at: '2014-05-02T13:00:00Z' }),
    ];
    const { issues } = synced(portfolio({ event_seq: 6, events }));
    expect(issues.discrepancies.map((one) => one.discrepancy.discrepancy_id)).toEqual([3, 4, 1, 5, 2]);
    expect(countOpen(issues)).toBe(3);
  });

  test('those that are over are kept to the last hundred, open ones all', () => {
    let data = applyEvent(synced(), discrepancy(1, { discrepancy_id: 1000 }));
    for (let seq = 2; seq <= CLOSED_EVENTS_KEPT + 50; seq += 1) {
      data = applyEvent(data, discrepancy(seq, { discrepancy_id: seq, status: 'resolved', resolved_at: AT }));
    }
    expect(held(data).events).toHaveLength(CLOSED_EVENTS_KEPT + 1);
    expect(data.issues.discrepancies[0]?.discrepancy.discrepancy_id).toBe(1000);
  });

  test('one that a snapshot no longer names as open is over', () => {
    const data = applyEvent(synced(), discrepancy(1));
    const after = applySnapshot(reconnected(data), snapshot(portfolio({ event_seq: 900, history_from: 401 })));
    expect(countOpen(after.issues)).toBe(0);
    expect(selectMissedIds(after)).toEqual([1]);
  });

  test('one that overtook a snapshot stays', () => {
    const ahead = applyEvent(synced(), discrepancy(2));
    expect(ahead.wantsResync).toBe(true);
    const data = applySnapshot(ahead, snapshot(filled(1)));
    expect(countOpen(data.issues)).toBe(1);
    expect(held(data).event_seq).toBe(2);
  });

  test('a trade leaves the list as it is, so that nothing of it renders', () => {
    const data = applyEvent(synced(), discrepancy(1));
    expect(applyTrade(data, trade(2)).issues).toBe(data.issues);
    expect(applyUpdate(data, update({ version: 7 })).issues).toBe(data.issues);
  });
});

describe('heartbeats', () => {
  test('that name an event which is not here ask for a snapshot', () => {
    expect(applyHeartbeat(synced(), heartbeat({ 1: 1 })).wantsResync).toBe(true);
  });

  test('that name what is held ask for nothing', () => {
    const data = synced(portfolio({ event_seq: 7 }));
    expect(applyHeartbeat(data, heartbeat({ 1: 7 }))).toBe(data);
  });

  test('that name a new account ask for a snapshot', () => {
    expect(applyHeartbeat(synced(), heartbeat({ 1: 0, 2: 0 })).wantsResync).toBe(true);
  });

  test('without a database tell up to when it was read, and that stays', () => {
    const live = applyConnection(synced(), { ...IDLE, phase: 'live' });
    expect(selectStaleSince(live)).toBeNull();
    const lost = heartbeat({}, { database_ok: false, data_at: '2014-05-02T12:29:58.500000Z' });
    let data = applyHeartbeat(live, lost);
    expect(selectStaleSince(data)).toBe(NOW - 1500);
    expect(selectIsCurrent(data)).toBe(false);
    data = applyHeartbeat(data, heartbeat({}, { database_ok: false, data_at: null }));
    expect(selectStaleSince(data)).toBe(NOW - 1500);
  });

  test('without a database that never answered tell when they were sent', () => {
    const live = applyConnection(synced(), { ...IDLE, phase: 'live' });
    const data = applyHeartbeat(live, heartbeat({}, { database_ok: false, data_at: null }));
    expect(selectStaleSince(data)).toBe(NOW);
  });

  test('tell it by the relay’s clock, the page says it by its own', () => {
    const live = { ...synced(), clock: { offset: 60_000, uncertainty: 1 } };
    const data = applyHeartbeat(live, heartbeat({}, { database_ok: false }));
    expect(selectStaleSince(data)).toBe(NOW - 60_000);
  });

  test('with a database that is back do not make the figures current: a snapshot does', () => {
    const live = applyConnection(synced(), { ...IDLE, phase: 'live' });
    const lost = applyHeartbeat(live, heartbeat({}, { database_ok: false }));
    const back = applyHeartbeat(lost, heartbeat({}));
    expect(back.wantsResync).toBe(true);
    expect(selectIsCurrent(back)).toBe(false);
    const after = applySnapshot(back, snapshot(portfolio()));
    expect(selectIsCurrent(after)).toBe(true);
    expect(selectStaleSince(after)).toBeNull();
  });
});

describe('totals', () => {
  test('come with the snapshot and then by themselves, whole', () => {
    const data = applySnapshot(EMPTY, { ...snapshot(portfolio()), totals: totals() });
    expect(data.totals?.equity).toBe('2020.00');
    expect(applyTotals(data, totalsChanged({ equity: null, is_priced: false })).totals).toEqual(
      totals({ equity: null, is_priced: false }),
    );
  });

  test('count only with a snapshot of this connection, and go where nobody asks for them', () => {
    const data = applySnapshot(EMPTY, { ...snapshot(portfolio()), totals: totals() });
    const lost = reconnected(data);
    expect(applyTotals(lost, totalsChanged({ equity: '1.00' }))).toBe(lost);
    expect(applySnapshot(lost, snapshot(portfolio())).totals).toBeNull();
  });

  test('are in the currency that most accounts have', () => {
    const of = (/** @type {string[]} */ ...currencies) =>
      synced(
        ...currencies.map((currency, id) => portfolio({ account_id: id, state: state({ account_id: id, currency }) })),
      );
    expect(chooseTotalsCurrency(of('JPY', 'EUR', 'EUR'))).toBe('EUR');
    expect(chooseTotalsCurrency(of('JPY', 'EUR'))).toBe('JPY');
    expect(chooseTotalsCurrency(of('JPY'))).toBeNull();
    expect(chooseTotalsCurrency(EMPTY)).toBeNull();
  });
});

describe('freshness', () => {
  const fresh = state({ fresh_until: '2014-05-02T12:31:00Z' });
  /** @param {number} relayNow */
  const at = (relayNow) => ({ ...synced(portfolio({ state: fresh })), relayNow });

  test('ends by time alone, by the relay’s clock', () => {
    expect(selectIsStale(1)(at(NOW + 60_000))).toBe(false);
    expect(selectIsStale(1)(at(NOW + 60_001))).toBe(true);
    const renewed = applyUpdate(at(NOW + 60_001), update({ version: 2, fresh_until: '2014-05-02T12:32:00Z' }));
    expect(selectIsStale(1)(renewed)).toBe(false);
  });

  test('is nothing that an account without positions, or a page that knows no time, has', () => {
    expect(isPast(at(NOW), null)).toBe(false);
    expect(isPast({ ...at(NOW), relayNow: null }, '2000-01-01T00:00:00Z')).toBe(false);
    expect(selectIsStale(99)(at(NOW))).toBe(false);
  });

  test('is compared with the page’s time and the offset of the clocks', () => {
    const { setClock, tick } = usePortfolioStore.getState();
    tick(1000);
    expect(usePortfolioStore.getState().relayNow).toBe(1000);
    setClock({ offset: -300, uncertainty: 1 });
    tick(2000);
    expect(usePortfolioStore.getState().relayNow).toBe(1700);
  });
});

describe('what happened while the page was away', () => {
  test('is asked for from the last number that is held without a gap', () => {
    expect(selectSince(EMPTY)).toBeNull();
    const data = applyTrade(synced(filled(4), portfolio({ account_id: 2 })), trade(6));
    expect(selectSince(data)).toEqual({ 1: 4, 2: 0 });
  });

  test('is shown once, on top of what is held', () => {
    const away = reconnected(synced(filled(4)));
    const data = applySnapshot(away, snapshot(filled(7, 5)));
    expect(seqs(data)).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(held(data).missed).toBeNull();
    expect(selectSince(data)).toEqual({ 1: 7 });
  });

  test('a long history stays, although trades come after it', () => {
    const data = applySnapshot(reconnected(synced(filled(4))), snapshot(filled(404, 5)));
    expect(seqs(data)).toHaveLength(400);
    expect(seqs(applyTrade(data, trade(405)))).toHaveLength(400);
  });

  test('is said to be missed where it is more than a snapshot carries', () => {
    const old = portfolio({ event_seq: 4, fills: [fill({ event_seq: 4, recorded_at: '2014-05-02T10:00:00Z' })] });
    const first = fill({ event_seq: 101, recorded_at: '2014-05-02T11:00:00Z' });
    const after = portfolio({ event_seq: 600, history_from: 101, fills: [...fillsDown(600, 102), first] });
    const data = applySnapshot(reconnected(synced(old)), snapshot(after));
    expect(held(data).missed).toEqual({
      count: 96,
      after: '2014-05-02T10:00:00Z',
      before: '2014-05-02T11:00:00Z',
    });
    expect(selectMissedIds(data)).toEqual([1]);
    expect(held(data).event_seq).toBe(600);
  });

  test('missed twice is counted together, and what came early is not missed', () => {
    let data = applyTrade(synced(filled(4)), trade(10));
    data = applySnapshot(data, snapshot(filled(600, 101)));
    expect(held(data).missed?.count).toBe(95);
    data = applySnapshot(reconnected(data), snapshot(filled(1200, 701)));
    expect(held(data).missed?.count).toBe(195);
  });

  test('a page that has just come has missed nothing', () => {
    expect(held(synced(filled(600, 101))).missed).toBeNull();
    const data = synced(filled(4));
    const more = portfolio({ account_id: 2, event_seq: 900, history_from: 401 });
    expect(selectMissedIds(applySnapshot(data, snapshot(filled(4), more)))).toEqual([]);
  });

  test('is no longer said once it was read', () => {
    const { receive, dismissMissed, setConnection, forget } = usePortfolioStore.getState();
    forget();
    receive([snapshot(filled(4))], NOW);
    setConnection({ ...IDLE, phase: 'disconnected' });
    receive([snapshot(filled(600, 101))], NOW);
    expect(selectMissedIds(usePortfolioStore.getState())).toEqual([1]);
    dismissMissed();
    expect(selectMissedIds(usePortfolioStore.getState())).toEqual([]);
  });
});

describe('another database, or one that was set back', () => {
  test.each([
    ['whose numbers are lower', filled(3)],
    ['in which a number is another fill', { ...filled(6), fills: [fill({ event_seq: 4, fill_id: 999 })] }],
    [
      'in which a number and a fill\'s own are another fill\'s',
      { ...filled(6), fills: [fill({ event_seq: 4, recorded_at: '2026-03-02T09:00:07.000000Z' })] },
    ],
    ['in which a number is no fill', portfolio({ event_seq: 6, events: [alert(4)] })],
  ])('%s: nothing of the old one is left', (_, other) => {
    const away = reconnected(synced({ ...filled(4), state: state({ version: 99 }) }));
    const data = applySnapshot(away, snapshot(other));
    expect(held(data)).toMatchObject({ event_seq: other.event_seq, ahead: [], missed: null });
    expect(held(data).fills).toEqual(other.fills);
    expect(held(data).state.version).toBe(1);
  });

  test('also what came too early is taken back, so that its number can come again', () => {
    const away = reconnected(applyTrade(synced(filled(3)), trade(6)));
    const data = applySnapshot(away, snapshot(filled(5)));
    expect(seqs(data)).toEqual([5, 4, 3, 2, 1]);
    expect(seqs(applyTrade(data, trade(6)))).toEqual([6, 5, 4, 3, 2, 1]);
  });

  test('a snapshot that crosses a trade on the same line is no such thing', () => {
    const data = applySnapshot(applyTrade(synced(filled(3)), trade(4)), snapshot(filled(3)));
    expect(seqs(data)).toEqual([4, 3, 2, 1]);
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
    const data = applySnapshot(reconnected(old), snapshot(portfolio()));
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
    for (const message of [update({ version: 2 }), trade(1), discrepancy(1), totalsChanged()]) {
      expect(applyMessages(lost, [message])).toBe(lost);
    }
  });

  test('when lost makes the figures stale since it was last alive', () => {
    const lost = reconnected(synced(), NOW - 7000);
    expect(selectStaleSince(lost)).toBe(NOW - 7000);
    expect(selectStaleSince({ ...lost, connection: { ...IDLE, phase: 'connecting', liveUntil: null } })).toBeNull();
  });

  test('when lost after the database leaves them stale since the database was lost', () => {
    const data = applyHeartbeat(synced(), heartbeat({}, { database_ok: false }));
    expect(selectStaleSince(reconnected(data, NOW + 90_000))).toBe(NOW);
    expect(selectStaleSince(reconnected(data, NOW - 90_000))).toBe(NOW - 90_000);
  });
});

test('of many messages together prices are applied first, once per account', () => {
  const data = applyMessages(synced(portfolio({ account_id: 1 }), portfolio({ account_id: 2 })), [
    trade(1, { version: 3, equity: '3.00' }),
    update({ account_id: 1, version: 2, equity: '2.00' }),
    update({ account_id: 2, version: 9, equity: '9.00' }),
    totalsChanged({ equity: '12.00' }),
  ]);
  expect([held(data, 1).state.equity, held(data, 2).state.equity, data.totals?.equity]).toEqual([
    '3.00', '9.00', '12.00',
  ]);
  expect(seqs(data)).toEqual([1]);
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
