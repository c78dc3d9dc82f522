import UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

/** @import { Amount } from '../services/messages.js' */
/** @import { Columns } from '../stores/curve.js' */

/**
 * @typedef {object} Point
 * @property {number} at
 * @property {Amount | null} equity
 * @property {Amount | null} drawdown
 * @property {Amount | null} share
 */

/** Heights in px; the room for them is kept by styles.css. */
const EQUITY_HEIGHT = 150;
const UNDER_HEIGHT = 78;
const AXIS_WIDTH = 64;
const DAY_SECONDS = 86_400;
const FONT = '11px system-ui, sans-serif';

const languages = [...navigator.languages];
const amounts = new Intl.NumberFormat(languages, { notation: 'compact', maximumSignificantDigits: 6 });
const shares = new Intl.NumberFormat(languages, { style: 'percent', maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat(languages, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const seconds = new Intl.DateTimeFormat(languages, { timeStyle: 'medium', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(languages, { day: 'numeric', month: 'short' });
const month = new Intl.DateTimeFormat(languages, { month: 'short', year: 'numeric' });

/** Has the browser find the font of the axes, which takes it longer than to draw a curve. */
export function prepareChart() {
  const context = document.createElement('canvas').getContext('2d');
  if (!context) return;
  context.font = FONT;
  context.fillText('0', 0, 0);
}

/**
 * Two plots over one time: equity, and beneath it the drawdown in percent, hanging from zero.
 * @param {HTMLElement} host
 * @param {(point: Point | null) => void} onPoint told which point is pointed at
 */
export function createCurveChart(host, onPoint) {
  /** @type {Columns | null} */
  let columns = null;
  const key = UPlot.sync(`curve ${performance.now()}`).key;
  const ink = (/** @type {string} */ name) => {
    const probe = host.querySelector(`.ink-${name}`);
    return probe ? getComputedStyle(probe).color : 'gray';
  };
  const pale = (/** @type {string} */ name) => {
    const probe = host.querySelector(`.ink-${name}`);
    return probe ? getComputedStyle(probe).backgroundColor : 'gray';
  };

  /** @type {UPlot.Options['hooks']} */
  const hooks = {
    setCursor: [
      ({ cursor: { idx } }) => {
        if (!columns || idx == null) return onPoint(null);
        return onPoint({
          at: columns.at[idx] ?? 0,
          equity: columns.equity[idx] ?? null,
          drawdown: columns.drawdown[idx] ?? null,
          share: columns.share[idx] ?? null,
        });
      },
    ],
  };

  /**
   * @param {number} height
   * @param {UPlot.Series} series
   * @param {(value: number) => string} format
   * @param {boolean} hasTimes
   */
  function plot(height, series, format, hasTimes) {
    /** @type {UPlot.Axis} */
    const axis = {
      stroke: () => ink('axis'),
      font: FONT,
      grid: { stroke: () => ink('grid'), width: 1 },
      ticks: { show: false },
    };
    return new UPlot(
      {
        width: Math.max(200, host.clientWidth),
        height,
        ms: 1,
        legend: { show: false },
        padding: [8, 8, hasTimes ? 0 : 4, 0],
        cursor: {
          sync: { key },
          y: false,
          drag: { setScale: false, x: false, y: false },
          points: { size: 6 },
        },
        scales: {
          x: { time: true },
          y: hasTimes ? { range: (_, low) => [Math.min(low ?? 0, -0.0001) * 1.1, 0] } : {},
        },
        series: [{}, { points: { show: false }, ...series }],
        axes: [
          {
            ...axis,
            size: hasTimes ? 24 : 0,
            values: hasTimes ? formatTimes : () => [],
            space: 80,
          },
          {
            ...axis,
            size: AXIS_WIDTH,
            space: hasTimes ? 24 : 34,
            values: (_, splits) => splits.map(format),
          },
        ],
        hooks,
      },
      [[], []],
      host,
    );
  }

  const equity = plot(
    EQUITY_HEIGHT,
    { stroke: () => ink('equity'), width: 1.5, fill: () => pale('equity') },
    (value) => amounts.format(value),
    false,
  );
  const under = plot(
    UNDER_HEIGHT,
    { stroke: () => ink('under'), width: 1, fill: () => pale('under'), fillTo: () => 0 },
    (value) => shares.format(value).replace('-', '−'),
    true,
  );
  const plots = [equity, under];

  const resizing = new ResizeObserver(() => {
    const width = host.clientWidth;
    // Told once at the start, too; and to set a size draws all anew.
    if (width === 0 || width === equity.width) return;
    for (const one of plots) one.setSize({ width, height: one.height });
  });
  resizing.observe(host);
  const scheme = window.matchMedia('(prefers-color-scheme: dark)');
  const recolour = () => plots.forEach((one) => one.redraw(false, true));
  scheme.addEventListener('change', recolour);

  return {
    /** @param {Columns} shown */
    draw(shown) {
      columns = shown;
      equity.setData([shown.at, shown.equity.map(toNumber)]);
      under.setData([shown.at, shown.share.map((share) => (share === null ? null : 0 - Number(share)))]);
    },
    destroy() {
      resizing.disconnect();
      scheme.removeEventListener('change', recolour);
      plots.forEach((one) => one.destroy());
    },
  };
}

/** @typedef {ReturnType<typeof createCurveChart>} CurveChart */

/** @param {Amount | null} value */
const toNumber = (value) => (value === null ? null : Number(value));

/**
 * @param {UPlot} _plot
 * @param {number[]} splits ms since 1970
 * @param {number} _axis
 * @param {number} _space
 * @param {number} step ms
 */
function formatTimes(_plot, splits, _axis, _space, step) {
  const inSeconds = step / 1000;
  const format =
    inSeconds >= 28 * DAY_SECONDS
      ? month
      : inSeconds >= DAY_SECONDS
        ? day
        : inSeconds >= 60
          ? clock
          : seconds;
  return splits.map((at) => {
    const date = new Date(at);
    const isMidnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
    return (format === clock && isMidnight ? day : format).format(date);
  });
}
