/**
 * Decimal strings to text. Intl.NumberFormat reads a decimal string exactly, so an amount never
 * becomes a binary number on its way to the screen.
 */

/** @import { Amount } from './services/messages.js' */

/** @typedef {'money' | 'pnl' | 'quotePnl' | 'quantity' | 'price' | 'percent' | 'share'} AmountKind */

/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/**
 * @param {AmountKind} kind
 * @param {number} digits
 * @returns {Intl.NumberFormatOptions}
 */
function optionsOf(kind, digits) {
  switch (kind) {
    case 'percent':
      return { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 };
    case 'share':
      return { style: 'percent', minimumFractionDigits: 2, maximumFractionDigits: 2 };
    case 'quantity':
      return { maximumFractionDigits: digits };
    case 'quotePnl':
      return { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' };
    case 'pnl':
      return {
        minimumFractionDigits: digits,
        maximumFractionDigits: digits,
        signDisplay: 'exceptZero',
      };
    default:
      return { minimumFractionDigits: digits, maximumFractionDigits: digits };
  }
}

/**
 * Making a format takes a hundred times as long as using one.
 * @param {AmountKind} kind
 * @param {number} digits
 * @param {number | null} least
 */
function formatFor(kind, digits, least) {
  const key = `${kind} ${digits} ${least}`;
  let format = formats.get(key);
  if (!format) {
    const options =
      kind === 'price' && least !== null
        ? { minimumFractionDigits: least, maximumFractionDigits: least + 2 }
        : optionsOf(kind, digits);
    format = new Intl.NumberFormat([...navigator.languages], { signDisplay: 'negative', ...options });
    formats.set(key, format);
  }
  return format;
}

/** @param {Amount} value */
function decimals(value) {
  const point = value.indexOf('.');
  return point < 0 ? 0 : value.length - point - 1;
}

/**
 * Money and profits keep the digits they came with, which is the scale of their currency; profits
 * in quote currency come exact and are shown with two; quantities lose trailing zeros; a
 * price has at least the digits of `like`, at most two more.
 * @param {Amount} value
 * @param {AmountKind} [kind]
 * @param {Amount | null} [like]
 */
export function formatAmount(value, kind = 'money', like = null) {
  const digits = Math.min(decimals(value), 100);
  const format = formatFor(kind, digits, like === null ? null : decimals(like));
  return format.format(/** @type {Intl.StringNumericLiteral} */ (value)).replace('-', '−');
}

/** @param {Amount} value @returns {-1 | 0 | 1} */
export function signOf(value) {
  if (!/[1-9]/.test(value)) return 0;
  return value.startsWith('-') ? -1 : 1;
}

/**
 * a − b in units of the last digit, and how many digits there are after the point.
 * @param {Amount} a
 * @param {Amount} b
 * @returns {[bigint, number]}
 */
function difference(a, b) {
  const scale = Math.max(decimals(a), decimals(b));
  const scaled = (/** @type {Amount} */ value) =>
    BigInt(value.replace('.', '') + '0'.repeat(scale - decimals(value)));
  return [scaled(a) - scaled(b), scale];
}

/**
 * Exact, whatever the number of digits.
 * @param {Amount} a
 * @param {Amount} b
 * @returns {-1 | 0 | 1}
 */
export function compareAmounts(a, b) {
  const [units] = difference(a, b);
  return units > 0n ? 1 : units < 0n ? -1 : 0;
}

/**
 * a − b, exact, with the digits of the one that has more.
 * @param {Amount} a
 * @param {Amount} b
 * @returns {Amount}
 */
export function subtractAmounts(a, b) {
  const [units, scale] = difference(a, b);
  const digits = String(units < 0n ? -units : units).padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  const fraction = scale === 0 ? '' : `.${digits.slice(-scale)}`;
  return `${units < 0n ? '-' : ''}${whole}${fraction}`;
}

/** @param {Intl.DateTimeFormatOptions} options */
const dateFormat = (options) => new Intl.DateTimeFormat([...navigator.languages], options);
const CLOCK = dateFormat({ timeStyle: 'medium', hourCycle: 'h23' });
const DAY = dateFormat({ day: '2-digit', month: 'short' });
const DATE = dateFormat({ dateStyle: 'medium' });
const FULL = dateFormat({ dateStyle: 'full', timeStyle: 'long', hourCycle: 'h23' });

/** @param {number | string} at */
export const formatClock = (at) => CLOCK.format(new Date(at));

/** @param {number | string} at */
export const formatFull = (at) => FULL.format(new Date(at));

/**
 * Time of day, with the day where it is not today.
 * @param {string} at
 * @param {number} [now]
 */
export function formatInstant(at, now = Date.now()) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date(now).toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

const DAY_MS = 86_400_000;

/**
 * How long ago, in one unit; from a day on the date says more.
 * @param {number} at
 * @param {number} now
 */
export function formatAge(at, now) {
  const age = Math.max(0, now - at);
  if (age < 60_000) return `${Math.floor(age / 1000)} s`;
  if (age < 3_600_000) return `${Math.floor(age / 60_000)} min`;
  if (age < DAY_MS) return `${Math.floor(age / 3_600_000)} h`;
  return DATE.format(at);
}
