/**
 * @import {
 *   Alert, AlertChanged, Discrepancy, DiscrepancyChanged
 * } from '../services/messages.js'
 */

/** @typedef {{ accountId: number, discrepancy: Discrepancy }} DiscrepancyIssue */

/** One alert, with all accounts that it was posted on. */
/** @typedef {{ accountIds: number[], alert: Alert }} AlertIssue */

/**
 * Open ones first, the worst of them on top; then those that are over, the last one first.
 * @typedef {object} Issues
 * @property {DiscrepancyIssue[]} discrepancies
 * @property {AlertIssue[]} alerts
 */

const SEVERITIES = { critical: 0, warning: 1, info: 2 };
const STAGES = { raised: 0, escalated: 1, resolved: 2 };

/**
 * Each discrepancy and each alert once, whatever the number of accounts it concerns.
 * @param {(DiscrepancyChanged | AlertChanged)[]} events the latest of each on each account
 * @returns {Issues}
 */
export function issuesOf(events) {
  /** @type {DiscrepancyIssue[]} */
  const discrepancies = [];
  /** @type {Map<number, AlertIssue>} */
  const alerts = new Map();
  for (const event of events) {
    if (event.type === 'discrepancy') {
      discrepancies.push({ accountId: event.account_id, discrepancy: event.discrepancy });
      continue;
    }
    const { alert, account_id: accountId } = event;
    const other = alerts.get(alert.alert_id);
    // Its accounts hear of it one after the other: the one that is furthest tells how it stands.
    const isFurther = !other || STAGES[alert.status] > STAGES[other.alert.status];
    alerts.set(alert.alert_id, {
      accountIds: [...(other?.accountIds ?? []), accountId],
      alert: isFurther ? alert : other.alert,
    });
  }
  return {
    discrepancies: discrepancies.sort((a, b) =>
      compare(placeOf(a.discrepancy, a.discrepancy.opened_at), placeOf(b.discrepancy, b.discrepancy.opened_at)),
    ),
    alerts: [...alerts.values()].sort((a, b) =>
      compare(placeOf(a.alert, a.alert.raised_at), placeOf(b.alert, b.alert.raised_at)),
    ),
  };
}

/**
 * @param {Pick<Discrepancy | Alert, 'status' | 'severity' | 'resolved_at'>} issue
 * @param {string} beganAt
 * @returns {[number, number, number]}
 */
function placeOf({ status, severity, resolved_at: resolvedAt }, beganAt) {
  const at = -Date.parse(resolvedAt ?? beganAt);
  return status === 'resolved' ? [1, 0, at] : [0, SEVERITIES[severity], at];
}

/** @param {[number, number, number]} a @param {[number, number, number]} b */
const compare = (a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];

/** @param {Issues} issues */
export const countOpen = ({ discrepancies, alerts }) =>
  discrepancies.filter(({ discrepancy }) => discrepancy.status !== 'resolved').length +
  alerts.filter(({ alert }) => alert.status !== 'resolved').length;
