/** Events of each kind over the last minutes. */

import type { JSX } from "preact";
import { timeOption } from "../../charts/time";
import { timesOf } from "../../data/history";
import { clock, label, number } from "../../format";
import { keyText } from "../../live/store";
import { Chart } from "../../ui/chart";
import { useHistory } from "../../ui/hooks";

export const EVENT_TYPES = ["view", "pause", "resume", "complete", "rating"] as const;

const SPAN_MS = 15 * 60_000;

export function Events({ height = 250 }: { height?: number }): JSX.Element {
  const { history, version, tideline, loaded, failed } = useHistory({
    view: "stream_event_distribution",
    columns: ["events"],
    counts: ["events"],
    spanMs: SPAN_MS,
    limit: 120,
  });
  const series = EVENT_TYPES.map((type) => ({ type, points: history.points(keyText({ event_type: type })) }));
  const times = timesOf(series.map((each) => each.points));
  const counts = new Map<string, Map<number, number | null>>(
    series.map(({ type, points }) => [type, new Map(points.map((point) => [point.at, point.values.events ?? null]))]),
  );
  /** A kind that a window has no row of did not happen; null is a window that is not known. */
  const at = (type: string, time: number): number | null => {
    const known = counts.get(type);
    return known?.has(time) === true ? (known.get(time) ?? null) : 0;
  };
  return (
    <Chart
      title="Events per window of 10 s"
      note="last 15 minutes of the data"
      summary={`Events of ${EVENT_TYPES.length} kinds in ${times.length} windows.`}
      height={height}
      inputs={[version, tideline]}
      empty={times.length > 0 ? null : (failed ?? (loaded ? "No events yet." : "Waiting for events…"))}
      option={(palette) =>
        timeOption(palette, {
          tideline,
          axes: [{ name: "" }],
          series: series.map(({ type }, place) => ({
            name: label(type),
            kind: "area" as const,
            stack: "events",
            colour: palette.series[place] ?? palette.quiet,
            points: times.map((time) => [time, at(type, time)] as const),
          })),
        })
      }
      table={() => ({
        columns: [{ name: "Window" }, ...EVENT_TYPES.map((type) => ({ name: label(type), numeric: true }))],
        rows: [...times].reverse().map((time) => ({
          id: `${time}`,
          cells: [clock(time, true), ...EVENT_TYPES.map((type) => number(at(type, time)))],
        })),
      })}
    />
  );
}
