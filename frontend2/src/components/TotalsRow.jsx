import { useRef } from 'react';
import { writeTotalsCurrency } from '../services/address.js';
import { selectTotals, usePortfolioStore } from '../stores/portfolioStore.js';
import { LiveCell } from './Amount.jsx';
import { Stale } from './Flags.jsx';
import { fieldOf, paintAmount, useLive } from './paint.js';

/** @import { Totals } from '../services/messages.js' */

const USUAL = ['USD', 'EUR', 'GBP', 'JPY', 'CHF', 'AUD', 'CAD'];

/** All accounts in one currency; the first row, since it is what one looks for first. */
export function TotalsRow() {
  const row = useRef(/** @type {HTMLTableRowElement | null} */ (null));
  const isThere = usePortfolioStore((store) => store.totals !== null && store.totals.accounts > 1);
  const isStale = usePortfolioStore((store) => store.totals?.is_stale ?? false);
  const unlinked = usePortfolioStore((store) => store.totals?.unlinked_currency ?? null);
  useLive(
    selectTotals,
    (totals) => {
      if (row.current && totals) paintTotals(row.current, totals);
    },
    isThere,
  );
  if (!isThere) return null;
  return (
    <tbody className="totals">
      <tr ref={row} data-totals>
        <th scope="row" className="name">
          All accounts
          {isStale && <Stale />}
          {unlinked !== null && (
            <span
              className="flag"
              data-flag="unlinked"
              title={`No instrument leads from ${unlinked} to this currency. Choose another one, or define one with api.upsert_instrument and feed its prices.`}
            >
              <span aria-hidden="true">⚠ </span>no rate for {unlinked}
            </span>
          )}
        </th>
        <td className="currency">
          <CurrencyChooser />
        </td>
        <LiveCell field="balance" label="Balance" />
        <LiveCell field="unrealized_pnl" label="P&L" />
        <LiveCell field="equity" label="Equity" className="equity" />
        <td className="number drawdown" aria-label="There is no drawdown of several accounts." />
        <LiveCell field="margin_used" label="Margin used" />
        <LiveCell field="margin_available" label="Available" />
        <LiveCell field="margin_level" label="Margin level" />
      </tr>
    </tbody>
  );
}

/** @param {HTMLTableRowElement} row @param {Totals} totals */
function paintTotals(row, totals) {
  const unknown =
    totals.unlinked_currency === null
      ? undefined
      : `Unknown: no instrument leads from ${totals.unlinked_currency} to ${totals.currency}.`;
  row.dataset.currency = totals.currency;
  row.dataset.priced = String(totals.is_priced);
  paintAmount(fieldOf(row, 'balance'), totals.balance, { unknown });
  paintAmount(fieldOf(row, 'unrealized_pnl'), totals.unrealized_pnl, { kind: 'pnl', unknown });
  paintAmount(fieldOf(row, 'equity'), totals.equity, { unknown });
  paintAmount(fieldOf(row, 'margin_used'), totals.margin_used, { unknown });
  paintAmount(fieldOf(row, 'margin_available'), totals.margin_available, { unknown });
  paintAmount(fieldOf(row, 'margin_level'), totals.margin_level, { kind: 'percent', unknown });
}

function CurrencyChooser() {
  const currency = usePortfolioStore((store) => store.totals?.currency ?? '');
  const own = usePortfolioStore((store) => currenciesOf(store));
  const choices = [...new Set([...own.split(' '), ...USUAL, currency])].filter(Boolean);
  return (
    <select
      className="currency-chooser"
      aria-label="Currency of the totals"
      value={currency}
      onChange={(event) => writeTotalsCurrency(event.target.value)}
    >
      {choices.map((code) => (
        <option key={code}>{code}</option>
      ))}
    </select>
  );
}

/** @type {{ accountIds: number[], currencies: string }} */
let lastCurrencies = { accountIds: [], currencies: '' };

/**
 * The currencies of the accounts, in their order; an account's never changes.
 * @param {import('../stores/portfolioStore.js').PortfolioData} state
 */
function currenciesOf({ accountIds, portfolios }) {
  if (lastCurrencies.accountIds !== accountIds) {
    const codes = new Set(accountIds.map((id) => portfolios[id]?.state.currency ?? ''));
    lastCurrencies = { accountIds, currencies: [...codes].join(' ') };
  }
  return lastCurrencies.currencies;
}
