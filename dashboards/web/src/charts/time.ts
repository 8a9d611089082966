/** Charts over event time. */

import { moment, number } from "../format";
import { FONT, short, tick } from "./axis";
import type { BarSeriesOption, ChartOption, LineSeriesOption } from "./echarts";
import type { Palette } from "./palette";

export interface TimeSeries {
  name: string;
  /** Time in milliseconds, and the value. */
  points: (readonly [number, number | null])[];
  colour: string;
  kind: "line" | "area" | "bar" | "dashed";
  /** 0 is the left axis, 1 the right one. */
  axis?: 0 | 1;
  /** Series of the same stack are put on each other. */
  stack?: string;
  digits?: number;
  /** The width of a bar, in milliseconds. */
  widthMs?: number;
}

export interface TimeChart {
  series: TimeSeries[];
  axes: { name: string; min?: number; max?: number; digits?: number; scale?: boolean }[];
  /** Where batch ends and speed begins, in milliseconds. */
  tideline?: number | null;
}

/** What every chart of the page has in common. */
export function frameOption(palette: Palette): ChartOption {
  return {
    animation: false,
    useUTC: true,
    textStyle: { fontFamily: FONT, color: palette.quiet },
    tooltip: {
      trigger: "axis",
      confine: true,
      backgroundColor: palette.panel,
      borderColor: palette.line,
      textStyle: { color: palette.ink, fontFamily: FONT, fontSize: 12 },
      axisPointer: { lineStyle: { color: palette.quiet }, crossStyle: { color: palette.quiet } },
      transitionDuration: 0,
    },
    legend: {
      top: 0,
      left: 0,
      itemWidth: 14,
      itemHeight: 8,
      icon: "roundRect",
      textStyle: { color: palette.quiet, fontSize: 12 },
      inactiveColor: palette.line,
    },
  };
}

/** Whether a value has none beside it: one point alone is no line. */
function standsAlone(points: TimeSeries["points"], at: number): boolean {
  const has = (place: number): boolean => (points[place]?.[1] ?? null) !== null;
  return has(at) && !has(at - 1) && !has(at + 1);
}

function seriesOption(series: TimeSeries): LineSeriesOption | BarSeriesOption {
  const isAlone = series.points.map((_, at) => standsAlone(series.points, at));
  const alone = series.kind !== "bar" && isAlone.includes(true);
  // Between windows without a value there is no line to be seen: a point is.
  const data = series.points.map(([at, value], place) =>
    alone && isAlone[place] === true ? { value: [at, value], symbol: "circle" } : [at, value],
  );
  const common = {
    name: series.name,
    data,
    yAxisIndex: series.axis ?? 0,
    itemStyle: { color: series.colour },
    emphasis: { disabled: true },
    tooltip: {
      valueFormatter: (value: unknown) => number(typeof value === "number" ? value : null, series.digits ?? 0),
    },
    ...(series.stack === undefined ? {} : { stack: series.stack }),
  };
  if (series.kind === "bar") return { ...common, type: "bar", barMaxWidth: 14, large: true, largeThreshold: 0 };
  return {
    ...common,
    type: "line",
    showSymbol: alone,
    symbol: "none",
    symbolSize: 5,
    lineStyle: {
      width: series.stack === undefined ? 1.75 : 0.75,
      color: series.colour,
      type: series.kind === "dashed" ? [5, 4] : "solid",
    },
    ...(series.kind === "area"
      ? { areaStyle: { color: series.colour, opacity: series.stack === undefined ? 0.12 : 0.75 } }
      : {}),
  };
}

/** The option of a chart over time. */
export function timeOption(palette: Palette, chart: TimeChart): ChartOption {
  const series = chart.series.map(seriesOption);
  const first = series[0];
  const times = chart.series
    .flatMap((each) => [each.points[0]?.[0], each.points.at(-1)?.[0]])
    .filter((at) => at !== undefined);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const { tideline } = chart;
  if (first && tideline !== null && tideline !== undefined && tideline > from && tideline < to) {
    first.markLine = {
      silent: true,
      symbol: "none",
      animation: false,
      data: [{ xAxis: tideline }],
      lineStyle: { color: palette.quiet, width: 1, type: [2, 3] },
      label: {
        formatter: "tideline",
        position: "end",
        align: "right",
        color: palette.quiet,
        fontSize: 11,
        // Within the picture: above it the axes have their names.
        distance: -12,
        padding: [0, 4, 0, 0],
        textBorderColor: palette.panel,
        textBorderWidth: 2,
      },
    };
  }
  return {
    ...frameOption(palette),
    // Room for the longest label there is: to have it measured is a good part of what painting a chart costs.
    grid: { left: 46, right: chart.axes.length > 1 ? 50 : 20, top: 34, bottom: 24, outerBoundsMode: "none" },
    xAxis: {
      type: "time",
      axisLine: { lineStyle: { color: palette.line } },
      axisTick: { lineStyle: { color: palette.line } },
      axisLabel: { color: palette.quiet, fontSize: 11, hideOverlap: true, formatter: tick },
      axisPointer: { label: { formatter: ({ value }) => moment(value as number) } },
    },
    yAxis: chart.axes.map((axis, place) => ({
      type: "value",
      name: axis.name,
      nameTextStyle: {
        color: palette.quiet,
        fontSize: 11,
        align: place === 0 ? "left" : "right",
        padding: [0, 0, 0, 0],
      },
      nameGap: 8,
      // It has its place above all labels: they are not measured for it.
      nameMoveOverlap: false,
      position: place === 0 ? "left" : "right",
      scale: axis.scale ?? false,
      ...(axis.min === undefined ? {} : { min: axis.min }),
      ...(axis.max === undefined ? {} : { max: axis.max }),
      splitNumber: 4,
      axisLabel: { color: palette.quiet, fontSize: 11, formatter: (value: number) => short(value, axis.digits) },
      splitLine: { show: place === 0, lineStyle: { color: palette.line, opacity: 0.7 } },
    })),
    series,
  };
}
