/**
 * How the relay's clock stands to the page's own. Page and relay may be two machines, so the page
 * asks for the time and takes the middle between asking and hearing, as NTP does. The quickest round
 * trip tells it best, and cannot be wrong by more than half of its length.
 */

/**
 * @typedef {object} ClockEstimate
 * @property {number} offset ms to add to the page's clock to get the relay's
 * @property {number} uncertainty ms by which the offset may be wrong at most
 */

/** Clocks drift apart: what was heard long ago tells nothing any more. */
export const SAMPLES_KEPT = 16;

/**
 * Milliseconds since 1970, with fractions: `Date.now()` is off by up to one. It stands still while
 * the machine sleeps, so it serves for short times and for what is compared with the relay.
 */
export const pageNow = () => performance.timeOrigin + performance.now();

/**
 * The instant as milliseconds since 1970, with its microseconds: Date.parse drops them.
 * @param {string} instant
 */
export function parseInstant(instant) {
  const fraction = instant.match(/\.(\d{3})(\d{1,6})/);
  const finer = fraction?.[2] === undefined ? 0 : Number(`0.${fraction[2]}`);
  return Date.parse(instant) + finer;
}

/**
 * @param {number} sentAt when the page asked, by its own clock
 * @param {number} relayAt when the relay had the question, by the relay's clock
 * @param {number} receivedAt when the page had the answer, by its own clock
 * @returns {ClockEstimate}
 */
export function estimateOf(sentAt, relayAt, receivedAt) {
  return {
    offset: relayAt - (sentAt + receivedAt) / 2,
    uncertainty: (receivedAt - sentAt) / 2,
  };
}

/** Keeps the last estimates and gives the best of them. */
export function createClockEstimate() {
  /** @type {ClockEstimate[]} newest last */
  let samples = [];
  return {
    /** @param {ClockEstimate} sample */
    add(sample) {
      samples = [...samples, sample].slice(-SAMPLES_KEPT);
    },
    /** @returns {ClockEstimate | null} */
    best() {
      return samples.reduce(
        (/** @type {ClockEstimate | null} */ best, sample) =>
          best === null || sample.uncertainty <= best.uncertainty ? sample : best,
        null,
      );
    },
    forget() {
      samples = [];
    },
  };
}
