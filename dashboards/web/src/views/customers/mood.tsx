/** The trend line: average sentiment and messages, window by window. */

import type { JSX } from "preact";
import { moment, number, signed } from "../../format";
import { keyText } from "../../live/store";
import { useHistory } from "../../ui/hooks";
import { Trend } from "../../ui/trend";

const KEY = { scope: "all" };
const COLUMNS = ["avg_sentiment", "messages", "high_churn"] as const;

export function Mood(): JSX.Element {
  const { history, version, tideline, loaded, failed } = useHistory({
    view: "sentiment_overall",
    key: KEY,
    columns: COLUMNS,
    counts: ["messages", "high_churn"],
    spanMs: 2 * 3_600_000,
  });
  const points = history.points(keyText(KEY));
  const of = (column: (typeof COLUMNS)[number]) => points.map((point) => point.values[column] ?? null);
  return (
    <Trend
      title="Trend"
      note="two hours of the data"
      summary={`Average sentiment in ${points.length} windows; the newest is ${signed(points.at(-1)?.values.avg_sentiment)}.`}
      height={240}
      inputs={[version, tideline]}
      empty={points.length > 0 ? null : (failed ?? (loaded ? "No window yet." : "Loading…"))}
      chart={(palette) => ({
        times: points.map((point) => point.at),
        tideline,
        axes: [
          { name: "sentiment", hasZero: false, digits: 2 },
          { name: "messages", hasZero: true },
        ],
        series: [
          { name: "messages", kind: "bar", colour: palette.line, values: of("messages"), axis: 1 },
          {
            name: "average sentiment",
            kind: "line",
            colour: palette.series[0] ?? palette.batch,
            values: of("avg_sentiment"),
            axis: 0,
            digits: 3,
          },
        ],
      })}
      table={() => ({
        columns: [
          { name: "Window" },
          { name: "Sentiment", numeric: true },
          { name: "Messages", numeric: true },
          { name: "Likely to leave", numeric: true },
        ],
        rows: [...points].reverse().map((point) => ({
          id: `${point.at}`,
          cells: [
            moment(point.at),
            signed(point.values.avg_sentiment, 3),
            number(point.values.messages),
            number(point.values.high_churn),
          ],
        })),
      })}
    />
  );
}
