import { useEffect, useRef, useState } from 'react';
import { canObserve } from './sight.js';

/** @import { ReactNode, RefObject } from 'react' */

/** So far beyond what is seen rows are there already when one scrolls to them. */
const MARGIN = '300px 0px';

/** The height of a table's row in px, for rows that have not been there yet. */
const ROW_HEIGHT = 29;

/**
 * Null while a body of a table is in sight, or nearly; otherwise the height of its rows, so that they
 * can leave their room and nothing else. Rows out of sight are not free: the browser lays them out
 * and paints them with each change above them.
 * @param {RefObject<HTMLTableSectionElement | null>} body
 * @param {number} rows that it has while it is in sight
 * @param {boolean} isFirst taken for in sight until it is seen
 */
export function useRoom(body, rows, isFirst) {
  const [rowHeight, setRowHeight] = useState(isFirst || !canObserve() ? null : ROW_HEIGHT);
  useEffect(() => {
    const { current } = body;
    if (!current || !canObserve()) return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        const entry = entries.at(-1);
        if (!entry) return;
        const height = entry.boundingClientRect.height / Math.max(current.rows.length, 1);
        setRowHeight((before) => (entry.isIntersecting ? null : (before ?? height)));
      },
      // The second is for what scrolls for itself within the page.
      /** @type {IntersectionObserverInit} */ ({ rootMargin: MARGIN, scrollMargin: MARGIN }),
    );
    observer.observe(current);
    return () => observer.disconnect();
  }, [body]);
  return rowHeight === null ? null : rowHeight * rows;
}

/** What stands in a table for rows that are out of sight. @param {{ columns: number, room: number }} props */
export function RoomRow({ columns, room }) {
  return (
    <tr className="room" aria-hidden="true">
      <td colSpan={columns} style={{ height: room }} />
    </tr>
  );
}

/**
 * A body of a table, with nothing but the room of its rows while it is out of sight.
 * @template Item
 * @param {object} props
 * @param {number} props.columns
 * @param {Item[]} props.items
 * @param {(item: Item) => ReactNode} props.row
 * @param {boolean} props.isFirst as in useRoom
 * @param {boolean} [props.stays] out of sight, too
 */
export function RoomRows({ columns, items, row, isFirst, stays = false }) {
  const body = useRef(/** @type {HTMLTableSectionElement | null} */ (null));
  const room = useRoom(body, items.length, isFirst);
  return (
    <tbody ref={body}>
      {stays || room === null ? items.map(row) : <RoomRow columns={columns} room={room} />}
    </tbody>
  );
}
