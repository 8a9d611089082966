/**
 * Bars of categories, lying, with their names on the left: of elements of the page, for a change only moves what there
 * is. A picture of a charts' library would be made anew for it, which takes ten times as long.
 */

import type { JSX } from "preact";
import { scaleOf } from "../charts/scale";
import { number } from "../format";
import { ChartFrame, type ChartFrameProps } from "./figure";

export interface BarSeries {
  name: string;
  values: (number | null)[];
  /** One for all, or one for each, as a style sheet says them. */
  colours: string | readonly string[];
}

export interface BarsProps {
  names: readonly string[];
  series: readonly BarSeries[];
  /** One after the other instead of one below the other. */
  stacked?: boolean;
  digits?: number;
}

export function BarChart(props: Omit<ChartFrameProps, "children"> & BarsProps): JSX.Element {
  return (
    <ChartFrame {...props}>
      <Bars {...props} />
    </ChartFrame>
  );
}

/** The picture alone. Whoever does not see it is told its summary; a pointer is told the numbers of a row. */
function Bars({
  summary,
  height = 240,
  names,
  series,
  stacked = false,
  digits = 0,
}: BarsProps & { summary: string; height?: number | undefined }): JSX.Element {
  const lengths = stacked
    ? names.map((_, at) => series.reduce((sum, { values }) => sum + (values[at] ?? 0), 0))
    : series.flatMap(({ values }) => values.map((value) => value ?? 0));
  const scale = scaleOf(lengths);
  const share = (value: number): number => (value - scale.from) / (scale.to - scale.from);
  const alone = series.length === 1;
  return (
    <div class="bars" role="img" aria-label={summary} style={{ height: `${height}px` }}>
      {!alone && (
        <div class="legend">
          {series.map(({ name, colours }) => (
            <span key={name}>
              <span class="sample" style={{ background: colourAt(colours, 0) }} />
              {name}
            </span>
          ))}
        </div>
      )}
      <div class="names">
        {names.map((name) => (
          <span key={name}>
            <span>{name}</span>
          </span>
        ))}
      </div>
      <div class="plot">
        {scale.ticks.map((tick) => (
          <span key={tick} class={tick === 0 ? "tick zero" : "tick"} style={{ left: percent(share(tick)) }}>
            <span>{signless(tick, tick === 0 ? 0 : scale.digits)}</span>
          </span>
        ))}
        {names.map((name, at) => (
          <div key={name} class="row" title={rowText(name, series, at, digits)}>
            {stacked ? (
              <div class="lane">{stack(series, at, share)}</div>
            ) : (
              series.map(({ name: of, values, colours }) => {
                const value = values[at] ?? null;
                return (
                  <div key={of} class="lane">
                    <span class="bar" style={barStyle(share(0), share(value ?? 0), colourAt(colours, at))} />
                    {alone && (
                      <span
                        class="value"
                        style={{ transform: `translateX(${percent(share(Math.max(0, value ?? 0)))})` }}
                      >
                        {signless(value, digits)}
                      </span>
                    )}
                  </div>
                );
              })
            )}
          </div>
        ))}
      </div>
    </div>
  );
}

function stack(series: readonly BarSeries[], at: number, share: (value: number) => number): JSX.Element[] {
  let end = 0;
  return series.map(({ name, values, colours }) => {
    const begin = end;
    end += values[at] ?? 0;
    return <span key={name} class="bar" style={barStyle(share(begin), share(end), colourAt(colours, at))} />;
  });
}

/** From one share of the width to another, without a new layout: to the left where `to` is the smaller. */
function barStyle(from: number, to: number, background: string): Record<string, string> {
  return { transform: `translateX(${percent(from)}) scaleX(${(to - from).toFixed(5)})`, background };
}

function colourAt(colours: string | readonly string[], at: number): string {
  return typeof colours === "string" ? colours : (colours[at % colours.length] ?? "var(--quiet)");
}

function percent(share: number): string {
  return `${(100 * share).toFixed(3)}%`;
}

/** A number with the sign of this page where it is below zero. */
function signless(value: number | null, digits: number): string {
  return value !== null && value < 0 ? `−${number(-value, digits)}` : number(value, digits);
}

function rowText(name: string, series: readonly BarSeries[], at: number, digits: number): string {
  const parts = series.map(({ name: of, values }) => `${of} ${signless(values[at] ?? null, digits)}`);
  return `${name}: ${parts.join(", ")}`;
}
