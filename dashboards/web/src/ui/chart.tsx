/** A chart over time, drawn by ECharts. */

import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { init, type ChartOption, type EChartsType } from "../charts/echarts";
import type { Palette } from "../charts/palette";
import { ChartFrame, type ChartFrameProps } from "./figure";
import { usePalette } from "./hooks";
import { usePainting } from "./painting";

interface ChartProps extends Omit<ChartFrameProps, "children"> {
  /** What it is drawn from: it is drawn anew when one of these changes. */
  inputs: readonly unknown[];
  option(palette: Palette): ChartOption;
}

export function Chart(props: ChartProps): JSX.Element {
  const palette = usePalette();
  const option = useMemo(() => props.option(palette), [palette, ...props.inputs]);
  return (
    <ChartFrame {...props}>
      <Canvas option={option} summary={props.summary} height={props.height ?? 240} />
    </ChartFrame>
  );
}

/** The picture alone. What is drawn stays and is moved: making a picture anew takes far longer. */
function Canvas({ option, summary, height }: { option: ChartOption; summary: string; height: number }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const painted = useRef({ shape: "", frame: "" });
  const hint = useRef<ChartOption["tooltip"]>(undefined);
  const hinted = useRef(false);

  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const made = init(element, null, { renderer: "canvas" });
    chart.current = made;
    const resized = new ResizeObserver(() => made.resize());
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.dispose();
      chart.current = null;
    };
  }, []);

  const paint = (): void => {
    const made = chart.current;
    if (!made) return;
    // Each part of an option costs something with every picture; a tooltip that nobody looks for does not need to be.
    const { tooltip, ...rest } = option;
    const [shape, frame] = [shapeOf(option), frameOf(rest)];
    if (frame === painted.current.frame) made.setOption({ series: valuesOf(rest) });
    // Only a picture of other parts is made anew.
    else made.setOption(rest, shape === painted.current.shape ? {} : { replaceMerge: ["series", "xAxis", "yAxis"] });
    painted.current = { shape, frame };
    hint.current = tooltip;
    if (hinted.current) made.setOption({ tooltip: tooltip ?? {} });
    // At once: the chart's own loop would paint one frame later.
    made.getZr().flush();
  };
  usePainting(place, paint, [option]);

  const point = (): void => {
    if (hinted.current || !chart.current) return;
    hinted.current = true;
    chart.current.setOption({ tooltip: hint.current ?? {} });
  };
  return (
    <div
      ref={place}
      class="canvas"
      style={{ height: `${height}px` }}
      role="img"
      aria-label={summary}
      onPointerEnter={point}
    />
  );
}

/** All of a picture but the values of its series. */
function frameOf(option: ChartOption): string {
  const series = [option.series ?? []].flat();
  return JSON.stringify({ ...option, series: series.map((each) => ({ ...each, data: null })) });
}

/** The values of its series alone. */
function valuesOf(option: ChartOption): NonNullable<ChartOption["series"]> {
  return [option.series ?? []].flat().map(({ type, name, data }) => ({ type, name, data })) as NonNullable<
    ChartOption["series"]
  >;
}

/** What a picture is made of, values and colours aside. */
function shapeOf(option: ChartOption): string {
  const series = [option.series ?? []].flat();
  const axes = [option.yAxis ?? []].flat();
  return JSON.stringify([
    series.map((each) => [each.type, each.name, "markLine" in each && each.markLine !== undefined]),
    axes.map((axis) => [axis.type, axis.name]),
  ]);
}
