import { formatFull, formatInstant } from '../format.js';
import { selectSelectedId, selectState, usePortfolioStore } from '../stores/portfolioStore.js';
import { NotPriced } from './AccountsTable.jsx';
import { Amount, MovingAmount, toneOf } from './Amount.jsx';
import { FillsTable } from './FillsTable.jsx';
import { PositionsTable } from './PositionsTable.jsx';

/** @import { AmountProps } from './Amount.jsx' */

/** The chosen account: its figures, what it holds, what it did last. */
export function AccountDetail() {
  const accountId = usePortfolioStore(selectSelectedId);
  if (accountId === null) return null;
  return (
    // A new account is a new place: nothing of the old one's movement carries over.
    <section
      key={accountId}
      id="account"
      className="detail"
      aria-labelledby="account-title"
      // It scrolls for itself and holds nothing else that the keyboard could reach.
      tabIndex={0}
    >
      <Summary accountId={accountId} />
      <div className="panes">
        <PositionsTable accountId={accountId} />
        <FillsTable accountId={accountId} />
      </div>
    </section>
  );
}

/** @param {{ accountId: number }} props */
function Summary({ accountId }) {
  const account = usePortfolioStore(selectState(accountId));
  if (!account) return null;
  return (
    <header className="summary">
      <div className="summary-name">
        <h2 id="account-title">{account.name}</h2>
        <p className="dim">
          {account.currency} · {account.position_mode}
        </p>
        {!account.is_priced && <NotPriced />}
      </div>
      <dl className="figures">
        <div className="figure figure-equity">
          <dt>Equity</dt>
          <dd>
            <MovingAmount value={account.equity} />
          </dd>
        </div>
        <Figure name="Unrealized P&L" value={account.unrealized_pnl} kind="pnl" />
        <Figure name="Balance" value={account.balance} />
        <Figure name="Credit" value={account.credit} />
        <Figure name="Equity at mid" value={account.margin_equity} />
        <div className="figure">
          <dt>Priced at</dt>
          <dd>
            {account.priced_at === null ? (
              <span className="unknown" title="No position is valued by a price.">
                —
              </span>
            ) : (
              <time dateTime={account.priced_at} title={formatFull(account.priced_at)}>
                {formatInstant(account.priced_at)}
              </time>
            )}
          </dd>
        </div>
      </dl>
    </header>
  );
}

/** @param {AmountProps & { name: string }} props */
function Figure({ name, ...amount }) {
  return (
    <div className="figure">
      <dt>{name}</dt>
      <dd className={toneOf(amount)}>
        <Amount {...amount} />
      </dd>
    </div>
  );
}
