import { useRef } from 'react';
import { formatFull, formatInstant, signOf, subtractAmounts } from '../format.js';
import { selectBroker, selectIsOverdue, selectState, usePortfolioStore } from '../stores/portfolioStore.js';
import { fieldOf, paintAmount, useLive, usePainter } from './paint.js';

/** @import { AccountState, Broker } from '../services/messages.js' */

/** @typedef {'consistent' | 'differs' | 'failing' | 'waiting' | 'none'} Standing */

/**
 * How the comparison with the broker stands.
 * @param {Broker | null | undefined} broker
 * @param {boolean} isOverdue whether it should have been compared again by now
 * @returns {Standing}
 */
export function standingOf(broker, isOverdue) {
  if (!broker) return 'none';
  if (broker.open_discrepancies > 0) return 'differs';
  if (isOverdue || broker.failing_since !== null) return 'failing';
  return broker.consistent_since === null ? 'waiting' : 'consistent';
}

/**
 * The same in words.
 * @param {Broker | null | undefined} broker
 * @param {boolean} isOverdue
 */
export function describeBroker(broker, isOverdue) {
  if (!broker) return 'Not compared with a broker';
  const { open_discrepancies: open, answered_at: answeredAt, consistent_since: since } = broker;
  const standing = standingOf(broker, isOverdue);
  if (standing === 'consistent') return `Consistent since ${formatInstant(since ?? '')}`;
  if (standing === 'waiting') return 'Not compared yet';
  const until = since === null || answeredAt === null ? [] : [`Consistent until ${formatInstant(answeredAt)}`];
  const said = standing === 'differs' ? [`Differs: ${open} open`] : until;
  if (isOverdue) {
    const { last_run_at: lastRunAt } = broker;
    said.push(lastRunAt === null ? 'never compared' : `not compared since ${formatInstant(lastRunAt)}`);
  } else if (broker.failing_since !== null) {
    said.push(`no answer since ${formatInstant(broker.failing_since)} (${broker.failure})`);
  }
  const words = said.join('; ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {number} accountId */
function useStanding(accountId) {
  const broker = usePortfolioStore(selectBroker(accountId));
  const isOverdue = usePortfolioStore(selectIsOverdue(accountId));
  return { broker, standing: standingOf(broker, isOverdue), words: describeBroker(broker, isOverdue) };
}

const SIGNS = { consistent: '✓', differs: '≠', failing: '?', waiting: '…', none: '–' };

/** The standing at a glance, in the list of accounts. @param {{ accountId: number }} props */
export function BrokerMark({ accountId }) {
  const { standing, words } = useStanding(accountId);
  return (
    <span
      className={`broker-mark broker-${standing}`}
      role="img"
      aria-label={words}
      title={words}
      data-broker={standing}
    >
      {SIGNS[standing]}
    </span>
  );
}

const FIGURES = /** @type {const} */ ([
  ['balance', 'Balance'],
  ['equity', 'Equity'],
  ['unrealized_pnl', 'Unrealized P&L'],
  ['margin_used', 'Margin used'],
]);
const SIDES = ['broker', 'ours', 'difference'];
const NO_ANSWER = 'Unknown: the broker has not answered yet.';
const NO_DIFFERENCE = 'Unknown: one of the two is.';

/**
 * The broker's last figures, ours of now, and the broker's less ours, as a discrepancy has it.
 * @param {{ accountId: number }} props
 */
export function BrokerFigures({ accountId }) {
  const { broker, standing, words } = useStanding(accountId);
  const isFine = standing === 'consistent' || standing === 'none';
  return (
    <section className="broker" aria-label="Compared with the broker" data-standing={standing}>
      <p className={isFine ? 'dim' : `broker-${standing}`}>
        <span className={`broker-${standing}`} aria-hidden="true">
          {SIGNS[standing]}
        </span>{' '}
        <span title={broker?.consistent_since ? formatFull(broker.consistent_since) : undefined}>{words}</span>
      </p>
      {broker && <Table accountId={accountId} broker={broker} />}
    </section>
  );
}

/** @param {{ accountId: number, broker: Broker }} props */
function Table({ accountId, broker }) {
  const table = useRef(/** @type {HTMLTableElement | null} */ (null));
  const paint = usePainter(table, createPainter);
  useLive(
    selectState(accountId),
    (account) => {
      if (account) paint(account, broker);
    },
    broker,
  );
  const { answered_at: answeredAt } = broker;
  return (
    <table ref={table} aria-label="The broker’s figures beside ours">
      <thead>
        <tr>
          <td />
          <th scope="col" className="number">
            Broker
            {answeredAt !== null && (
              <time dateTime={answeredAt} title={formatFull(answeredAt)}>
                {' '}
                {formatInstant(answeredAt)}
              </time>
            )}
          </th>
          <th scope="col" className="number">
            Ours now
          </th>
          <th scope="col" className="number" title={MOVES}>
            Difference
          </th>
        </tr>
      </thead>
      <tbody>
        {FIGURES.map(([field, label]) => (
          <tr key={field}>
            <th scope="row">{label}</th>
            {SIDES.map((side) => (
              <td key={side} className="number" data-field={`${side}_${field}`} />
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const MOVES =
  'Broker less ours. What follows prices has moved since the broker answered; whether the two agree is judged at the prices of its answer.';

/** @param {HTMLTableElement} table */
function createPainter(table) {
  const cells = FIGURES.map(([field]) => ({
    field,
    broker: fieldOf(table, `broker_${field}`),
    ours: fieldOf(table, `ours_${field}`),
    difference: fieldOf(table, `difference_${field}`),
  }));
  return (/** @type {AccountState} */ account, /** @type {Broker} */ broker) => {
    for (const { field, ...cell } of cells) {
      const theirs = broker[field];
      const ours = account[field];
      paintAmount(cell.broker, theirs, { unknown: NO_ANSWER });
      paintAmount(cell.ours, ours);
      const difference = theirs === null || ours === null ? null : subtractAmounts(theirs, ours);
      paintAmount(cell.difference, difference, { unknown: NO_DIFFERENCE });
      cell.difference.classList.toggle('apart', difference !== null && signOf(difference) !== 0);
    }
  };
}
