/** Predictions as the lookup has them: one per window and model, the settled one where it is settled. */

import { numberOf, textOf, type Json } from "../../api/types";

export interface Prediction {
  /** Start of the window that was predicted, in milliseconds. */
  at: number;
  /** Its end. */
  end: number;
  predicted: number | null;
  /** Null as long as the window is not over. */
  actual: number | null;
  error: number | null;
  model: string;
}

/** In the order of time. A window is predicted first and settled later: two rows, of which the settled one counts. */
export function predictionsOf(rows: readonly Record<string, Json>[]): Prediction[] {
  const found = new Map<string, Prediction>();
  for (const row of rows) {
    const at = Date.parse(textOf(row, "timestamp") || textOf(row, "event_time"));
    if (Number.isNaN(at)) continue;
    const prediction: Prediction = {
      at,
      end: Date.parse(textOf(row, "window_end")),
      predicted: numberOf(row, "predicted_trend_score"),
      actual: numberOf(row, "actual_trend_score"),
      error: numberOf(row, "prediction_error"),
      model: textOf(row, "model_version"),
    };
    const identity = `${at} ${prediction.model}`;
    const known = found.get(identity);
    if (!known || known.actual === null) found.set(identity, prediction);
  }
  return [...found.values()].sort((a, b) => a.at - b.at || a.model.localeCompare(b.model));
}

/** What waits to be settled: the predictions of the newest window that has none that are. */
export function waitingOf(predictions: readonly Prediction[]): Prediction[] {
  const newest = predictions.at(-1);
  if (!newest) return [];
  const of = predictions.filter(({ at }) => at === newest.at);
  return of.every(({ actual }) => actual === null) ? of : [];
}

/** How long after its end a window is settled, in the time of the data; null as long as none is. */
export function settlingMs(predictions: readonly Prediction[], now: number | null): number | null {
  const last = predictions.findLast(({ actual }) => actual !== null);
  return last === undefined || now === null || Number.isNaN(last.end) ? null : Math.max(0, now - last.end);
}

export interface Model {
  version: string;
  mae: number | null;
  rmse: number | null;
  r2: number | null;
  /** Predictions that have been settled. */
  evaluated: number | null;
}

export interface Learner {
  name: string;
  models: Model[];
  /** Whether there is a drift report. */
  hasDrift: boolean;
  /** Why nothing is predicted. */
  refused: string | null;
}

type Fields = Record<string, Json>;

function fieldsOf(value: Json | undefined): Fields {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

function listOf(value: Json | undefined): Fields[] {
  return Array.isArray(value) ? value.map(fieldsOf) : [];
}

/** What `/v1/predictions` says of the predictions over a view. */
export function learnersOf(answer: Json, view: string): Learner[] {
  const all = listOf(fieldsOf(answer).predictions).filter((each) => textOf(each, "view") === view);
  return all.map((each) => {
    const partitions = listOf(each.partitions);
    const refused = partitions.map((partition) => textOf(partition, "refused")).find((why) => why !== "");
    return {
      name: textOf(each, "name"),
      models: listOf(each.models).map((model) => ({
        version: textOf(model, "version"),
        mae: numberOf(model, "mae"),
        rmse: numberOf(model, "rmse"),
        r2: numberOf(model, "r2"),
        evaluated: numberOf(model, "evaluated"),
      })),
      hasDrift: partitions.some((partition) => Array.isArray(partition.drift) && partition.drift.length > 0),
      refused: refused ?? null,
    };
  });
}
