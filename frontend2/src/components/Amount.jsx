import { formatAmount } from '../format.js';
import { UNKNOWN, toneOf } from './paint.js';

/** @import { Amount as AmountString } from '../services/messages.js' */
/** @import { AmountKind } from '../format.js' */

/**
 * @typedef {object} AmountProps
 * @property {AmountString | null} value null is unknown, and shown as such
 * @property {AmountKind} [kind]
 * @property {string} [unknown] why there may be no value
 */

/** An amount that stands still. @param {AmountProps} props */
export function Amount({ value, kind = 'money', unknown = UNKNOWN }) {
  if (value !== null) return formatAmount(value, kind);
  return (
    <span className="unknown" role="img" aria-label={unknown} title={unknown}>
      —
    </span>
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
      className={`number ${className}`}
      data-field={field}
      data-value={amount.value ?? undefined}
      data-tone={toneOf(amount)}
      data-label={label}
    >
      <Amount {...amount} />
    </td>
  );
}

/**
 * A cell whose amount is written from outside (see paint.js), so it has none to begin with.
 * @param {{ field: string, label: string, className?: string, title?: string }} props
 */
export function LiveCell({ field, label, className = '', title }) {
  return (
    <td className={`number ${className}`} data-field={field} data-label={label} title={title} />
  );
}
