import { useLayoutEffect, useRef } from 'react';
import { formatFull } from '../format.js';
import { isPast, selectPositions, usePortfolioStore } from '../stores/portfolioStore.js';
import { LiveCell } from './Amount.jsx';
import { NotPriced, Stale } from './Flags.jsx';
import { fieldOf, paintAmount, useLive } from './paint.js';
import { RoomRow, useRoom } from './Room.jsx';
import { writeWhenSeen } from './sight.js';

/** @import { Position } from '../services/messages.js' */
/** @import { PortfolioData } from '../stores/portfolioStore.js' */

/**
 * The rows that there are, and what is to be said of their prices: one text, so that the table
 * renders only when it changes.
 * @param {number} accountId
 */
const selectRows = (accountId) => (/** @type {PortfolioData} */ state) =>
  (state.portfolios[accountId]?.positions ?? [])
    .map((position) => {
      const flag = !position.is_priced ? 'not-priced' : isPast(state, position.fresh_until) ? 'stale' : '';
      return `${position.side} ${flag} ${position.symbol}`;
    })
    .join('\n');

/** @param {Pick<Position, 'symbol' | 'side'>} position */
const keyOf = ({ symbol, side }) => `${side} ${symbol}`;

const COLUMNS = 8;
/** Always there; those below only where they are seen. */
const FIRST_ROWS = 10;

/** @param {{ accountId: number }} props */
export function PositionsTable({ accountId }) {
  const texts = usePortfolioStore(selectRows(accountId));
  const currency = usePortfolioStore((store) => store.portfolios[accountId]?.state.currency) ?? '';
  const painters = useRef(/** @type {Painters} */ (new Map()));
  const rest = useRef(/** @type {HTMLTableSectionElement | null} */ (null));
  const rows = texts === '' ? [] : texts.split('\n').map((text) => text.split(' '));
  const below = Math.max(rows.length - FIRST_ROWS, 0);
  const room = useRoom(rest, below, below === 0);
  // One listener for all rows: an account may hold hundreds.
  useLive(
    selectPositions(accountId),
    (positions = []) => {
      for (const position of positions) painters.current.get(keyOf(position))?.(position);
    },
    `${room === null} ${texts}`,
  );
  const row = ([side = '', flag = '', ...symbol] = /** @type {string[]} */ ([])) => (
    <PositionRow
      key={`${side} ${symbol.join(' ')}`}
      side={side}
      symbol={symbol.join(' ')}
      flag={flag}
      painters={painters.current}
    />
  );
  return (
    <table className="cards positions" aria-rowcount={rows.length + 1}>
      <caption>
        Positions <span className="count">{rows.length}</span>
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
      <tbody onMouseOver={explain}>
        {rows.length === 0 && (
          <tr className="empty">
            <td colSpan={COLUMNS}>No open positions</td>
          </tr>
        )}
        {rows.slice(0, FIRST_ROWS).map(row)}
      </tbody>
      <tbody ref={rest} onMouseOver={explain}>
        {room === null ? (
          rows.slice(FIRST_ROWS).map(row)
        ) : (
          <RoomRow columns={COLUMNS} room={room} />
        )}
      </tbody>
    </table>
  );
}

/** @typedef {Map<string, (position: Position) => void>} Painters by keyOf */

/** @param {{ symbol: string, side: string, flag: string, painters: Painters }} props */
function PositionRow({ symbol, side, flag, painters }) {
  const row = useRef(/** @type {HTMLTableRowElement | null} */ (null));
  useLayoutEffect(() => {
    if (!row.current) return undefined;
    const key = `${side} ${symbol}`;
    painters.set(key, writeWhenSeen(row.current, createPositionPainter(row.current)));
    return () => void painters.delete(key);
  }, [symbol, side, painters]);
  return (
    <tr
      ref={row}
      data-symbol={symbol}
      data-side={side}
      data-priced={flag !== 'not-priced'}
      data-stale={flag === 'stale'}
    >
      <th scope="row" className="name" data-field="symbol" data-value={symbol}>
        {symbol}
        {flag === 'not-priced' && <NotPriced />}
        {flag === 'stale' && <Stale />}
      </th>
      <td className="side" data-field="side" data-value={side}>
        <span aria-hidden="true">{side === 'long' ? '↑' : '↓'}</span> {side}
      </td>
      <LiveCell field="quantity" label="Quantity" />
      <LiveCell field="average_price" label="Average" />
      <LiveCell field="price" label="Price" />
      <LiveCell field="unrealized_pnl" label="P&L" className="main" />
      <LiveCell field="unrealized_pnl_quote" label="P&L in quote" />
      <LiveCell field="margin_used" label="Margin used" />
    </tr>
  );
}

/** @param {HTMLTableRowElement} row */
function createPositionPainter(row) {
  const quantity = fieldOf(row, 'quantity');
  const average = fieldOf(row, 'average_price');
  const price = fieldOf(row, 'price');
  const pnl = fieldOf(row, 'unrealized_pnl');
  const pnlQuote = fieldOf(row, 'unrealized_pnl_quote');
  const margin = fieldOf(row, 'margin_used');
  /** @type {string | null | undefined} */
  let pricedAt;
  return (/** @type {Position} */ position) => {
    paintAmount(quantity, position.quantity, { kind: 'quantity' });
    paintAmount(average, position.average_price, { kind: 'price', like: position.price });
    paintAmount(price, position.price, { kind: 'price' });
    paintAmount(pnl, position.unrealized_pnl, { kind: 'pnl' });
    paintAmount(pnlQuote, position.unrealized_pnl_quote, {
      kind: 'quotePnl',
      unit: position.quote_currency,
    });
    paintAmount(margin, position.margin_used);
    if (position.priced_at !== pricedAt) {
      pricedAt = position.priced_at;
      price.dataset.pricedAt = pricedAt ?? '';
    }
  };
}

/**
 * What does not fit into a cell, said to whoever points at it: it need not be written with each price.
 * @param {import('react').MouseEvent} event
 */
function explain({ target }) {
  const cell = target instanceof Element ? target.closest('td') : null;
  if (!cell) return;
  if (cell.dataset.pricedAt) cell.title = `Priced at ${formatFull(cell.dataset.pricedAt)}`;
  if (cell.dataset.field === 'unrealized_pnl_quote') cell.title = cell.dataset.value ?? '';
}
