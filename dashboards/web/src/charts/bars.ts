/** Bars of categories, lying, with their names on the left. */

import { number } from "../format";
import type { ChartOption } from "./echarts";
import type { Palette } from "./palette";
import { frameOption } from "./time";

export interface BarChartData {
  categories: string[];
  series: { name: string; values: (number | null)[]; colours: string | string[]; stack?: string; digits?: number }[];
  legend?: boolean;
}

/** How wide a name may be, and how far it is from the edge and the bar. */
const [NAME_WIDTH, NAME_GAP] = [150, 14];
/** A letter on average, with some room. */
const LETTER_WIDTH = 7;

function nameWidth(names: readonly string[]): number {
  return Math.min(NAME_WIDTH, LETTER_WIDTH * Math.max(0, ...names.map((name) => name.length)));
}

export function barOption(palette: Palette, chart: BarChartData): ChartOption {
  const base = frameOption(palette);
  return {
    ...base,
    grid: {
      left: NAME_GAP + nameWidth(chart.categories),
      right: 34,
      top: chart.legend === true ? 30 : 4,
      bottom: 24,
      outerBoundsMode: "none",
    },
    legend: { ...base.legend, show: chart.legend === true },
    tooltip: {
      ...base.tooltip,
      trigger: "axis",
      axisPointer: { type: "shadow", shadowStyle: { color: palette.line, opacity: 0.35 } },
    },
    xAxis: {
      type: "value",
      splitNumber: 3,
      axisLabel: { color: palette.quiet, fontSize: 11, hideOverlap: true },
      splitLine: { lineStyle: { color: palette.line, opacity: 0.7 } },
    },
    yAxis: {
      type: "category",
      inverse: true,
      data: chart.categories,
      axisLine: { lineStyle: { color: palette.line } },
      axisTick: { show: false },
      axisLabel: { color: palette.ink, fontSize: 12, width: NAME_WIDTH, overflow: "truncate" },
    },
    series: chart.series.map((series) => ({
      type: "bar",
      name: series.name,
      barMaxWidth: 18,
      emphasis: { disabled: true },
      ...(series.stack === undefined ? {} : { stack: series.stack }),
      ...(typeof series.colours === "string" ? { itemStyle: { color: series.colours } } : {}),
      tooltip: {
        valueFormatter: (value: unknown) => number(typeof value === "number" ? value : null, series.digits ?? 0),
      },
      data: series.values.map((value, place) =>
        typeof series.colours === "string"
          ? value
          : { value, itemStyle: { color: series.colours[place % series.colours.length] ?? palette.quiet } },
      ),
      ...(chart.series.length === 1
        ? {
            label: {
              show: true,
              position: "right",
              color: palette.quiet,
              fontSize: 11,
              formatter: ({ value }: { value: unknown }) =>
                number(typeof value === "number" ? value : null, series.digits ?? 0),
            },
          }
        : {}),
    })) as NonNullable<ChartOption["series"]>,
  };
}
