/** Movies: which are trending now, whether they go up or down, and what was predicted of them. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { keyOf, numberOf, type Row, type TopAnswer } from "../../api/types";
import { withQuery } from "../../api/client";
import { spanMs, timeText } from "../../data/spans";
import { directionOf, type Direction } from "../../data/direction";
import { number } from "../../format";
import { hrefOf } from "../../route";
import { Alerts } from "../../ui/alerts";
import { usePage } from "../../ui/context";
import { ViewHead } from "../../ui/head";
import { sortedRows, useChosen, useFetched, useView } from "../../ui/hooks";
import { DirectionMark, SentimentMark, ShareMark } from "../../ui/marks";
import { NoRows, Panel, Scroll } from "../../ui/panel";
import { DataTable, type TableRow } from "../../ui/table";
import { Movie } from "./movie";

const VIEW = "movie_trends";
/** Movies of the ranking. */
const SHOWN = 50;

export function Movies({ item }: { item: string | null }): JSX.Element {
  const { catalog } = usePage();
  const view = useView(VIEW);
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, "trend_score")).slice(0, SHOWN), [view]);
  const directions = useDirections(view.windowEnd, spanMs(catalog.views.get(VIEW)?.slide ?? "") ?? 60_000);
  const chosen = useChosen(item, rows[0] ? keyOf(rows[0], "movie_title") : null);
  const most = numberOf(rows[0], "trend_score") ?? 0;
  const formula = catalog.views.get(VIEW)?.formulas.find((each) => each.name === "trend_score")?.formula;

  const table: TableRow[] = rows.map((row) => {
    const title = keyOf(row, "movie_title");
    const score = numberOf(row, "trend_score");
    // A movie that the last full window does not have has come since.
    const come: Gone = { direction: "new", by: 0 };
    const gone = directions && (directions.has(title) ? directions.get(title) : come);
    return {
      id: title,
      chosen: title === chosen,
      choose: () => {
        location.hash = hrefOf("movies", title);
      },
      cells: [
        { show: title, by: title },
        {
          show: <ShareMark share={most > 0 && score !== null ? score / most : 0} text={number(score, 1)} />,
          by: score,
        },
        { show: gone && <DirectionMark direction={gone.direction} />, by: gone?.by ?? null },
        { show: number(numberOf(row, "mentions_count")), by: numberOf(row, "mentions_count") },
        { show: <SentimentMark value={numberOf(row, "avg_sentiment")} />, by: numberOf(row, "avg_sentiment") },
        { show: number(numberOf(row, "popularity"), 1), by: numberOf(row, "popularity") },
      ],
    };
  });

  return (
    <>
      <ViewHead title="Movies" view={VIEW} />
      <div class="grid wide-left">
        <Panel title="Trending now" note={rows.length > 0 ? "direction: of the last full window" : undefined}>
          {rows.length === 0 ? (
            <NoRows view={VIEW}>No movie has a window yet.</NoRows>
          ) : (
            <Scroll label="Trending now" height={548}>
              <DataTable
                caption="Movies by trend score in the newest window"
                sortable
                columns={[
                  { name: "Movie" },
                  { name: "Score", numeric: true },
                  { name: "Trend" },
                  { name: "Mentions", numeric: true },
                  { name: "Sentiment", numeric: true },
                  { name: "Popularity", numeric: true },
                ]}
                rows={table}
              />
            </Scroll>
          )}
          {formula !== undefined && (
            <p class="formula">
              score = <code>{formula}</code>
            </p>
          )}
        </Panel>
        <div class="stack">
          {chosen !== null && <Movie key={chosen} title={chosen} view={VIEW} />}
          <Alerts
            title="Spikes"
            alert="trend_spike"
            rule="A spike is a score half as high again as in the window before."
            describe={(alert) =>
              `${number(numberOf(alert.previous ?? {}, "trend_score"), 1)} → ${number(numberOf(alert.columns, "trend_score"), 1)}, ${number(numberOf(alert.columns, "mentions_count"))} mentions`
            }
          />
        </div>
      </div>
    </>
  );
}

/** Where the score of a movie has gone, and by how much. */
interface Gone {
  direction: Direction;
  by: number;
}

/**
 * From the last full window but one to the last full one: the window that is shown is still being filled, and would be
 * below any other. Null as long as they are not known; those of the window before stay until there are newer ones.
 */
function useDirections(windowEnd: string | null, slide: number): Map<string, Gone | null> | null {
  const at = windowEnd === null ? null : timeText(Date.parse(windowEnd) - slide);
  const path =
    at === null ? null : withQuery(`/v1/views/${VIEW}/top`, { by: "trend_score", at, limit: 500, previous: "true" });
  const { data } = useFetched<TopAnswer>(path, { keep: true });
  return useMemo(
    () =>
      data &&
      new Map(
        data.rows.map((row: Row): [string, Gone | null] => {
          const [now, before] = [numberOf(row, "trend_score"), numberOf(row, "previous")];
          const by = now !== null && before !== null ? now - before : 0;
          // Without one a part of the window before cannot be read.
          const gone = row.direction === null ? null : { direction: directionOf(now, before), by };
          return [keyOf(row, "movie_title"), gone];
        }),
      ),
    [data],
  );
}
