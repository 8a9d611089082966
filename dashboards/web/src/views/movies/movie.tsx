/** One movie: its score over time, and beside it what was predicted. */

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { withQuery } from "../../api/client";
import { keyOf, numberOf, type Json, type LookupAnswer } from "../../api/types";
import { timeOption } from "../../charts/time";
import { clock, count, moment, number, signed, span } from "../../format";
import { keyText } from "../../live/store";
import { Chart } from "../../ui/chart";
import { usePage } from "../../ui/context";
import { useFetched, useHistory, useHub, useView, type Fetched } from "../../ui/hooks";
import { Fact, Facts, FromBefore, Panel } from "../../ui/panel";
import { SpanChoice, USUAL_SPAN_MS } from "../../ui/spans";
import { DriftReport } from "./drift";
import { learnersOf, predictionsOf, settlingMs, waitingOf, type Learner, type Prediction } from "./predictions";

export function Movie({ title, view }: { title: string; view: string }): JSX.Element {
  const { catalog } = usePage();
  const [spanMs, setSpan] = useState(USUAL_SPAN_MS);
  const key = useMemo(() => ({ movie_title: title }), [title]);
  const { history, version, tideline, loaded, failed } = useHistory({
    view,
    key,
    columns: ["trend_score", "mentions_count"],
    counts: ["mentions_count"],
    spanMs,
  });
  const points = history.points(keyText(key));
  const { windows, windowEnd } = useView(view);
  const lookup = catalog.lookups.get("predictions");
  // Two records of each window and version: one when it is predicted, one when it is settled.
  const limit = Math.min(lookup?.limit ?? 0, Math.ceil((4 * spanMs) / 60_000) + 8);
  const path = lookup ? withQuery("/v1/lookups/predictions", { key: title, limit }) : null;
  const lookedUp = useFetched<LookupAnswer>(path, { everyMs: 15_000, tick: windows });
  const predictions = useMemo(() => predictionsOf(lookedUp.data?.rows ?? []), [lookedUp.data]);
  const versions = useMemo(() => [...new Set(predictions.map((each) => each.model))].sort(), [predictions]);
  const from = points[0]?.at ?? -Infinity;
  const note = waitingNote(predictions, windowEnd === null ? null : Date.parse(windowEnd));

  return (
    <>
      <Chart
        title={title}
        note={note}
        summary={`Trend score of ${title} over time: ${points.length} windows, the newest ${number(points.at(-1)?.values.trend_score, 1)}; ${predictions.length} predictions beside them.`}
        height={262}
        actions={<SpanChoice chosen={spanMs} choose={setSpan} />}
        inputs={[version, tideline, predictions, spanMs]}
        empty={points.length > 0 ? null : (failed ?? (loaded ? "This movie has no window in this time." : "Loading…"))}
        option={(palette) =>
          timeOption(palette, {
            tideline,
            axes: [{ name: "" }],
            series: [
              {
                name: "score",
                kind: "area",
                colour: palette.batch,
                digits: 1,
                points: points.map((point) => [point.at, point.values.trend_score ?? null] as const),
              },
              ...versions.map((model, at) => ({
                name: versions.length === 1 ? "predicted" : `predicted by ${model}`,
                kind: "dashed" as const,
                colour: at === 0 ? palette.speed : (palette.series[2 + at] ?? palette.speed),
                digits: 1,
                points: predictions
                  .filter((each) => each.model === model && each.at >= from)
                  .map((each) => [each.at, each.predicted] as const),
              })),
            ],
          })
        }
        table={() => {
          // Each version has predicted the same windows.
          const predicted = versions.map(
            (model) => new Map(predictions.filter((each) => each.model === model).map((each) => [each.at, each])),
          );
          const all = [...points, ...predictions].map(({ at }) => at);
          const times = [...new Set(all)].sort((a, b) => b - a);
          const name = (what: string, model: string | undefined): string =>
            versions.length > 1 ? `${what} ${model}` : what;
          const scores = new Map(points.map((point) => [point.at, point.values.trend_score ?? null]));
          return {
            columns: [
              { name: "Window" },
              { name: "Score", numeric: true },
              ...versions.flatMap((model) => [
                { name: name("Predicted", model), numeric: true },
                { name: name("Error", model), numeric: true },
              ]),
            ],
            rows: times.map((at) => ({
              id: `${at}`,
              cells: [
                moment(at),
                number(scores.get(at), 1),
                ...predicted.flatMap((of) => [number(of.get(at)?.predicted, 1), signed(of.get(at)?.error, 1)]),
              ],
            })),
          };
        }}
      />
      <Models predictions={predictions} view={view} lookup={lookup !== undefined} fetched={lookedUp} />
    </>
  );
}

/** What is predicted of which window, and when that will be settled: it may well be over already. */
function waitingNote(predictions: readonly Prediction[], now: number | null): string | undefined {
  const waiting = waitingOf(predictions);
  const [first] = waiting;
  if (!first) return undefined;
  const values = waiting.map(
    ({ predicted, model }) => number(predicted, 1) + (waiting.length > 1 ? ` by ${model}` : ""),
  );
  const after = settlingMs(predictions, now);
  const settled = after !== null && after > 0 ? `, about ${span(after)} after its end` : "";
  return `predicted for ${clock(first.at)}–${clock(first.end)}: ${values.join(", ")}; settled when that window closes${settled}`;
}

/** How good the predictions are: of each version over all movies, and of this movie. */
function Models({
  predictions,
  view,
  lookup,
  fetched,
}: {
  predictions: Prediction[];
  view: string;
  lookup: boolean;
  fetched: Fetched<LookupAnswer>;
}): JSX.Element {
  const live = useHub((hub) => hub.state.kind);
  const models = useFetched<Json>(!lookup || live === "down" ? null : "/v1/predictions", { everyMs: 15_000 });
  const { data, failed } = models;
  const learners: Learner[] = useMemo(() => learnersOf(data, view), [data, view]);
  const quality = useView("prediction_quality");
  const hour = useMemo(
    () =>
      new Map(
        [...quality.rows.values()].map((row) => [keyOf(row, "model_version"), numberOf(row, "mean_absolute_error")]),
      ),
    [quality],
  );
  const settled = predictions.filter((each) => each.error !== null);
  const versions = [...new Set(settled.map((each) => each.model))].sort();
  const drift = learners.find((learner) => learner.hasDrift);
  return (
    <Panel title="Prediction against actual" note={drift ? <DriftReport prediction={drift.name} /> : undefined}>
      {!lookup ? (
        <p class="nothing">This server makes no predictions: its definition has none.</p>
      ) : (
        <>
          <FromBefore fetched={models} />
          <Facts>
            {versions.map((version) => (
              <Fact key={version} name={`Mean error here, ${version}`} value={number(meanError(settled, version), 2)} />
            ))}
            {learners.flatMap((learner) =>
              learner.models.map((model) => (
                <Fact
                  key={`${learner.name} ${model.version}`}
                  name={`All movies, ${model.version}`}
                  value={number(model.mae, 2)}
                  note={[
                    `RMSE ${number(model.rmse, 2)}`,
                    ...(model.r2 === null ? [] : [`R² ${number(model.r2, 3)}`]),
                    ...(hour.has(model.version) ? [`this hour ${number(hour.get(model.version), 2)}`] : []),
                    `${count(model.evaluated)} settled`,
                  ].join(" · ")}
                />
              )),
            )}
          </Facts>
          {learners.map(
            (learner) =>
              learner.refused !== null && (
                <p key={learner.name} class="note warning">
                  {learner.refused}
                </p>
              ),
          )}
          {learners.length === 0 && failed !== null && failed.status !== 404 && <p class="note">{failed.message}</p>}
          <FromBefore fetched={fetched} />
          {fetched.data === null ? (
            <p class="nothing">{fetched.failed?.message ?? "Loading…"}</p>
          ) : settled.length === 0 ? (
            <p class="nothing">No prediction for this movie has been settled yet.</p>
          ) : (
            <Recent settled={settled} />
          )}
        </>
      )}
    </Panel>
  );
}

/** How far off a version is on average. */
function meanError(settled: readonly Prediction[], version: string): number | null {
  const errors = settled.filter((each) => each.model === version).map((each) => Math.abs(each.error ?? 0));
  return errors.length === 0 ? null : errors.reduce((sum, error) => sum + error, 0) / errors.length;
}

function Recent({ settled }: { settled: Prediction[] }): JSX.Element {
  return (
    <div class="scroll" style={{ maxHeight: "170px" }} tabIndex={0} role="group" aria-label="Settled predictions">
      <table>
        <caption class="unseen">Newest settled predictions of this movie</caption>
        <thead>
          <tr>
            <th scope="col">Window</th>
            <th scope="col" class="numeric">
              Actual
            </th>
            <th scope="col" class="numeric">
              Predicted
            </th>
            <th scope="col" class="numeric">
              Error
            </th>
            <th scope="col">Model</th>
          </tr>
        </thead>
        <tbody>
          {settled
            .slice(-8)
            .reverse()
            .map((each) => (
              <tr key={`${each.at} ${each.model}`}>
                <td>{moment(each.at)}</td>
                <td class="numeric">{number(each.actual, 1)}</td>
                <td class="numeric">{number(each.predicted, 1)}</td>
                <td class="numeric">{signed(each.error, 1)}</td>
                <td>{each.model}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </div>
  );
}
