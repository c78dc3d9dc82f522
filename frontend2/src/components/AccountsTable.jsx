import { memo, useDeferredValue, useRef, useState } from 'react';
import {
  selectAccountIds,
  selectSelectedId,
  selectState,
  usePortfolioStore,
} from '../stores/portfolioStore.js';
import { LiveCell } from './Amount.jsx';
import { BrokerMark } from './BrokerFigures.jsx';
import { AccountFlags } from './Flags.jsx';
import { clearAmount, createMovingPainter, fieldOf, paintAmount, useLive, usePainter } from './paint.js';
import { RoomRows } from './Room.jsx';
import { TotalsRow } from './TotalsRow.jsx';

/** @import { AccountState } from '../services/messages.js' */

export const NO_MARGIN = 'No level: no margin is used.';
export const NO_DRAWDOWN = 'Unknown: the account has no curve yet, or no price.';

/** From this number on one would rather search than look. */
const SEARCH_FROM = 15;
/** Rows that come into being and go together, as they scroll into sight and out of it. */
const CHUNK = 25;

const COLUMNS = [
  ['Currency', 'currency'],
  ['Balance', 'number'],
  ['Unrealized P&L', 'number'],
  ['Equity', 'number'],
  ['Drawdown', 'number'],
  ['Margin used', 'number'],
  ['Available', 'number'],
  ['Margin level', 'number'],
];

/** All accounts; choosing one shows it below. */
export function AccountsTable() {
  const accountIds = usePortfolioStore(selectAccountIds);
  const [search, setSearch] = useState('');
  const found = useFound(accountIds, useDeferredValue(search));
  const chunks = [];
  for (let start = 0; start < found.length; start += CHUNK) {
    chunks.push(found.slice(start, start + CHUNK));
  }
  return (
    <>
      <div className="list-head">
        <h2 id="accounts-title">
          Accounts{' '}
          <span className="count">
            {found.length === accountIds.length
              ? accountIds.length
              : `${found.length} of ${accountIds.length}`}
          </span>
        </h2>
        {accountIds.length >= SEARCH_FROM && (
          <input
            type="search"
            className="search"
            aria-label="Search accounts by name or currency"
            placeholder="Search"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        )}
      </div>
      <table
        className="cards accounts"
        aria-labelledby="accounts-title"
        aria-rowcount={accountIds.length + 1}
      >
        <thead>
          <tr>
            <th scope="col">Account</th>
            {COLUMNS.map(([name, className]) => (
              <th key={name} scope="col" className={className}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <TotalsRow />
        {chunks.map((ids, index) => (
          <RoomRows
            key={ids[0]}
            columns={COLUMNS.length + 1}
            items={ids}
            row={accountRow}
            isFirst={index === 0}
          />
        ))}
        {found.length === 0 && (
          <tbody>
            <tr className="empty">
              <td colSpan={COLUMNS.length + 1}>No account is called like this</td>
            </tr>
          </tbody>
        )}
      </table>
    </>
  );
}

/**
 * The accounts whose name or currency has all words of the search. Names do not change while a page
 * is open, or so rarely that the next search will do.
 * @param {number[]} accountIds
 * @param {string} search
 */
function useFound(accountIds, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return accountIds;
  const { portfolios } = usePortfolioStore.getState();
  return accountIds.filter((id) => {
    const state = portfolios[id]?.state;
    const text = `${state?.name} ${state?.currency} ${id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** @param {number} accountId */
const accountRow = (accountId) => <AccountRow key={accountId} accountId={accountId} />;

/** Follows its own account only, so that the update of one leaves the other rows alone. */
export const AccountRow = memo(
  /** @param {{ accountId: number }} props */
  function AccountRow({ accountId }) {
    const row = useRef(/** @type {HTMLTableRowElement | null} */ (null));
    const isSelected = usePortfolioStore((store) => selectSelectedId(store) === accountId);
    const selectAccount = usePortfolioStore((store) => store.selectAccount);
    const name = usePortfolioStore((store) => store.portfolios[accountId]?.state.name);
    const currency = usePortfolioStore((store) => store.portfolios[accountId]?.state.currency);
    const paint = usePainter(row, createAccountPainter);
    useLive(selectState(accountId), (account) => {
      if (account) paint(account);
    });
    const choose = () => {
      selectAccount(accountId);
      // On a small screen what was asked for would come up out of sight.
      if (window.matchMedia?.('(max-width: 760px)').matches) {
        document.getElementById('account')?.scrollIntoView({ block: 'start' });
      }
    };
    return (
      <tr
        ref={row}
        className={isSelected ? 'selected' : undefined}
        data-account-id={accountId}
        onClick={choose}
      >
        <th scope="row" className="name" data-field="name" data-value={name}>
          <button type="button" className="choose" aria-pressed={isSelected}>
            {name}
          </button>
          <BrokerMark accountId={accountId} />
          <AccountFlags accountId={accountId} />
        </th>
        <td className="currency" data-field="currency" data-value={currency}>
          {currency}
        </td>
        <LiveCell field="balance" label="Balance" />
        <LiveCell field="unrealized_pnl" label="P&L" />
        <LiveCell field="equity" label="Equity" className="equity" />
        <td className="number" data-label="Drawdown">
          <span data-field="drawdown" /> <span className="share" data-field="drawdown_pct" />
        </td>
        <LiveCell field="margin_used" label="Margin used" />
        <LiveCell field="margin_available" label="Available" />
        <LiveCell field="margin_level" label="Margin level" />
      </tr>
    );
  },
);

/** @param {HTMLTableRowElement} row */
function createAccountPainter(row) {
  const field = (/** @type {string} */ name) => fieldOf(row, name);
  const balance = field('balance');
  const pnl = field('unrealized_pnl');
  const paintEquity = createMovingPainter(field('equity'));
  const drawdown = field('drawdown');
  const drawdownPct = field('drawdown_pct');
  const used = field('margin_used');
  const available = field('margin_available');
  const level = field('margin_level');
  return (/** @type {AccountState} */ account) => {
    row.dataset.priced = String(account.is_priced);
    row.dataset.version = String(account.version);
    paintAmount(balance, account.balance);
    paintAmount(pnl, account.unrealized_pnl, { kind: 'pnl' });
    paintEquity(account.equity);
    paintAmount(drawdown, account.drawdown, { unknown: NO_DRAWDOWN });
    paintShare(drawdownPct, account.drawdown_pct);
    paintAmount(used, account.margin_used);
    paintAmount(available, account.margin_available);
    const unknown = account.is_priced ? NO_MARGIN : undefined;
    paintAmount(level, account.margin_level, { kind: 'percent', unknown });
  };
}

/**
 * The percentage beside an amount: where it is unknown, the amount's own dash is enough.
 * @param {HTMLElement} element
 * @param {string | null} share
 */
export function paintShare(element, share) {
  if (share === null) clearAmount(element);
  else paintAmount(element, share, { kind: 'share' });
}
