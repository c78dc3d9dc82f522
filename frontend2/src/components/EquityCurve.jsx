import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { flushSync } from 'react-dom';
import { formatAmount, formatFull, formatInstant } from '../format.js';
import { MAX_POINTS } from '../services/messages.js';
import { readRange, writeRange } from '../services/address.js';
import { CurveError } from '../services/portfolioSocket.js';
import { RANGES } from '../ranges.js';
import { columnsOf, deepest, withLiveEnd } from '../stores/curve.js';
import { relayNow, wishFor } from '../stores/curveWish.js';
import { selectIsCurrent, selectState, usePortfolioStore } from '../stores/portfolioStore.js';
import { createCurveChart } from './curveChart.js';
import { useLive } from './paint.js';

/**
 * @import { AccountState, Curve } from '../services/messages.js'
 * @import { CurveWish } from '../services/portfolioSocket.js'
 * @import { RangeName } from '../ranges.js'
 * @import { CurveChart } from './curveChart.js'
 */

/** @typedef {(wish: CurveWish, options: { signal: AbortSignal }) => Promise<Curve>} RequestCurve */

/** The live end follows the account; a human reads no faster. */
const LIVE_MS = 5000;
/** A reload is worth it when there may be another point, but not all the time. */
const SOONEST_RELOAD_MS = 10_000;

const PROBLEMS = {
  timeout: 'The relay has not sent the curve in time.',
  disconnected: 'No connection.',
};

/**
 * The account's equity over a range, and beneath it how far it was under water.
 * @param {{ accountId: number, requestCurve: RequestCurve }} props
 */
export function EquityCurve({ accountId, requestCurve }) {
  const [range, setRange] = useState(readRange);
  const [curve, setCurve] = useState(/** @type {Curve | null} */ (null));
  const [problem, setProblem] = useState(/** @type {keyof typeof PROBLEMS | null} */ (null));
  const [tries, setTries] = useState(0);
  const isCurrent = usePortfolioStore(selectIsCurrent);
  const plot = useRef(/** @type {HTMLDivElement | null} */ (null));
  const readout = useRef(/** @type {HTMLParagraphElement | null} */ (null));
  const chart = useRef(/** @type {CurveChart | null} */ (null));
  const account = useRef(/** @type {AccountState | undefined} */ (undefined));

  useEffect(
    () => () => {
      chart.current?.destroy();
      chart.current = null;
    },
    [],
  );

  // Asked for before the figures are laid out and painted: it is here when they are.
  useLayoutEffect(() => {
    if (!isCurrent) return undefined;
    const asking = new AbortController();
    let reload = 0;
    const load = async () => {
      const wish = wishFor(accountId, range);
      try {
        const answer = await requestCurve(wish, { signal: asking.signal });
        if (asking.signal.aborted) return;
        // At once: with some luck in the frame that shows the figures.
        flushSync(() => {
          setCurve(answer);
          setProblem(null);
        });
        const lengthMs = Date.parse(answer.to_at) - Date.parse(answer.at[0] ?? answer.from_at);
        reload = setTimeout(load, Math.max(SOONEST_RELOAD_MS, lengthMs / MAX_POINTS));
      } catch (error) {
        if (!(error instanceof CurveError)) throw error;
        if (error.code === 'aborted') return;
        setProblem(error.code);
        reload = setTimeout(load, SOONEST_RELOAD_MS);
      }
    };
    void load();
    return () => {
      clearTimeout(reload);
      asking.abort();
    };
  }, [accountId, range, isCurrent, requestCurve, tries]);

  useLive(selectState(accountId), (state) => {
    account.current = state;
  });

  // Before the next frame, which then has all of it.
  useLayoutEffect(() => {
    if (!curve || !plot.current) return undefined;
    // Not before there is something to draw.
    chart.current ??= createCurveChart(plot.current, (point) => {
      if (readout.current) readout.current.textContent = point === null ? '' : describe(point);
    });
    const columns = columnsOf(curve);
    const draw = () => {
      // Nothing that is not seen is drawn.
      if (document.hidden) return;
      chart.current?.draw(withLiveEnd(columns, account.current, relayNow()));
      if (plot.current) plot.current.dataset.curvePoints = String(curve.at.length);
    };
    draw();
    const timer = setInterval(draw, LIVE_MS);
    document.addEventListener('visibilitychange', draw);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', draw);
    };
  }, [curve]);

  const choose = (/** @type {RangeName} */ name) => {
    setRange(name);
    writeRange(name);
  };
  return (
    <section className="curve" aria-label="Equity curve">
      <div className="curve-head">
        <div className="ranges" role="group" aria-label="Range of the curve">
          {/** @type {RangeName[]} */ (Object.keys(RANGES)).map((name) => (
            <button
              key={name}
              type="button"
              aria-label={RANGES[name].label}
              aria-pressed={name === range}
              data-range={name}
              onClick={() => choose(name)}
            >
              {name}
            </button>
          ))}
        </div>
        <p className="readout" ref={readout} aria-hidden="true" />
        {problem && (
          <p className="curve-problem" role="status">
            {PROBLEMS[problem]}{' '}
            <button type="button" className="quiet" onClick={() => setTries(tries + 1)}>
              Try again
            </button>
          </p>
        )}
      </div>
      <div
        className="plot"
        ref={plot}
        role="img"
        aria-label={curve ? summarizeCurve(curve, range) : 'The curve is on its way.'}
      >
        {curve?.at.length === 0 && <p className="plot-empty">No curve in this range yet.</p>}
        {/* What the canvas takes its colours from: they follow the scheme. */}
        <span className="ink ink-equity" />
        <span className="ink ink-under" />
        <span className="ink ink-axis" />
        <span className="ink ink-grid" />
      </div>
    </section>
  );
}

/** @param {import('./curveChart.js').Point} point */
function describe({ at, equity, drawdown, share }) {
  const parts = [formatInstant(new Date(at).toISOString())];
  parts.push(equity === null ? 'equity unknown' : `equity ${formatAmount(equity)}`);
  if (drawdown !== null) {
    parts.push(`drawdown ${formatAmount(drawdown)}${share === null ? '' : ` (${formatAmount(share, 'share')})`}`);
  }
  return parts.join(' · ');
}

/** For those who cannot see it. @param {Curve} curve @param {RangeName} range */
function summarizeCurve(curve, range) {
  const known = curve.close.filter((value) => value !== null);
  const [first, last] = [known[0], known.at(-1)];
  const begin = curve.at[0];
  if (first === undefined || last === undefined || begin === undefined) return 'No curve in this range yet.';
  const depth = deepest(curve);
  return (
    `Equity over ${RANGES[range].label}: ${formatAmount(first)} at ${formatFull(begin)}, ` +
    `${formatAmount(last)} last` +
    (depth === null ? '.' : `; deepest drawdown ${formatAmount(depth)}.`)
  );
}
