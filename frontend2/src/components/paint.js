import { useLayoutEffect, useRef } from 'react';
import { compareAmounts, formatAmount, signOf } from '../format.js';
import { usePortfolioStore } from '../stores/portfolioStore.js';
import { writeWhenSeen } from './sight.js';

/**
 * Figures that move many times a second are written straight into their elements: React renders the
 * rows and cells once, and then only when rows come or go. A frame that moves ten accounts and fifty
 * positions costs a fraction of what rendering them costs.
 *
 * @import { Amount } from '../services/messages.js'
 * @import { AmountKind } from '../format.js'
 * @import { PortfolioData } from '../stores/portfolioStore.js'
 */

export const UNKNOWN = 'Unknown: a position has no current price or no conversion rate.';

/**
 * Calls `write` before the first paint and then whenever what `select` gives is another; nothing
 * renders. `select` and `write` are those of the first render, or of the one in which `key` changed.
 * @template T
 * @param {(state: PortfolioData) => T} select
 * @param {(value: T) => void} write
 * @param {unknown} [key]
 */
export function useLive(select, write, key) {
  useLayoutEffect(() => {
    let held = select(usePortfolioStore.getState());
    write(held);
    return usePortfolioStore.subscribe((state) => {
      const next = select(state);
      if (Object.is(next, held)) return;
      held = next;
      write(next);
    });
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [key]);
}

/**
 * Paints an element's figures, once there is one: for `useLive`.
 * @template {HTMLElement} E
 * @template {unknown[]} V
 * @param {import('react').RefObject<E | null>} element
 * @param {(element: E) => (...values: V) => void} createPainter
 */
export function usePainter(element, createPainter) {
  const painter = useRef(/** @type {((...values: V) => void) | null} */ (null));
  return (/** @type {V} */ ...values) => {
    if (!element.current) return;
    painter.current ??= writeWhenSeen(element.current, createPainter(element.current));
    painter.current(...values);
  };
}

/** @param {{ kind?: AmountKind, value: Amount | null | undefined }} amount */
export function toneOf({ value, kind }) {
  if ((kind !== 'pnl' && kind !== 'quotePnl') || value == null) return undefined;
  return ['loss', 'flat', 'gain'][signOf(value) + 1];
}

/** @type {WeakMap<Element, { value: Amount | null, text: string }>} */
const painted = new WeakMap();

/**
 * Writes an amount into an element: as text for the eye, and as `data-value`, exact, for programs. An
 * element that shows it already is left alone.
 * @param {HTMLElement} element
 * @param {Amount | null} value null is unknown, and shown as such
 * @param {object} [options]
 * @param {AmountKind} [options.kind]
 * @param {Amount | null} [options.like] an amount whose digits this one should have
 * @param {string} [options.unknown] why there may be no value
 * @param {string} [options.unit] shown after the amount; always the same in one element
 */
export function paintAmount(element, value, { kind = 'money', like = null, unknown = UNKNOWN, unit } = {}) {
  const before = painted.get(element);
  if (before && before.value === value && kind !== 'price' && value !== null) return;
  const text = value === null ? unknown : formatAmount(value, kind, like);
  if (before && before.value === value && before.text === text) return;
  painted.set(element, { value, text });
  if (value === null) {
    delete element.dataset.value;
    delete element.dataset.tone;
    const dash = document.createElement('span');
    dash.className = 'unknown';
    dash.setAttribute('role', 'img');
    dash.setAttribute('aria-label', unknown);
    dash.title = unknown;
    dash.textContent = '—';
    element.replaceChildren(dash);
    return;
  }
  element.dataset.value = value;
  const tone = toneOf({ kind, value });
  if (tone !== undefined && tone !== element.dataset.tone) element.dataset.tone = tone;
  const first = element.firstChild;
  // The same text node again: half of the work of a new one.
  if (first instanceof Text) {
    first.data = unit === undefined ? text : `${text} `;
  } else if (unit === undefined) {
    element.textContent = text;
  } else {
    const suffix = document.createElement('span');
    suffix.className = 'unit';
    suffix.textContent = unit;
    element.replaceChildren(`${text} `, suffix);
  }
}

/** Leaves nothing where an amount was. @param {HTMLElement} element */
export function clearAmount(element) {
  painted.delete(element);
  delete element.dataset.value;
  element.textContent = '';
}

/**
 * Paints an amount that shows by an arrow which way it moved last. No animation: under a stream of
 * prices one would never end, and keep the machine busy for nothing.
 * @param {HTMLElement} cell gets `data-value`
 */
export function createMovingPainter(cell) {
  const moving = document.createElement('span');
  const arrow = document.createElement('span');
  const amount = document.createElement('span');
  moving.className = 'moving';
  arrow.className = 'arrow';
  arrow.setAttribute('aria-hidden', 'true');
  moving.append(arrow, amount);
  cell.replaceChildren(moving);
  /** @type {Amount | null | undefined} */
  let last;
  let moved = 0;
  return (/** @type {Amount | null} */ value) => {
    if (value === last) return;
    const move = value == null || last == null ? 0 : compareAmounts(value, last) || moved;
    if (move !== moved) {
      moving.dataset.moved = ['down', 'none', 'up'][move + 1];
      arrow.textContent = ['▼', '', '▲'][move + 1] ?? '';
    }
    moved = move;
    last = value;
    paintAmount(amount, value);
    delete amount.dataset.value;
    if (value === null) delete cell.dataset.value;
    else cell.dataset.value = value;
  };
}

/** @param {ParentNode} parent @param {string} name */
export function fieldOf(parent, name) {
  const found = parent.querySelector(`[data-field="${name}"]`);
  if (!(found instanceof HTMLElement)) throw new Error(`there is no element for ${name}`);
  return found;
}
