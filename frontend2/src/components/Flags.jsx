import { selectIsStale, usePortfolioStore } from '../stores/portfolioStore.js';

/** Said in words beside figures that lack a price. */
export function NotPriced() {
  return (
    <span
      className="flag"
      data-flag="not-priced"
      title="A position has no current price or no conversion rate: figures that need it are unknown."
    >
      <span aria-hidden="true">⚠ </span>not priced
    </span>
  );
}

/** Said beside figures whose price has not been renewed in time. */
export function Stale() {
  return (
    <span
      className="flag"
      data-flag="stale"
      title="A price has not been renewed in time: the figures are those of the last one."
    >
      <span aria-hidden="true">⚠ </span>stale
    </span>
  );
}

const MARGIN_STATES = {
  margin_call: ['margin call', 'The margin level has fallen below the account’s margin call level.'],
  close_out: ['close-out', 'The margin level has fallen below the account’s close-out level.'],
};

/** All that is to be said of an account at a glance. @param {{ accountId: number }} props */
export function AccountFlags({ accountId }) {
  const isPriced = usePortfolioStore((store) => store.portfolios[accountId]?.state.is_priced ?? true);
  const isStale = usePortfolioStore(selectIsStale(accountId));
  const margin = usePortfolioStore((store) => store.portfolios[accountId]?.state.margin_state);
  const [text, title] = margin && margin !== 'ok' ? MARGIN_STATES[margin] : [];
  return (
    <>
      {text && (
        <span className={`flag flag-${margin}`} data-flag={margin} title={title}>
          <span aria-hidden="true">⚠ </span>
          {text}
        </span>
      )}
      {!isPriced && <NotPriced />}
      {isPriced && isStale && <Stale />}
    </>
  );
}
