import { formatAge, formatClock, formatFull } from '../format.js';
import { selectPricedAt, selectStaleSince, usePortfolioStore } from '../stores/portfolioStore.js';
import { useNow } from './useNow.js';

/** @import { Connection } from '../services/portfolioSocket.js' */

/**
 * What a trader needs to know of the line: can the figures be trusted, and if not, since when.
 * @param {Connection} connection
 * @param {number | null} staleSince up to when the figures are known to be the latest
 * @returns {{ state: Connection['phase'], text: string }}
 */
export function describeConnection({ phase }, staleSince) {
  const since = staleSince === null ? '' : ` since ${formatClock(staleSince)}`;
  switch (phase) {
    case 'idle':
      return { state: phase, text: 'Not connected' };
    case 'connecting':
      return { state: phase, text: since === '' ? 'Connecting' : `Stale${since}, reconnecting` };
    case 'live':
      return since === ''
        ? { state: phase, text: 'Live' }
        : { state: 'stale', text: `Stale${since}, database lost` };
    case 'stale':
      return { state: phase, text: `Stale${since}, reconnecting` };
    case 'disconnected':
      return { state: phase, text: since === '' ? 'Disconnected' : `Stale${since}, disconnected` };
    case 'refused':
      return { state: phase, text: since === '' ? 'Refused' : `Stale${since}, refused` };
  }
}

/** The state of the line, the age of the last message, and apart from both the age of prices. */
export function ConnectionState() {
  const connection = usePortfolioStore((store) => store.connection);
  const staleSince = usePortfolioStore(selectStaleSince);
  const { state, text } = describeConnection(connection, staleSince);
  const isRetrying = connection.phase === 'disconnected' && connection.retryAt !== null;
  return (
    <div className="line">
      <p
        className={`state state-${state}`}
        role="status"
        aria-live="polite"
        data-connection={state}
        data-stale-since={staleSince === null ? undefined : new Date(staleSince).toISOString()}
        title={staleSince === null ? undefined : `What is shown was current at ${formatFull(staleSince)}`}
      >
        {text}
      </p>
      {/* Outside of what is read aloud, or every second would be. */}
      {isRetrying && <Countdown until={connection.retryAt ?? 0} />}
      {connection.phase !== 'idle' && <Ages />}
    </div>
  );
}

/** @param {{ until: number }} props */
function Countdown({ until }) {
  const now = useNow(250);
  return <p className="dim">retrying in {Math.max(0, Math.ceil((until - now) / 1000))} s</p>;
}

/** From this age on prices stand out: a live line says nothing about a feed that stopped. */
const OLD_PRICES_MS = 10_000;

function Ages() {
  const now = useNow(1000);
  // Read once a second rather than followed: both change with every message.
  const store = usePortfolioStore.getState();
  const pricedAt = selectPricedAt(store);
  const databaseNow = now + (store.clock?.offset ?? 0);
  const isOld = pricedAt !== null && databaseNow - Date.parse(pricedAt) > OLD_PRICES_MS;
  return (
    <dl className="ages">
      <div title={store.receivedAt === null ? undefined : formatFull(store.receivedAt)}>
        <dt>Message</dt>
        <dd data-age="message">
          {store.receivedAt === null ? '—' : formatAge(store.receivedAt, now)}
        </dd>
      </div>
      <div
        title={
          pricedAt === null
            ? 'No position is valued by a price.'
            : `The oldest price in use is of ${formatFull(pricedAt)}`
        }
      >
        <dt>Prices</dt>
        <dd data-age="prices" className={isOld ? 'old' : undefined}>
          {pricedAt === null ? '—' : formatAge(Date.parse(pricedAt), databaseNow)}
          {isOld && ' old'}
        </dd>
      </div>
    </dl>
  );
}
