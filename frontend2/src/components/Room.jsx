import { useEffect, useState } from 'react';

/** @import { RefObject } from 'react' */

/** So far beyond what is seen rows are there already when one scrolls to them. */
const MARGIN = '300px 0px';

/** The height of a table's row in px, for rows that have not been there yet. */
const ROW_HEIGHT = 29;

const canObserve = () => typeof IntersectionObserver !== 'undefined';

/**
 * Null while the element is in sight, or nearly; otherwise the height that it had, so that what is in
 * it can leave its room and nothing else. Rows out of sight are not free: the browser lays them out
 * and paints them with each change above them.
 * @param {RefObject<Element | null>} element
 * @param {number} rows of which it leaves the room to begin with; where there are none it is in sight
 */
export function useRoom(element, rows) {
  const [room, setRoom] = useState(rows > 0 && canObserve() ? rows * ROW_HEIGHT : null);
  useEffect(() => {
    if (!element.current || !canObserve()) return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        const entry = entries.at(-1);
        if (!entry) return;
        const height = entry.boundingClientRect.height;
        setRoom((before) => (entry.isIntersecting ? null : (before ?? height)));
      },
      // The second is for what scrolls for itself within the page.
      /** @type {IntersectionObserverInit} */ ({ rootMargin: MARGIN, scrollMargin: MARGIN }),
    );
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return room;
}

/** What stands in a table for rows that are out of sight. @param {{ columns: number, room: number }} props */
export function RoomRow({ columns, room }) {
  return (
    <tr className="room" aria-hidden="true">
      <td colSpan={columns} style={{ height: room }} />
    </tr>
  );
}
