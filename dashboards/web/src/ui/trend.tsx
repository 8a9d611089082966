/** A chart over time that follows the live data: drawn by uPlot, within the frame of every chart. */

import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Palette } from "../charts/palette";
import { dataOf, makeTrend, ROOM, type TrendChart } from "../charts/trend";
import { moment, number } from "../format";
import { ChartFrame, type ChartFrameProps } from "./figure";
import { usePalette } from "./hooks";
import { usePainting } from "./painting";

interface TrendProps extends Omit<ChartFrameProps, "children"> {
  /** What it is drawn from: it is drawn anew when one of these changes. */
  inputs: readonly unknown[];
  /** What it shows. Only times and values change while it is there. */
  chart(palette: Palette): TrendChart;
}

export function Trend(props: TrendProps): JSX.Element {
  const palette = usePalette();
  const chart = useMemo(() => props.chart(palette), [palette, ...props.inputs]);
  return (
    <ChartFrame {...props}>
      <Picture chart={chart} palette={palette} summary={props.summary} height={props.height ?? 240} />
    </ChartFrame>
  );
}

/** The picture alone, with the names of what is drawn, and the values under the pointer. */
function Picture({
  chart,
  palette,
  summary,
  height,
}: {
  chart: TrendChart;
  palette: Palette;
  summary: string;
  height: number;
}): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | null>(null);
  const latest = useRef(chart);
  latest.current = chart;
  const [pointed, setPointed] = useState<Pointed | null>(null);

  // Another theme has other colours everywhere: the picture is made anew.
  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const made = makeTrend(
      element,
      palette,
      () => latest.current,
      (index, left) => setPointed(index === null ? null : { index, left, isRight: left > element.clientWidth / 2 }),
    );
    drawn.current = made;
    const resized = new ResizeObserver(() => {
      const [width, height] = [element.clientWidth, element.clientHeight];
      if (width !== made.width || height !== made.height) made.setSize({ width, height });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      drawn.current = null;
    };
  }, [palette]);

  // As one batch it is painted at once.
  const paint = (): void => drawn.current?.batch(() => drawn.current?.setData(dataOf(latest.current)));
  usePainting(place, paint, [chart]);

  const [left, right] = chart.axes;
  return (
    <div class="canvas trend" role="img" aria-label={summary} style={{ height: `${height}px` }}>
      <div class="legend">
        {chart.series.map(({ name, colour }) => (
          <span key={name}>
            <span class="sample" style={{ background: colour }} />
            {name}
          </span>
        ))}
      </div>
      <span class="axis-name" style={{ left: `${ROOM.left}px` }}>
        {left.name}
      </span>
      <span class="axis-name" style={{ right: `${ROOM.right}px` }}>
        {right.name}
      </span>
      <div ref={place} class="plot" />
      {pointed && <Values chart={chart} pointed={pointed} />}
    </div>
  );
}

/** What the pointer asks for. */
interface Pointed {
  /** Which of the times. */
  index: number;
  /** How far from the left that is, and whether it is in the right half. */
  left: number;
  isRight: boolean;
}

/** The values under the pointer, beside it. */
function Values({
  chart,
  pointed: { index, left, isRight },
}: {
  chart: TrendChart;
  pointed: Pointed;
}): JSX.Element | null {
  const at = chart.times[index];
  if (at === undefined) return null;
  const beside = isRight ? `translateX(calc(${left - 10}px - 100%))` : `translateX(${left + 10}px)`;
  return (
    <div class="values" style={{ transform: beside }}>
      <p>{moment(at)}</p>
      {chart.series.map(({ name, colour, values, digits }) => (
        <p key={name}>
          <span class="sample" style={{ background: colour }} />
          {name}
          <b>{number(values[index], digits ?? 0).replace("-", "−")}</b>
        </p>
      ))}
    </div>
  );
}
