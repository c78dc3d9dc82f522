import { selectPositions, selectState, usePortfolioStore } from '../stores/portfolioStore.js';
import { AmountCell } from './Amount.jsx';
import { NotPriced } from './AccountsTable.jsx';

/** @import { Position } from '../services/wire.js' */

/** @param {{ accountId: number }} props */
export function PositionsTable({ accountId }) {
  const positions = usePortfolioStore(selectPositions(accountId)) ?? [];
  const currency = usePortfolioStore((store) => selectState(accountId)(store)?.currency) ?? '';
  return (
    <table className="cards positions">
      <caption>
        Positions <span className="count">{positions.length}</span>
      </caption>
      <thead>
        <tr>
          <th scope="col">Symbol</th>
          <th scope="col">Side</th>
          <th scope="col" className="number">
            Quantity
          </th>
          <th scope="col" className="number">
            Average
          </th>
          <th scope="col" className="number">
            Price
          </th>
          <th scope="col" className="number">
            P&amp;L <abbr title={`in ${currency}, the account’s currency`}>{currency}</abbr>
          </th>
          <th scope="col" className="number">
            P&amp;L <abbr title="in the instrument’s quote currency">quote</abbr>
          </th>
          <th scope="col" className="number">
            Margin used
          </th>
        </tr>
      </thead>
      <tbody>
        {positions.length === 0 && (
          <tr className="empty">
            <td colSpan={8}>No open positions</td>
          </tr>
        )}
        {positions.map((position) => (
          <PositionRow key={`${position.symbol} ${position.side}`} position={position} />
        ))}
      </tbody>
    </table>
  );
}

/** @param {{ position: Position }} props */
function PositionRow({ position }) {
  const isLong = position.side === 'long';
  return (
    <tr data-symbol={position.symbol} data-side={position.side} data-priced={position.is_priced}>
      <th scope="row" className="name" data-field="symbol" data-value={position.symbol}>
        {position.symbol}
        {!position.is_priced && <NotPriced />}
      </th>
      <td className="side" data-field="side" data-value={position.side}>
        <span aria-hidden="true">{isLong ? '↑' : '↓'}</span> {position.side}
      </td>
      <AmountCell field="quantity" label="Quantity" value={position.quantity} kind="quantity" />
      <AmountCell
        field="average_price"
        label="Average"
        value={position.average_price}
        kind="price"
        like={position.price}
      />
      <AmountCell field="price" label="Price" value={position.price} kind="price" />
      <AmountCell
        field="unrealized_pnl"
        label="P&L"
        value={position.unrealized_pnl}
        kind="pnl"
        className="main"
      />
      <AmountCell
        field="unrealized_pnl_quote"
        label="P&L in quote"
        value={position.unrealized_pnl_quote}
        kind="quotePnl"
        unit={position.quote_currency}
      />
      <AmountCell field="margin_used" label="Margin used" value={position.margin_used} />
    </tr>
  );
}
