/** The newest window of ten seconds, as it fills. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { keyOf, numberOf } from "../../api/types";
import { SERIES_COLOURS } from "../../charts/palette";
import { label, number } from "../../format";
import { BarChart } from "../../ui/bars";
import { sortedRows, useEmpty, useView } from "../../ui/hooks";
import { ShareMark } from "../../ui/marks";
import { NoRows, Panel, Scroll } from "../../ui/panel";
import { DataTable, type Column } from "../../ui/table";
import { Events, EVENT_TYPES } from "./events";

export function RealTime(): JSX.Element {
  return (
    <>
      <div class="grid wide-left">
        <Events />
        <Distribution />
      </div>
      <div class="grid thirds">
        <Ranking title="Views per movie" view="stream_movie_views" name="movie_id" head="Movie" column="views" />
        <Ranking title="Events per user" view="stream_user_activity" name="user_id" head="User" column="events" />
        <Ratings />
      </div>
    </>
  );
}

export function Distribution({ height = 250 }: { height?: number }): JSX.Element {
  const view = useView("stream_event_distribution");
  const empty = useEmpty("stream_event_distribution", "No events in the newest window.");
  const counts = useMemo(
    () => new Map([...view.rows.values()].map((row) => [keyOf(row, "event_type"), numberOf(row, "events") ?? 0])),
    [view],
  );
  const types = [
    ...EVENT_TYPES,
    ...[...counts.keys()].filter((type) => !(EVENT_TYPES as readonly string[]).includes(type)),
  ];
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return (
    <BarChart
      title="What happens now"
      note={total > 0 ? `${number(total)} events in this window` : undefined}
      summary={`Events of the newest window: ${types.map((type) => `${type} ${counts.get(type) ?? 0}`).join(", ")}.`}
      height={height}
      empty={total > 0 ? null : empty}
      names={types.map(label)}
      series={[{ name: "events", values: types.map((type) => counts.get(type) ?? 0), colours: SERIES_COLOURS }]}
      table={() => ({
        columns: [{ name: "Kind" }, { name: "Events", numeric: true }],
        rows: types.map((type) => ({ id: type, cells: [label(type), number(counts.get(type) ?? 0)] })),
      })}
    />
  );
}

interface RankingProps {
  title: string;
  view: string;
  /** The key column, and what it is called. */
  name: string;
  head: string;
  column: string;
  height?: number;
}

/** The keys of the newest window with the most of something. */
export function Ranking({ title, view: name, name: keyName, head, column, height = 300 }: RankingProps): JSX.Element {
  const view = useView(name);
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, column)), [view, column]);
  const most = numberOf(rows[0], column) ?? 0;
  return (
    <Panel title={title} note="this window">
      {rows.length === 0 ? (
        <NoRows view={name}>Nothing in the newest window.</NoRows>
      ) : (
        <Scroll label={title} height={height}>
          <DataTable
            caption={`${title} in the newest window`}
            sortable
            columns={[{ name: head }, { name: label(column), numeric: true }]}
            rows={rows.map((row) => {
              const value = numberOf(row, column);
              return {
                id: keyOf(row, keyName),
                cells: [
                  keyOf(row, keyName),
                  { show: <ShareMark share={(value ?? 0) / (most || 1)} text={number(value)} />, by: value },
                ],
              };
            })}
          />
        </Scroll>
      )}
    </Panel>
  );
}

function Ratings(): JSX.Element {
  const view = useView("stream_ratings");
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, "ratings")), [view]);
  const columns: Column[] = [{ name: "Movie" }, { name: "Ratings", numeric: true }, { name: "Average", numeric: true }];
  return (
    <Panel title="Ratings per movie" note="this window">
      {rows.length === 0 ? (
        <NoRows view="stream_ratings">Nobody has rated in the newest window.</NoRows>
      ) : (
        <Scroll label="Ratings per movie" height={300}>
          <DataTable
            caption="Ratings per movie in the newest window"
            sortable
            columns={columns}
            rows={rows.map((row) => ({
              id: keyOf(row, "movie_id"),
              cells: [
                keyOf(row, "movie_id"),
                { show: number(numberOf(row, "ratings")), by: numberOf(row, "ratings") },
                { show: number(numberOf(row, "avg_rating"), 2), by: numberOf(row, "avg_rating") },
              ],
            }))}
          />
        </Scroll>
      )}
    </Panel>
  );
}
