/** Movies: which are trending now, whether they go up or down, and what was predicted of them. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { keyOf, numberOf, type Row, type TopAnswer } from "../../api/types";
import { withQuery } from "../../api/client";
import { spanMs, timeText } from "../../data/spans";
import { directionOf } from "../../data/direction";
import { number } from "../../format";
import { hrefOf } from "../../route";
import { Alerts } from "../../ui/alerts";
import { usePage } from "../../ui/context";
import { ViewHead } from "../../ui/head";
import { sortedRows, useFetched, useView } from "../../ui/hooks";
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
  const before = useBefore(view.windowEnd, spanMs(catalog.views.get(VIEW)?.slide ?? "") ?? 60_000);
  const chosen = item ?? (rows[0] ? keyOf(rows[0], "movie_title") : null);
  const most = numberOf(rows[0], "trend_score") ?? 0;
  const formula = catalog.views.get(VIEW)?.formulas.find((each) => each.name === "trend_score")?.formula;

  const table: TableRow[] = rows.map((row) => {
    const title = keyOf(row, "movie_title");
    const score = numberOf(row, "trend_score");
    const was = before.get(title);
    const direction = directionOf(score, before.size === 0 ? score : was);
    const gone = score !== null && was !== null && was !== undefined ? score - was : 0;
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
        { show: <DirectionMark direction={direction} />, by: gone },
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
        <Panel title="Trending now" note={rows.length > 0 ? "against the window before" : undefined}>
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

/** The scores of the window that began one slide before the newest: what alerts compare with, too. */
function useBefore(windowEnd: string | null, slide: number): Map<string, number | null> {
  const at = windowEnd === null ? null : timeText(Date.parse(windowEnd) - slide);
  const path = at === null ? null : withQuery(`/v1/views/${VIEW}/top`, { by: "trend_score", at, limit: 500 });
  const { data } = useFetched<TopAnswer>(path);
  return useMemo(
    () => new Map((data?.rows ?? []).map((row: Row) => [keyOf(row, "movie_title"), numberOf(row, "trend_score")])),
    [data],
  );
}
