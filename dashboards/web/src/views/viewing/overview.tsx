/** Both layers in one picture: the newest window beside all of history. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { keyOf, numberOf, textOf } from "../../api/types";
import { count, moment, number } from "../../format";
import { sortedRows, useView } from "../../ui/hooks";
import { Fact, Facts } from "../../ui/panel";
import { Hours, HOURS, Popular } from "./batch";
import { Events } from "./events";
import { Ranking } from "./realtime";
import { reportState, useReportEnd } from "./reports";

export function Overview(): JSX.Element {
  const events = useView("stream_event_distribution");
  const movies = useView("stream_movie_views");
  const ratings = useView("stream_ratings");
  const now = useMemo(
    // Before the first window it is not known, and not 0.
    () =>
      events.version === 0
        ? null
        : [...events.rows.values()].reduce((sum, row) => sum + (numberOf(row, "events") ?? 0), 0),
    [events],
  );
  const first = useMemo(() => sortedRows(movies, (row) => numberOf(row, "views"))[0], [movies]);
  const rated = useMemo(() => {
    const rows = [...ratings.rows.values()];
    const sum = rows.reduce((total, row) => total + (numberOf(row, "ratings") ?? 0), 0);
    const stars = rows.reduce(
      (total, row) => total + (numberOf(row, "ratings") ?? 0) * (numberOf(row, "avg_rating") ?? 0),
      0,
    );
    return { sum, average: sum > 0 ? stars / sum : null };
  }, [ratings]);
  const report = useReportEnd("batch_hourly_stats", HOURS);
  const hours = report.data;
  const total = hours?.rows.reduce((sum, row) => sum + (numberOf(row, "events") ?? 0), 0) ?? null;
  const last = hours?.rows.at(-1);
  return (
    <>
      <Facts>
        <Fact name="Events, this window" value={number(now)} tone="speed" />
        <Fact
          name="Most viewed now"
          value={first ? keyOf(first, "movie_id") : "–"}
          note={first ? `${number(numberOf(first, "views"))} views` : undefined}
          tone="speed"
        />
        <Fact
          name="Average rating now"
          value={number(rated.average, 2)}
          note={`${number(ratings.version === 0 ? null : rated.sum)} ratings`}
          tone="speed"
        />
        <Fact
          name="Events in batch"
          value={count(total)}
          note={
            hours
              ? `version ${hours.provenance.manifest.version}${report.isCut ? `, in the newest ${number(hours.rows.length)} hours` : ""}`
              : (reportState(report) ?? "")
          }
          tone="batch"
        />
        <Fact
          name="Active users, newest hour"
          value={number(numberOf(last, "active_users"))}
          note={last ? `from ${moment(textOf(last, "hour")).slice(0, 16)}` : undefined}
          tone="batch"
        />
      </Facts>
      <div class="grid wide-left">
        <Events height={230} />
        <Ranking
          title="Views per movie"
          view="stream_movie_views"
          name="movie_id"
          head="Movie"
          column="views"
          height={232}
        />
      </div>
      <div class="grid wide-left">
        <Hours height={230} />
        <Popular height={230} shown={8} />
      </div>
    </>
  );
}
