import { useShallow } from 'zustand/react/shallow';
import { formatInstant } from '../format.js';
import { selectMissedIds, usePortfolioStore } from '../stores/portfolioStore.js';

/** @import { Missed as MissedEvents } from '../stores/portfolioStore.js' */

const SHOWN = 5;

/** Says of which accounts more happened while the page was away than it can show. */
export function Missed() {
  const ids = usePortfolioStore(useShallow(selectMissedIds));
  const dismissMissed = usePortfolioStore((store) => store.dismissMissed);
  if (ids.length === 0) return null;
  return (
    <div className="problem missed" role="status" data-missed={ids.length}>
      <ul>
        {ids.slice(0, SHOWN).map((id) => (
          <MissedLine key={id} accountId={id} />
        ))}
        {ids.length > SHOWN && <li>and so for {ids.length - SHOWN} more accounts.</li>}
      </ul>
      <button type="button" className="quiet" onClick={dismissMissed}>
        Dismiss
      </button>
    </div>
  );
}

/** @param {{ accountId: number }} props */
function MissedLine({ accountId }) {
  const missed = usePortfolioStore((store) => store.portfolios[accountId]?.missed);
  const name = usePortfolioStore((store) => store.portfolios[accountId]?.state.name);
  if (!missed) return null;
  return (
    <li data-missed-of={accountId} data-count={missed.count}>
      {describeMissed(name ?? '', missed)} api.fills has them.
    </li>
  );
}

/** @param {string} name @param {MissedEvents} missed */
export function describeMissed(name, { count, after, before }) {
  const events = count === 1 ? '1 event' : `${count} events`;
  const from = after === null ? '' : ` after ${formatInstant(after)}`;
  const to = before === null ? '' : ` before ${formatInstant(before)}`;
  const range =
    after !== null && before !== null
      ? ` between ${formatInstant(after)} and ${formatInstant(before)}`
      : from + to;
  return `${name}: ${events}${range} ${count === 1 ? 'is' : 'are'} not shown;`;
}
