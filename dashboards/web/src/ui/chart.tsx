/** A chart with its title, and the same numbers as a table for whoever prefers or needs them. */

import type { ComponentChildren, JSX } from "preact";
import { useCallback, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { init, type ChartOption, type EChartsType } from "../charts/echarts";
import type { Palette } from "../charts/palette";
import { paintLater, paintNever } from "../live/later";
import { usePalette } from "./hooks";
import { DataTable, type TableData } from "./table";

/** Rows of a chart's table at most: it is read, not scanned. */
const TABLE_ROWS = 200;

export interface ChartFrameProps {
  title: string;
  /** What it shows, in a sentence, for whoever does not see it. */
  summary: string;
  /** The same numbers. */
  table(): TableData;
  height?: number;
  /** Said instead of the chart, when there is nothing to draw. */
  empty?: string | null;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  /** The picture. */
  children: ComponentChildren;
}

/** What is around every chart, and the table instead of it. */
export function ChartFrame(props: ChartFrameProps): JSX.Element {
  const [asTable, setAsTable] = useState(false);
  const title = useId();
  const height = props.height ?? 240;
  const nothing = props.empty ?? null;
  return (
    <figure class="panel chart" aria-labelledby={title}>
      <figcaption class="panel-head">
        <h2 id={title}>{props.title}</h2>
        {props.note !== undefined && <span class="note">{props.note}</span>}
        <span class="actions">
          {props.actions}
          <button
            type="button"
            class="quiet"
            aria-pressed={asTable}
            aria-label={`${props.title} as a table`}
            onClick={() => setAsTable(!asTable)}
          >
            Table
          </button>
        </span>
      </figcaption>
      {nothing !== null ? (
        <p class="nothing" style={{ minHeight: `${height}px` }}>
          {nothing}
        </p>
      ) : asTable ? (
        <ChartTable title={props.title} table={props.table} height={height} />
      ) : (
        props.children
      )}
    </figure>
  );
}

interface ChartProps extends Omit<ChartFrameProps, "children"> {
  /** What it is drawn from: it is drawn anew when one of these changes. */
  inputs: readonly unknown[];
  option(palette: Palette): ChartOption;
}

/** A chart over time. */
export function Chart(props: ChartProps): JSX.Element {
  const palette = usePalette();
  const option = useMemo(() => props.option(palette), [palette, ...props.inputs]);
  return (
    <ChartFrame {...props}>
      <Canvas option={option} summary={props.summary} height={props.height ?? 240} />
    </ChartFrame>
  );
}

function ChartTable({ title, table, height }: { title: string; table(): TableData; height: number }): JSX.Element {
  const { columns, rows } = table();
  return (
    <div class="scroll" style={{ maxHeight: `${height}px` }} tabIndex={0} role="group" aria-label={`${title}, table`}>
      <DataTable caption={title} columns={columns} rows={rows.slice(0, TABLE_ROWS)} />
      {rows.length > TABLE_ROWS && (
        <p class="note">
          The first {TABLE_ROWS} of {rows.length} rows.
        </p>
      )}
    </div>
  );
}

/**
 * The picture alone. It is painted in the animation frame after the one that has the figures; one that has been scrolled
 * out of sight is painted when it comes back, for painting charts is most of what an update costs.
 */
function Canvas({ option, summary, height }: { option: ChartOption; summary: string; height: number }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const inSight = useRef(true);
  const waiting = useRef<ChartOption | null>(null);
  const painted = useRef({ shape: "", frame: "" });
  const hint = useRef<ChartOption["tooltip"]>(undefined);
  const hinted = useRef(false);

  const paint = useCallback((): void => {
    const [made, next] = [chart.current, waiting.current];
    if (!made || !next) return;
    waiting.current = null;
    // Each part of an option costs something with every picture; a tooltip that nobody looks for does not need to be.
    const { tooltip, ...rest } = next;
    const [shape, frame] = [shapeOf(next), frameOf(rest)];
    if (frame === painted.current.frame) made.setOption({ series: valuesOf(rest) });
    // What is drawn stays and is moved; only a picture of other parts is made anew.
    else made.setOption(rest, shape === painted.current.shape ? {} : { replaceMerge: ["series", "xAxis", "yAxis"] });
    painted.current = { shape, frame };
    hint.current = tooltip;
    if (hinted.current) made.setOption({ tooltip: tooltip ?? {} });
    // At once: the chart's own loop would paint one frame later.
    made.getZr().flush();
  }, []);

  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const made = init(element, null, { renderer: "canvas" });
    chart.current = made;
    const resized = new ResizeObserver(() => made.resize());
    resized.observe(element);
    const seen = new IntersectionObserver((entries) => {
      inSight.current = entries.at(-1)?.isIntersecting ?? true;
      if (inSight.current) paint();
    });
    seen.observe(element);
    return () => {
      resized.disconnect();
      seen.disconnect();
      paintNever(paint);
      made.dispose();
      chart.current = null;
    };
  }, []);

  useLayoutEffect(() => {
    waiting.current = option;
    if (!inSight.current) return;
    if (painted.current.shape === "") paint();
    else paintLater(paint);
  }, [option]);

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
