import { summarize } from '../stores/latency.js';
import { usePortfolioStore } from '../stores/portfolioStore.js';
import { useNow } from './useNow.js';

/** @import { Latency, Summary } from '../stores/latency.js' */

/** @type {[keyof Summary, string, string][]} */
const STRETCHES = [
  ['relay', 'Commit to relay', 'From the commit in the database to when the relay has read the trade'],
  ['wire', 'Relay to page', 'Until its message has reached the page, by the estimated clock of the relay'],
  ['page', 'Page', 'Until it stands in the page'],
  ['paint', 'Paint', 'Until the frame that shows it is painted'],
  ['whole', 'Whole', 'From the commit to the paint; from the relay, where commits are not timed'],
];

/**
 * How long trades take from commit to paint: the last one at a glance, the rest behind it.
 * @param {{ latency: Latency }} props
 */
export function LatencyPanel({ latency }) {
  // Once a second: to measure must not cost what is measured.
  useNow(1000);
  const clock = usePortfolioStore((store) => store.clock);
  const summary = summarize(latency.trades(), clock?.offset ?? 0);
  if (summary.whole === null) return null;
  return (
    <details className="latency" data-latency-count={summary.count}>
      <summary title="From commit to paint of the last trade">
        <span className="dim">Trade</span> <span className="latency-last">{ms(summary.whole.last)}</span>
      </summary>
      <div className="latency-more">
        <table>
          <caption>Commit to paint of the last {summary.count} trades, in ms</caption>
          <thead>
            <tr>
              <th scope="col">Stretch</th>
              <th scope="col" className="number">
                Last
              </th>
              <th scope="col" className="number">
                p50
              </th>
              <th scope="col" className="number">
                p99
              </th>
            </tr>
          </thead>
          <tbody>
            {STRETCHES.map(([name, label, title]) => (
              <tr key={name} title={title} data-stretch={name}>
                <th scope="row">{label}</th>
                {/** @type {const} */ (['last', 'p50', 'p99']).map((column) => (
                  <td key={column} className="number" data-field={column}>
                    {summary[name]?.[column].toFixed(1) ?? '—'}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
        <p className="dim">
          {clock === null
            ? 'The relay’s clock is not known yet.'
            : `The relay’s clock is ${Math.abs(clock.offset).toFixed(1)} ms ${clock.offset < 0 ? 'behind' : 'ahead'}, ± ${clock.uncertainty.toFixed(1)}.`}
        </p>
      </div>
    </details>
  );
}

/** @param {number} length */
const ms = (length) => `${length < 10 ? length.toFixed(1) : Math.round(length)} ms`;
