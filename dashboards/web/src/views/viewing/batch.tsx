/** What the batch layer has computed over all of history. */

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { numberOf, textOf } from "../../api/types";
import { timeOption } from "../../charts/time";
import { moment, number } from "../../format";
import { BarChart } from "../../ui/bars";
import { Chart } from "../../ui/chart";
import { FromBefore, Nothing, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";
import { reportNote, reportState, useReport, useReportEnd } from "./reports";

const MOVIES = 12;
/** Hours of the chart at most: 83 days. */
export const HOURS = 2_000;
/** Movies at most of which the most rated are looked for, and how often: they are many. */
const RATED = 10_000;
const RATED_EVERY_MS = 60_000;
const USERS_PER_PAGE = 50;
const STARS = ["rating_1", "rating_2", "rating_3", "rating_4", "rating_5"] as const;
const STAR_COLOURS = ["negative", "series-6", "neutral", "series-1", "positive"].map((name) => `var(--${name})`);

export function Batch(): JSX.Element {
  return (
    <>
      <div class="grid wide-left">
        <Hours />
        <Popular />
      </div>
      <div class="grid halves">
        <RatingStats />
        <Users />
      </div>
    </>
  );
}

/** Events and people by the hour. */
export function Hours({ height = 270 }: { height?: number }): JSX.Element {
  const report = useReportEnd("batch_hourly_stats", HOURS);
  const rows = (report.data?.rows ?? []).slice(-HOURS);
  const points = (column: string) =>
    rows.map((row) => [Date.parse(textOf(row, "hour")), numberOf(row, column)] as const);
  return (
    <Chart
      title="Events and active users by the hour"
      note={reportNote(
        report,
        `version ${report.data?.provenance.manifest.version ?? ""}${report.isCut ? `, the newest ${number(rows.length)} hours` : ""}`,
      )}
      summary={`Events and active users in ${rows.length} hours.`}
      height={height}
      inputs={[report.data]}
      empty={reportState(report)}
      option={(palette) =>
        timeOption(palette, {
          axes: [{ name: "events" }, { name: "users" }],
          series: [
            {
              name: "events",
              kind: "bar",
              colour: palette.series[0] ?? palette.batch,
              points: points("events"),
              axis: 0,
            },
            {
              name: "active users",
              kind: "line",
              colour: palette.series[1] ?? palette.speed,
              points: points("active_users"),
              axis: 1,
            },
          ],
        })
      }
      table={() => ({
        columns: [{ name: "Hour" }, { name: "Events", numeric: true }, { name: "Active users", numeric: true }],
        rows: [...rows].reverse().map((row) => ({
          id: textOf(row, "hour"),
          cells: [moment(textOf(row, "hour")), number(numberOf(row, "events")), number(numberOf(row, "active_users"))],
        })),
      })}
    />
  );
}

/** The ranking by views over all of history. */
export function Popular({ height = 270, shown = MOVIES }: { height?: number; shown?: number }): JSX.Element {
  const report = useReport("batch_popular_movies", shown);
  const rows = report.data?.rows ?? [];
  return (
    <BarChart
      title="Most viewed"
      note={reportNote(report, "all of history")}
      summary={`The ${rows.length} movies with most views; the first is ${textOf(rows[0], "movie_id")}.`}
      height={height}
      empty={reportState(report)}
      names={rows.map((row) => textOf(row, "movie_id"))}
      series={[
        { name: "views", values: rows.map((row) => numberOf(row, "views")), colours: "var(--series-1)" },
        { name: "viewers", values: rows.map((row) => numberOf(row, "viewers")), colours: "var(--series-2)" },
      ]}
      table={() => ({
        columns: [
          { name: "Rank", numeric: true },
          { name: "Movie" },
          { name: "Views", numeric: true },
          { name: "Viewers", numeric: true },
        ],
        rows: rows.map((row) => ({
          id: textOf(row, "movie_id"),
          cells: [
            number(numberOf(row, "rank")),
            textOf(row, "movie_id"),
            number(numberOf(row, "views")),
            number(numberOf(row, "viewers")),
          ],
        })),
      })}
    />
  );
}

function RatingStats(): JSX.Element {
  const report = useReport("batch_ratings_stats", RATED, 0, RATED_EVERY_MS);
  const all = useMemo(
    () => [...(report.data?.rows ?? [])].sort((a, b) => (numberOf(b, "ratings") ?? 0) - (numberOf(a, "ratings") ?? 0)),
    [report.data],
  );
  const rows = all.slice(0, MOVIES);
  return (
    <BarChart
      title="Ratings, one star to five"
      note={reportNote(
        report,
        `the ${rows.length} most rated${report.data?.cursor ? ` of the first ${number(all.length)} movies` : ""}`,
      )}
      summary={`How many ratings of each number of stars ${rows.length} movies have.`}
      height={340}
      empty={reportState(report)}
      names={rows.map((row) => `${textOf(row, "movie_id")}  ${number(numberOf(row, "avg_rating"), 2)}`)}
      stacked
      series={STARS.map((column, at) => ({
        name: `${at + 1} ★`,
        values: rows.map((row) => numberOf(row, column)),
        colours: STAR_COLOURS[at] ?? "var(--quiet)",
      }))}
      table={() => ({
        columns: [
          { name: "Movie" },
          { name: "Ratings", numeric: true },
          { name: "Average", numeric: true },
          ...STARS.map((_, at) => ({ name: `${at + 1} ★`, numeric: true })),
        ],
        rows: all.map((row) => ({
          id: textOf(row, "movie_id"),
          cells: [
            textOf(row, "movie_id"),
            number(numberOf(row, "ratings")),
            number(numberOf(row, "avg_rating"), 2),
            ...STARS.map((column) => number(numberOf(row, column))),
          ],
        })),
      })}
    />
  );
}

function Users(): JSX.Element {
  const [page, setPage] = useState(0);
  const report = useReport("batch_user_stats", USERS_PER_PAGE, page * USERS_PER_PAGE);
  const rows = report.data?.rows ?? [];
  const state = reportState(report);
  const actions = (
    <>
      <button type="button" class="quiet" disabled={page === 0} onClick={() => setPage(page - 1)}>
        Before
      </button>
      <button type="button" class="quiet" disabled={!report.data?.cursor} onClick={() => setPage(page + 1)}>
        Next
      </button>
    </>
  );
  return (
    <Panel
      title="Users"
      note={rows.length > 0 ? `${page * USERS_PER_PAGE + 1} to ${page * USERS_PER_PAGE + rows.length}` : undefined}
      actions={actions}
    >
      {state !== null ? (
        <Nothing>{state}</Nothing>
      ) : (
        <Scroll label="Users" height={340}>
          <FromBefore fetched={report} />
          <DataTable
            caption="What each user has watched"
            sortable
            columns={[
              { name: "User" },
              { name: "Events", numeric: true },
              { name: "Movies", numeric: true },
              { name: "Average duration", numeric: true },
            ]}
            rows={rows.map((row) => ({
              id: textOf(row, "user_id"),
              cells: [
                textOf(row, "user_id"),
                { show: number(numberOf(row, "total_events")), by: numberOf(row, "total_events") },
                { show: number(numberOf(row, "movies_watched")), by: numberOf(row, "movies_watched") },
                { show: `${number(numberOf(row, "avg_duration"), 0)} s`, by: numberOf(row, "avg_duration") },
              ],
            }))}
          />
        </Scroll>
      )}
    </Panel>
  );
}
