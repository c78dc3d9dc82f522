import { memo, useState } from 'react';
import { formatFull, formatInstant } from '../format.js';
import { FILLS_KEPT, selectFills, usePortfolioStore } from '../stores/portfolioStore.js';
import { AmountCell } from './Amount.jsx';
import { RoomRows } from './Room.jsx';

/** @import { Fill } from '../services/messages.js' */

const COLUMNS = 8;
/**
 * A fill stays in its block while newer ones come above, so the browser moves the blocks below and
 * neither lays out nor paints what is in them. Those of the latest fills are always there.
 */
const BLOCK_ROWS = 10;
const FIRST_BLOCKS = 2;

/** @param {{ accountId: number }} props */
export function FillsTable({ accountId }) {
  const fills = usePortfolioStore(selectFills(accountId)) ?? [];
  const [firstSeen] = useState(() => fills[0]?.event_seq ?? 0);
  const [showsAll, setShowsAll] = useState(false);
  const shown = showsAll ? fills : fills.slice(0, FILLS_KEPT);
  const row = (/** @type {Fill} */ fill) => (
    <FillRow key={fill.fill_id} fill={fill} isNew={fill.event_seq > firstSeen} />
  );
  return (
    <table className="cards fills" aria-rowcount={shown.length + 1}>
      <caption>
        Last fills <span className="count">{shown.length}</span>
        {fills.length > FILLS_KEPT && (
          <button
            type="button"
            className="quiet"
            aria-pressed={showsAll}
            onClick={() => setShowsAll(!showsAll)}
          >
            {showsAll ? `the last ${FILLS_KEPT}` : `all ${fills.length}`}
          </button>
        )}
      </caption>
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">Symbol</th>
          <th scope="col">Side</th>
          <th scope="col" className="number">
            Quantity
          </th>
          <th scope="col" className="number">
            Price
          </th>
          <th scope="col">Effect</th>
          <th scope="col" className="number">
            Realized P&amp;L
          </th>
          <th scope="col" className="number">
            Commission
          </th>
        </tr>
      </thead>
      {fills.length === 0 && (
        <tbody>
          <tr className="empty">
            <td colSpan={COLUMNS}>No fills yet</td>
          </tr>
        </tbody>
      )}
      {blocksOf(shown).map(([number, block], index) => (
        <RoomRows
          key={number}
          columns={COLUMNS}
          items={block}
          row={row}
          isFirst={index < FIRST_BLOCKS}
          stays={index < FIRST_BLOCKS}
        />
      ))}
    </table>
  );
}

/** By number, the latest first. @param {Fill[]} fills */
function blocksOf(fills) {
  /** @type {Map<number, Fill[]>} */
  const blocks = new Map();
  for (const fill of fills) {
    const number = Math.floor(fill.event_seq / BLOCK_ROWS);
    const block = blocks.get(number);
    if (block) block.push(fill);
    else blocks.set(number, [fill]);
  }
  return [...blocks];
}

/** A fill never changes. */
const FillRow = memo(
  /** @param {{ fill: Fill, isNew: boolean }} props */
  function FillRow({ fill, isNew }) {
    return (
      <tr className={isNew ? 'arrived' : undefined} data-fill-id={fill.fill_id}>
        <td className="time" data-field="event_at" data-value={fill.event_at}>
          <time dateTime={fill.event_at} title={formatFull(fill.event_at)}>
            {formatInstant(fill.event_at)}
          </time>
        </td>
        <th scope="row" className="name" data-field="symbol" data-value={fill.symbol}>
          {fill.symbol}
        </th>
        <td className="side" data-field="side" data-value={fill.side}>
          <span aria-hidden="true">{fill.side === 'buy' ? '↑' : '↓'}</span> {fill.side}
        </td>
        <AmountCell field="quantity" label="Quantity" value={fill.quantity} kind="quantity" />
        <AmountCell field="price" label="Price" value={fill.price} kind="price" />
        <td className="effect" data-field="effect" data-value={fill.effect}>
          {fill.effect}
        </td>
        <AmountCell
          field="realized_pnl"
          label="Realized P&L"
          value={fill.realized_pnl}
          kind="pnl"
          className="main"
        />
        <AmountCell field="commission" label="Commission" value={fill.commission} />
      </tr>
    );
  },
);
