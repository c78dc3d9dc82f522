/** A clock that moves when it is told to. */
export function fakeClock() {
  let now = 1_000_000;
  let ids = 0;
  /** @type {Map<number, { at: number, run: () => void }>} */
  const timers = new Map();
  return {
    random: () => 1,
    now: () => now,
    /** Off from the other by a fraction, so that a test notices which of them was asked. */
    precise: () => now + 0.25,
    /** @param {() => void} run @param {number} ms */
    setTimeout(run, ms) {
      timers.set((ids += 1), { at: now + ms, run });
      return ids;
    },
    /** @param {number} id */
    clearTimeout: (id) => void timers.delete(id),
    /** @param {number} ms */
    pass(ms) {
      const until = now + ms;
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.at <= until);
        const next = due.sort((a, b) => a[1].at - b[1].at)[0];
        if (!next) break;
        timers.delete(next[0]);
        now = Math.max(now, next[1].at);
        next[1].run();
      }
      now = Math.max(now, until);
    },
    /** Time goes by while something runs, so that no timer does. @param {number} ms */
    busy(ms) {
      now += ms;
    },
    pending: () => timers.size,
  };
}
