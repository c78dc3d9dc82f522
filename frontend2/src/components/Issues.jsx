import { formatFull, formatInstant } from '../format.js';
import { countOpen } from '../stores/issues.js';
import { selectIssues, usePortfolioStore } from '../stores/portfolioStore.js';
import { Acknowledgement } from './Acknowledgement.jsx';
import { Amount, AmountCell } from './Amount.jsx';

/** @import { Alert, Discrepancy } from '../services/messages.js' */
/** @import { AlertIssue, DiscrepancyIssue } from '../stores/issues.js' */

/** Alerts and discrepancies: open ones first, and those that are over. Nothing where there was none. */
export function Issues() {
  const issues = usePortfolioStore(selectIssues);
  const { alerts, discrepancies } = issues;
  if (alerts.length + discrepancies.length === 0) return null;
  const open = countOpen(issues);
  const over = alerts.length + discrepancies.length - open;
  const isCritical = [...alerts.map(({ alert }) => alert), ...discrepancies.map((one) => one.discrepancy)].some(
    ({ status, severity }) => status !== 'resolved' && severity === 'critical',
  );
  return (
    <section className="issues" aria-label="Alerts and discrepancies" data-open={open}>
      {/* Mounted anew when the last open one is over, or a first one comes: then it folds by itself. */}
      <details key={String(open > 0)} open={open > 0}>
        <summary className={isCritical ? 'critical' : open > 0 ? 'warning' : ''}>
          <span role="status" aria-live="polite">
            {open === 0 ? 'Nothing open' : `${open} open`}
          </span>
          <span className="dim">
            {count(alerts.length, 'alert')}, {count(discrepancies.length, 'discrepancy')}
          </span>
        </summary>
        <IssueList alerts={alerts.filter(isOpenAlert)} discrepancies={discrepancies.filter(isOpenDiscrepancy)} />
        {over > 0 && (
          <details className="history">
            <summary className="dim">{over} resolved</summary>
            <IssueList
              alerts={alerts.filter((issue) => !isOpenAlert(issue))}
              discrepancies={discrepancies.filter((issue) => !isOpenDiscrepancy(issue))}
            />
          </details>
        )}
      </details>
    </section>
  );
}

/** @param {AlertIssue} issue */
const isOpenAlert = ({ alert }) => alert.status !== 'resolved';

/** @param {DiscrepancyIssue} issue */
const isOpenDiscrepancy = ({ discrepancy }) => discrepancy.status !== 'resolved';

/** @param {import('../stores/issues.js').Issues} props */
function IssueList({ alerts, discrepancies }) {
  return (
    <>
      {alerts.length > 0 && (
        <ul className="alerts">
          {alerts.map((issue) => (
            <AlertItem key={issue.alert.alert_id} {...issue} />
          ))}
        </ul>
      )}
      {discrepancies.length > 0 && <Discrepancies discrepancies={discrepancies} />}
    </>
  );
}

/** @param {number} number @param {'alert' | 'discrepancy'} noun */
const count = (number, noun) =>
  `${number} ${number === 1 ? noun : noun === 'alert' ? 'alerts' : 'discrepancies'}`;

/** @param {AlertIssue} props */
function AlertItem({ accountIds, alert }) {
  const isOver = alert.status === 'resolved';
  return (
    <li
      className={isOver ? 'over' : alert.severity}
      data-alert-id={alert.alert_id}
      data-status={alert.status}
      data-severity={alert.severity}
    >
      <span>
        <Severity issue={alert} />
      </span>
      <span className="alert-text">
        <strong>{alert.title}</strong> {alert.message}
      </span>
      <span className="dim">
        <AccountNames accountIds={accountIds} />
        {alert.status === 'escalated' && ' · escalated'} · <Since issue={alert} beganAt={alert.raised_at} />
      </span>
    </li>
  );
}

/** @param {{ discrepancies: DiscrepancyIssue[] }} props */
function Discrepancies({ discrepancies }) {
  return (
    <table className="cards discrepancies">
      <caption className="hidden">Discrepancies</caption>
      <thead>
        <tr>
          <th scope="col">Account</th>
          <th scope="col">Severity</th>
          <th scope="col">What differs</th>
          <th scope="col" className="number">
            Ours
          </th>
          <th scope="col" className="number">
            Theirs
          </th>
          <th scope="col" className="number">
            Difference
          </th>
          <th scope="col">Since</th>
        </tr>
      </thead>
      <tbody>
        {discrepancies.map(({ accountId, discrepancy }) => (
          <DiscrepancyRow
            key={discrepancy.discrepancy_id}
            accountId={accountId}
            discrepancy={discrepancy}
          />
        ))}
      </tbody>
    </table>
  );
}

const NOT_THERE = 'Not there on this side.';

/** @param {DiscrepancyIssue} props */
function DiscrepancyRow({ accountId, discrepancy }) {
  const { cause, symbol, field, status, unit, message } = discrepancy;
  const kind = field === 'quantity' || field === 'fill' ? 'quantity' : 'money';
  return (
    <tr
      className={status === 'resolved' ? 'over' : discrepancy.severity}
      data-discrepancy-id={discrepancy.discrepancy_id}
      data-status={status}
      data-severity={discrepancy.severity}
    >
      <th scope="row" className="name">
        <AccountNames accountIds={[accountId]} />
      </th>
      <td className="severity-cell">
        <Severity issue={discrepancy} />
      </td>
      <td className="what" title={message} data-field="cause" data-value={cause}>
        {words(cause)}
        <span className="dim">
          {' '}
          · {symbol === null ? '' : `${symbol} `}
          {words(field)}
        </span>
        <span className="sentence">{message}</span>
        <Acknowledgement discrepancy={discrepancy} />
      </td>
      <AmountCell field="ours" label="Ours" value={discrepancy.ours} kind={kind} unknown={NOT_THERE} />
      <AmountCell
        field="theirs"
        label="Theirs"
        value={discrepancy.theirs}
        kind={kind}
        unknown={NOT_THERE}
      />
      <td
        className="number main"
        data-field="difference"
        data-value={discrepancy.difference ?? undefined}
        data-label="Difference"
      >
        <Amount value={discrepancy.difference} kind={kind} unknown={NOT_THERE} />{' '}
        <span className="unit">{unit}</span>
      </td>
      <td className="time">
        <Since issue={discrepancy} beganAt={discrepancy.opened_at} />
      </td>
    </tr>
  );
}

/** @param {{ issue: Pick<Discrepancy | Alert, 'status' | 'severity'> }} props */
function Severity({ issue: { status, severity } }) {
  if (status === 'resolved') return <span className="severity">resolved</span>;
  return <span className={`severity severity-${severity}`}>{severity}</span>;
}

/** @param {{ issue: Pick<Discrepancy | Alert, 'resolved_at'>, beganAt: string }} props */
function Since({ issue: { resolved_at: resolvedAt }, beganAt }) {
  const title =
    resolvedAt === null
      ? `Since ${formatFull(beganAt)}`
      : `From ${formatFull(beganAt)} to ${formatFull(resolvedAt)}`;
  return (
    <time dateTime={beganAt} title={title}>
      {resolvedAt === null
        ? `since ${formatInstant(beganAt)}`
        : `${formatInstant(beganAt)} – ${formatInstant(resolvedAt)}`}
    </time>
  );
}

/** @param {{ accountIds: number[] }} props */
function AccountNames({ accountIds }) {
  const names = usePortfolioStore((store) =>
    accountIds
      .slice(0, 3)
      .map((id) => store.portfolios[id]?.state.name ?? `account ${id}`)
      .join(', '),
  );
  return accountIds.length > 3 ? `${names} and ${accountIds.length - 3} more` : names;
}

/** @param {string} name */
const words = (name) => name.replaceAll('_', ' ').replace('pnl', 'P&L');
