/**
 * Figures that nobody sees cost as much as those that one sees: the browser lays out each text that
 * changes. So they are written once a second, for those who search the page or have it read to them,
 * and at once when they come into sight.
 */
export const OUT_OF_SIGHT_MS = 1000;

/** Whether the browser tells what is in sight. */
export const canObserve = () => typeof IntersectionObserver !== 'undefined';

/** @type {WeakMap<Element, (isSeen: boolean) => void>} */
const watchers = new WeakMap();
const observer = canObserve()
  ? new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) watchers.get(target)?.(isIntersecting);
    })
  : null;

/** What to write of elements out of sight. @type {Set<() => void>} */
const late = new Set();
let timer = 0;

function writeLate() {
  timer = 0;
  for (const write of late) write();
}

/**
 * Writes values into an element, the first at once: those that come while it is out of sight late, and
 * only the last of them.
 * @template {unknown[]} V
 * @param {Element} element
 * @param {(...values: V) => void} write
 * @returns {(...values: V) => void}
 */
export function writeWhenSeen(element, write) {
  if (!observer) return write;
  let isSeen = true;
  /** @type {V} */
  let last;
  function writeLast() {
    late.delete(writeLast);
    write(...last);
  }
  watchers.set(element, (isSeenNow) => {
    isSeen = isSeenNow;
    if (isSeen && late.has(writeLast)) writeLast();
  });
  observer.observe(element);
  return (...values) => {
    last = values;
    if (isSeen) {
      writeLast();
    } else {
      late.add(writeLast);
      timer ||= setTimeout(writeLate, OUT_OF_SIGHT_MS);
    }
  };
}
