import { memo } from 'react';
import {
  selectAccountIds,
  selectSelectedId,
  selectState,
  usePortfolioStore,
} from '../stores/portfolioStore.js';
import { AmountCell, MovingAmount } from './Amount.jsx';

const NO_MARGIN = 'No level: no margin is used.';

/** All accounts; choosing one shows it below. */
export function AccountsTable() {
  const accountIds = usePortfolioStore(selectAccountIds);
  return (
    <table className="cards accounts">
      <caption>
        Accounts <span className="count">{accountIds.length}</span>
      </caption>
      <thead>
        <tr>
          <th scope="col">Account</th>
          <th scope="col">Currency</th>
          <th scope="col" className="mode">
            Mode
          </th>
          <th scope="col" className="number">
            Balance
          </th>
          <th scope="col" className="number">
            Unrealized P&amp;L
          </th>
          <th scope="col" className="number">
            Equity
          </th>
          <th scope="col" className="number">
            Margin used
          </th>
          <th scope="col" className="number">
            Available
          </th>
          <th scope="col" className="number">
            Margin level
          </th>
        </tr>
      </thead>
      <tbody>
        {accountIds.map((accountId) => (
          <AccountRow key={accountId} accountId={accountId} />
        ))}
      </tbody>
    </table>
  );
}

/** Follows its own account only, so that the update of one leaves the other rows alone. */
export const AccountRow = memo(
  /** @param {{ accountId: number }} props */
  function AccountRow({ accountId }) {
    const account = usePortfolioStore(selectState(accountId));
    const isSelected = usePortfolioStore((store) => selectSelectedId(store) === accountId);
    const selectAccount = usePortfolioStore((store) => store.selectAccount);
    if (!account) return null;
    const choose = () => {
      selectAccount(accountId);
      // On a small screen what was asked for would come up out of sight.
      if (window.matchMedia?.('(max-width: 760px)').matches) {
        document.getElementById('account')?.scrollIntoView({ block: 'start' });
      }
    };
    return (
      <tr
        className={isSelected ? 'selected' : undefined}
        data-account-id={accountId}
        data-priced={account.is_priced}
        onClick={choose}
      >
        <th scope="row" className="name" data-field="name" data-value={account.name}>
          <button type="button" className="choose" aria-pressed={isSelected}>
            {account.name}
          </button>
          {!account.is_priced && <NotPriced />}
        </th>
        <td className="currency" data-field="currency" data-value={account.currency}>
          {account.currency}
        </td>
        <td className="mode" data-field="position_mode" data-value={account.position_mode}>
          {account.position_mode}
        </td>
        <AmountCell field="balance" label="Balance" value={account.balance} />
        <AmountCell
          field="unrealized_pnl"
          label="P&L"
          value={account.unrealized_pnl}
          kind="pnl"
        />
        <td
          className="number equity"
          data-field="equity"
          data-value={account.equity ?? undefined}
          data-label="Equity"
        >
          <MovingAmount value={account.equity} />
        </td>
        <AmountCell field="margin_used" label="Margin used" value={account.margin_used} />
        <AmountCell field="margin_available" label="Available" value={account.margin_available} />
        <AmountCell
          field="margin_level"
          label="Margin level"
          value={account.margin_level}
          kind="percent"
          unknown={account.is_priced ? NO_MARGIN : undefined}
        />
      </tr>
    );
  },
);

/** Said in words beside figures that lack a price. */
export function NotPriced() {
  return (
    <span
      className="flag"
      data-flag="not-priced"
      title="A position has no current price or no conversion rate: figures that need it are unknown."
    >
      <span aria-hidden="true">⚠ </span>not priced
    </span>
  );
}
