import { useRef } from 'react';
import { formatFull, formatInstant } from '../format.js';
import { selectSelectedId, selectState, usePortfolioStore } from '../stores/portfolioStore.js';
import { NO_DRAWDOWN, NO_MARGIN, paintShare } from './AccountsTable.jsx';
import { BrokerFigures } from './BrokerFigures.jsx';
import { EquityCurve } from './EquityCurve.jsx';
import { FillsTable } from './FillsTable.jsx';
import { AccountFlags } from './Flags.jsx';
import { createMovingPainter, fieldOf, paintAmount, useLive, usePainter } from './paint.js';
import { PositionsTable } from './PositionsTable.jsx';

/** @import { AccountState } from '../services/messages.js' */
/** @import { RequestCurve } from './EquityCurve.jsx' */

/**
 * The chosen account: its figures, its curve, what it holds, what it did last.
 * @param {{ requestCurve: RequestCurve }} props
 */
export function AccountDetail({ requestCurve }) {
  const accountId = usePortfolioStore(selectSelectedId);
  if (accountId === null) return null;
  return (
    // A new account is a new place: nothing of the old one's movement carries over.
    <section
      key={accountId}
      id="account"
      className="detail"
      aria-labelledby="account-title"
      data-selected-id={accountId}
      // It scrolls for itself and holds nothing else that the keyboard could reach.
      tabIndex={0}
    >
      <Summary accountId={accountId} />
      <BrokerFigures accountId={accountId} />
      <EquityCurve accountId={accountId} requestCurve={requestCurve} />
      <div className="panes">
        <PositionsTable accountId={accountId} />
        <FillsTable accountId={accountId} />
      </div>
    </section>
  );
}

/** @type {[string, string][]} */
const FIGURES = [
  ['unrealized_pnl', 'Unrealized P&L'],
  ['balance', 'Balance'],
  ['drawdown', 'Drawdown'],
  ['max_drawdown', 'Max drawdown'],
  ['high_water_mark', 'High-water mark'],
  ['net_flow', 'Net flow'],
  ['credit', 'Credit'],
  ['margin_equity', 'Equity at mid'],
  ['margin_level', 'Margin level'],
];
/** Figures with their percentage beside them. */
const WITH_SHARE = new Set(['drawdown', 'max_drawdown']);
const HINTS = /** @type {Record<string, string>} */ ({
  net_flow: 'Deposits less withdrawals, credits included: what is left is what trading made.',
  high_water_mark: 'Equity at which the account is at its highest performance so far.',
  drawdown: 'How far the account is below its high-water mark.',
  max_drawdown: 'The deepest it has been below a high-water mark.',
  margin_equity: 'Equity at mid prices, as brokers measure margin.',
});

/** @param {{ accountId: number }} props */
function Summary({ accountId }) {
  const header = useRef(/** @type {HTMLElement | null} */ (null));
  const name = usePortfolioStore((store) => store.portfolios[accountId]?.state.name);
  const currency = usePortfolioStore((store) => store.portfolios[accountId]?.state.currency);
  const mode = usePortfolioStore((store) => store.portfolios[accountId]?.state.position_mode);
  const paint = usePainter(header, createSummaryPainter);
  useLive(selectState(accountId), (account) => {
    if (account) paint(account);
  });
  return (
    <header className="summary" ref={header} data-summary-of={accountId}>
      <div className="summary-name">
        <h2 id="account-title">{name}</h2>
        <p className="dim">
          {currency} · {mode}
        </p>
        <AccountFlags accountId={accountId} />
      </div>
      <dl className="figures">
        <div className="figure figure-equity">
          <dt>Equity</dt>
          <dd data-field="equity" />
        </div>
        {FIGURES.map(([field, label]) => (
          <div key={field} className="figure" title={HINTS[field]}>
            <dt>{label}</dt>
            {WITH_SHARE.has(field) ? (
              <dd>
                <span data-field={field} /> <span className="share" data-field={`${field}_pct`} />
              </dd>
            ) : (
              <dd data-field={field} />
            )}
            {field === 'high_water_mark' && <dd className="note" data-note="high_water_at" />}
            {field === 'drawdown' && <dd className="note" data-note="under_water_since" />}
          </div>
        ))}
      </dl>
    </header>
  );
}

/** @param {HTMLElement} header */
function createSummaryPainter(header) {
  const paintEquity = createMovingPainter(fieldOf(header, 'equity'));
  const cells = FIGURES.map(([field]) => /** @type {const} */ ([field, fieldOf(header, field)]));
  const drawdownPct = fieldOf(header, 'drawdown_pct');
  const maxDrawdownPct = fieldOf(header, 'max_drawdown_pct');
  const paintHighWaterAt = createInstantPainter(header, 'high_water_at', '');
  const paintUnderSince = createInstantPainter(header, 'under_water_since', 'since ');
  return (/** @type {AccountState} */ account) => {
    paintEquity(account.equity);
    for (const [field, cell] of cells) {
      if (field === 'margin_level') {
        const unknown = account.is_priced ? NO_MARGIN : undefined;
        paintAmount(cell, account.margin_level, { kind: 'percent', unknown });
      } else {
        paintAmount(cell, account[/** @type {'balance'} */ (field)], {
          kind: field === 'unrealized_pnl' ? 'pnl' : 'money',
          unknown: /drawdown|high_water/.test(field) ? NO_DRAWDOWN : undefined,
        });
      }
    }
    paintShare(drawdownPct, account.drawdown_pct);
    paintShare(maxDrawdownPct, account.max_drawdown_pct);
    paintHighWaterAt(account.high_water_at);
    paintUnderSince(account.under_water_since);
  };
}

/** @param {HTMLElement} header @param {string} name @param {string} prefix */
function createInstantPainter(header, name, prefix) {
  const element = header.querySelector(`[data-note="${name}"]`);
  /** @type {string | null | undefined} */
  let last;
  return (/** @type {string | null} */ at) => {
    if (at === last || !(element instanceof HTMLElement)) return;
    last = at;
    element.textContent = at === null ? '' : `${prefix}${formatInstant(at)}`;
    element.title = at === null ? '' : formatFull(at);
  };
}
