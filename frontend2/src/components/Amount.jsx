import { useState } from 'react';
import { compareAmounts, formatAmount, signOf } from '../format.js';

/** @import { Amount as AmountString } from '../services/wire.js' */
/** @import { AmountKind } from '../format.js' */

const UNKNOWN = 'Unknown: a position has no current price or no conversion rate.';

/**
 * @typedef {object} AmountProps
 * @property {AmountString | null} value null is unknown, and shown as such
 * @property {AmountKind} [kind]
 * @property {AmountString | null} [like] an amount whose digits this one should have
 * @property {string} [unknown] why there may be no value
 * @property {string} [unit] shown after the amount
 */

/** @param {AmountProps} props */
export function Amount({ value, kind = 'money', like = null, unknown = UNKNOWN, unit }) {
  if (value === null) {
    return (
      <span className="unknown" role="img" aria-label={unknown} title={unknown}>
        —
      </span>
    );
  }
  const text = formatAmount(value, kind, like);
  return unit === undefined ? (
    text
  ) : (
    <>
      {text} <span className="unit">{unit}</span>
    </>
  );
}

/**
 * A cell of a table: what is shown, and beside it, for whoever reads the page by program, the name
 * of the field and the exact amount.
 * @param {AmountProps & { field: string, label: string, className?: string }} props
 */
export function AmountCell({ field, label, className = '', ...amount }) {
  return (
    <td
      className={`number ${toneOf(amount)} ${className}`}
      data-field={field}
      data-value={amount.value ?? undefined}
      data-label={label}
      title={amount.kind === 'quotePnl' ? (amount.value ?? undefined) : undefined}
    >
      <Amount {...amount} />
    </td>
  );
}

/** @param {Pick<AmountProps, 'value' | 'kind'>} amount */
export function toneOf({ value, kind }) {
  if ((kind !== 'pnl' && kind !== 'quotePnl') || value === null) return '';
  return ['loss', 'flat', 'gain'][signOf(value) + 1] ?? '';
}

/** A glow is over before the next begins: under a stream of prices the page stays calm. */
const GLOW_MS = 1000;

/**
 * An amount that shows, by an arrow and a short glow, which way it moved last.
 * @param {AmountProps} props
 */
export function MovingAmount(props) {
  const { value } = props;
  const [last, setLast] = useState({
    value,
    moved: /** @type {-1 | 0 | 1} */ (0),
    glowAt: 0,
    glows: 0,
  });
  if (value !== last.value) {
    const moved =
      value === null || last.value === null ? 0 : compareAmounts(value, last.value) || last.moved;
    const now = performance.now();
    const glowsAnew = moved !== last.moved || now - last.glowAt > GLOW_MS;
    setLast({
      value,
      moved,
      glowAt: glowsAnew ? now : last.glowAt,
      glows: last.glows + Number(glowsAnew),
    });
  }
  const move = ['down', 'none', 'up'][last.moved + 1];
  return (
    // Two names for one animation: the other name starts it again, in the same element.
    <span className={`moving moved-${move} glow-${last.glows % 2}`}>
      <span className="arrow" aria-hidden="true">
        {['▼', '', '▲'][last.moved + 1]}
      </span>
      <Amount {...props} />
    </span>
  );
}
