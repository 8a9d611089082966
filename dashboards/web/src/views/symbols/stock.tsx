/** One symbol over time: sentiment beside price, and how much there was of both. */

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { timeOption } from "../../charts/time";
import { moment, number, signed } from "../../format";
import { keyText } from "../../live/store";
import { Chart } from "../../ui/chart";
import { useHistory } from "../../ui/hooks";
import { SpanChoice, USUAL_SPAN_MS } from "../../ui/spans";

const COLUMNS = ["sentiment", "close", "mentions", "volume"] as const;
const COUNTS = ["mentions", "volume"] as const;

export function Stock({ symbol, view }: { symbol: string; view: string }): JSX.Element {
  const [spanMs, setSpan] = useState(USUAL_SPAN_MS);
  const key = useMemo(() => ({ symbol }), [symbol]);
  const { history, version, tideline, loaded, failed } = useHistory({
    view,
    key,
    columns: COLUMNS,
    counts: COUNTS,
    spanMs,
  });
  const points = history.points(keyText(key));
  const of = (column: (typeof COLUMNS)[number]) =>
    points.map((point) => [point.at, point.values[column] ?? null] as const);
  const last = points.at(-1);
  const empty = points.length > 0 ? null : (failed ?? (loaded ? "No window in this time." : "Loading…"));
  return (
    <>
      <Chart
        title={`$${symbol}: sentiment beside price`}
        summary={`Sentiment and price of ${symbol} in ${points.length} windows; the newest: sentiment ${signed(last?.values.sentiment)}, price ${number(last?.values.close, 2)}.`}
        height={272}
        inputs={[version, tideline, symbol]}
        empty={empty}
        actions={<SpanChoice chosen={spanMs} choose={setSpan} />}
        option={(palette) =>
          timeOption(palette, {
            tideline,
            axes: [
              { name: "sentiment", min: -1, max: 1, digits: 1 },
              { name: "price", scale: true, digits: 1 },
            ],
            series: [
              {
                name: "sentiment",
                kind: "area",
                colour: palette.series[0] ?? palette.batch,
                points: of("sentiment"),
                axis: 0,
                digits: 2,
              },
              {
                name: "price",
                kind: "line",
                colour: palette.series[1] ?? palette.speed,
                points: of("close"),
                axis: 1,
                digits: 2,
              },
            ],
          })
        }
        table={() => ({
          columns: [
            { name: "Window" },
            { name: "Sentiment", numeric: true },
            { name: "Price", numeric: true },
            { name: "Mentions", numeric: true },
            { name: "Volume", numeric: true },
          ],
          rows: [...points].reverse().map((point) => ({
            id: `${point.at}`,
            cells: [
              moment(point.at),
              signed(point.values.sentiment),
              number(point.values.close, 2),
              number(point.values.mentions),
              number(point.values.volume),
            ],
          })),
        })}
      />
      <Chart
        title="Mentions and volume"
        summary={`Mentions and traded volume of ${symbol} in ${points.length} windows.`}
        height={150}
        inputs={[version, tideline, symbol]}
        empty={empty}
        option={(palette) =>
          timeOption(palette, {
            axes: [{ name: "mentions" }, { name: "volume" }],
            series: [
              {
                name: "mentions",
                kind: "bar",
                colour: palette.series[0] ?? palette.batch,
                points: of("mentions"),
                axis: 0,
              },
              { name: "volume", kind: "line", colour: palette.neutral, points: of("volume"), axis: 1 },
            ],
          })
        }
        table={() => ({
          columns: [{ name: "Window" }, { name: "Mentions", numeric: true }, { name: "Volume", numeric: true }],
          rows: [...points].reverse().map((point) => ({
            id: `${point.at}`,
            cells: [moment(point.at), number(point.values.mentions), number(point.values.volume)],
          })),
        })}
      />
    </>
  );
}
