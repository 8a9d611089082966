/**
 * A chart over time that is painted with every update: by uPlot, which draws what has changed on its canvas and nothing
 * else, in a tenth of the time that a picture of ECharts takes.
 */

import uPlot from "uplot";
import { FONT, short, tick } from "./axis";
import type { Palette } from "./palette";
import { scaleOf, type Scale } from "./scale";

export interface TrendSeries {
  name: string;
  kind: "line" | "bar";
  colour: string;
  /** One for each of the times. */
  values: (number | null)[];
  /** 0 is the left axis, 1 the right one. */
  axis: 0 | 1;
  /** Decimals under the pointer. */
  digits?: number;
}

export interface TrendAxis {
  name: string;
  /** Decimals of its labels at least. */
  digits?: number;
  /** Whether zero is on it. */
  hasZero: boolean;
}

export interface TrendChart {
  /** Milliseconds, in order. */
  times: number[];
  /** Drawn one over the other. */
  series: TrendSeries[];
  axes: [TrendAxis, TrendAxis];
  /** Where batch ends and speed begins, in milliseconds. */
  tideline: number | null;
}

/** Room for the longest label there is on each side, for the time axis, and above for the names. */
export const ROOM = { left: 46, right: 50, below: 24, above: 34 } as const;

/** Parts of the axes of values, about. */
const PARTS = 4;
/** The least distance of two labels of the time axis. */
const LABEL_PX = 64;
/** The widest bar. */
const BAR_PX = 14;
const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];
/** The distances that labels of the time axis may have. They are counted from the epoch: on round times of UTC. */
const STEPS_MS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 7, 14, 28].map((n) => n * DAY),
];

/** What uPlot draws: the times, and the values of each series. */
export function dataOf({ times, series }: TrendChart): uPlot.AlignedData {
  return [times, ...series.map(({ values }) => values)];
}

/** From the first to the last time, with room for half a bar before and behind. */
export function spanOf(times: readonly number[]): [number, number] {
  const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
  let least = Infinity;
  for (let n = 1; n < times.length; n += 1) least = Math.min(least, (times[n] ?? 0) - (times[n - 1] ?? 0));
  const half = Number.isFinite(least) && least > 0 ? least / 2 : MINUTE / 2;
  return [first - half, last + half];
}

export function axisScale(chart: TrendChart, axis: 0 | 1): Scale {
  const values = chart.series
    .filter((series) => series.axis === axis)
    .flatMap((series) => series.values.filter((value) => value !== null));
  const scale = scaleOf(values, { parts: PARTS, hasZero: chart.axes[axis].hasZero });
  return { ...scale, digits: Math.max(scale.digits, chart.axes[axis].digits ?? 0) };
}

/** Where the tideline is, if it is in the picture. */
export function tidelineOf({ times, tideline }: TrendChart): number | null {
  const [first, last] = [times[0], times.at(-1)];
  if (tideline === null || first === undefined || last === undefined) return null;
  return tideline > first && tideline < last ? tideline : null;
}

/**
 * A chart in a place. What it is of is asked for with each picture; its series and axes, values aside, stay the same.
 * `pointed` is told of which of the times the pointer asks, and how far from the left that is.
 */
export function makeTrend(
  place: HTMLElement,
  palette: Palette,
  current: () => TrendChart,
  pointed: (index: number | null, left: number) => void,
): uPlot {
  const font = `11px ${FONT}`;
  const rule = { stroke: palette.line, width: 1 };
  const scales = [0, 1] as const;
  const key = (axis: 0 | 1): string => `y${axis}`;
  const bars = uPlot.paths.bars?.({ size: [0.7, BAR_PX] });
  const { series } = current();
  // A scale is asked for several times with each picture.
  let known: { chart: TrendChart; scales: [Scale, Scale] } | null = null;
  const scaleNow = (axis: 0 | 1): Scale => {
    const chart = current();
    if (known?.chart !== chart) known = { chart, scales: [axisScale(chart, 0), axisScale(chart, 1)] };
    return known.scales[axis];
  };
  return new uPlot(
    {
      width: place.clientWidth,
      height: place.clientHeight,
      padding: [ROOM.above, 0, 0, 0],
      legend: { show: false },
      select: { show: false, left: 0, top: 0, width: 0, height: 0 },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: false, y: false, setScale: false },
        // From one window to the next: there is nothing between them.
        move: (chart, left, top) => (left < 0 ? [left, top] : [chart.valToPos(timeAt(chart, left), "x"), top]),
      },
      scales: {
        x: { time: false, range: () => spanOf(current().times) },
        ...Object.fromEntries(
          scales.map((axis): [string, uPlot.Scale] => [
            key(axis),
            {
              range: () => {
                const { from, to } = scaleNow(axis);
                return [from, to];
              },
            },
          ]),
        ),
      },
      axes: [
        {
          size: ROOM.below,
          gap: 3,
          space: LABEL_PX,
          incrs: STEPS_MS,
          values: (_, times) => times.map(tick),
          font,
          stroke: palette.quiet,
          grid: { show: false },
          ticks: { ...rule, size: 5 },
          border: { show: true, ...rule },
        },
        ...scales.map((axis): uPlot.Axis => ({
          scale: key(axis),
          side: axis === 0 ? 3 : 1,
          size: axis === 0 ? ROOM.left : ROOM.right,
          gap: 8,
          splits: () => scaleNow(axis).ticks,
          values: (_, values) => {
            const { digits } = scaleNow(axis);
            return values.map((value) => short(value, digits));
          },
          font,
          stroke: palette.quiet,
          grid: { show: axis === 0, ...rule },
          ticks: { show: false },
        })),
      ],
      series: [
        {},
        ...series.map(({ kind, colour, axis }): uPlot.Series =>
          kind === "bar"
            ? {
                scale: key(axis),
                fill: colour,
                width: 0,
                ...(bars && { paths: bars }),
                points: { show: false },
              }
            : {
                scale: key(axis),
                stroke: colour,
                width: 1.75,
                points: { show: false, filter: aloneIn, size: 5, fill: colour },
              },
        ),
      ],
      hooks: {
        draw: [(chart) => drawTideline(chart, palette, tidelineOf(current()))],
        setCursor: [({ cursor }) => pointed(cursor.idx ?? null, ROOM.left + (cursor.left ?? 0))],
      },
    },
    dataOf(current()),
    place,
  );
}

/** Points that have none beside them: one alone is no line, and is painted for itself. */
function aloneIn(chart: uPlot, series: number): number[] | null {
  const found = alone(chart.data[series] ?? []);
  return found.length === 0 ? null : found;
}

export function alone(values: ArrayLike<number | null | undefined>): number[] {
  const has = (at: number): boolean => (values[at] ?? null) !== null;
  return Array.from({ length: values.length }, (_, at) => at).filter((at) => has(at) && !has(at - 1) && !has(at + 1));
}

function timeAt(chart: uPlot, left: number): number {
  return chart.data[0][chart.posToIdx(left)] ?? 0;
}

/** A dashed line with its word, which stands within the picture: above it the axes have their names. */
function drawTideline({ ctx, bbox, valToPos }: uPlot, palette: Palette, tideline: number | null): void {
  if (tideline === null) return;
  const ratio = devicePixelRatio;
  const left = Math.round(valToPos(tideline, "x", true)) + 0.5;
  ctx.save();
  ctx.lineWidth = ratio;
  ctx.strokeStyle = palette.quiet;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  ctx.beginPath();
  ctx.moveTo(left, bbox.top);
  ctx.lineTo(left, bbox.top + bbox.height);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.font = `${11 * ratio}px ${FONT}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "top";
  ctx.lineWidth = 2 * ratio;
  ctx.lineJoin = "round";
  ctx.strokeStyle = palette.panel;
  ctx.fillStyle = palette.quiet;
  ctx.strokeText("tideline", left - 4 * ratio, bbox.top + 2 * ratio);
  ctx.fillText("tideline", left - 4 * ratio, bbox.top + 2 * ratio);
  ctx.restore();
}
