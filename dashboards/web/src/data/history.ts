/** Windows of a view over time, by key: first as fetched, then as they come in. */

import { numberOf, type Row } from "../api/types";
import type { ViewState } from "../live/store";
import { keyText } from "../live/store";
import { filled, Series, type Point } from "./series";

/** Keys of one history at most; what else there is stays out of the picture. */
const KEYS = 200;

/** How far before the newest window records may still change an older one, beside the size of a window. */
const LATE_MS = 120_000;

/**
 * From where on windows are asked for again. Those that ended before the newest one that was asked for have come in for
 * good, late records aside; after it all may be missing: a page in the background sees none.
 */
export function tailFrom(known: { end: number; fetchedEnd: number; sizeMs: number; spanMs: number }): number {
  const { end, fetchedEnd, sizeMs, spanMs } = known;
  return Math.max(end - spanMs, Math.min(fetchedEnd, end) - 2 * sizeMs - LATE_MS);
}

export interface HistoryOptions {
  columns: readonly string[];
  /** Points of a key at most. */
  limit: number;
  /** Only this key, as {@link keyText} writes it. */
  only?: string | null;
  /** The distance of two windows; without it none is filled in. */
  slideMs?: number | null;
  /** Columns that are 0 in a window without a row, as counts are. */
  counts?: readonly string[];
}

export class History {
  readonly #series = new Map<string, Series>();
  readonly #filled = new Map<string, { version: number; points: readonly Point[] }>();
  #version = 0;
  /** The newest window that was asked for, and whether all of what was asked for was answered. */
  #through = -Infinity;
  #isWhole = true;

  constructor(private readonly options: HistoryOptions) {}

  get version(): number {
    return this.#version;
  }

  get keys(): string[] {
    return [...this.#series.keys()];
  }

  /** The windows of a key in order, also those that it has no row of. */
  points(key: string): readonly Point[] {
    const points = this.#series.get(key)?.points ?? [];
    const { slideMs = null, columns, counts = [], limit } = this.options;
    if (slideMs === null) return points;
    const known = this.#filled.get(key);
    if (known?.version === this.#version) return known.points;
    // Where a layer cannot be read, a window without a row is not one without a record.
    const filling = { slideMs, counts: this.#isWhole ? counts : [], through: this.#through, limit };
    const all = filled(points, columns, filling);
    this.#filled.set(key, { version: this.#version, points: all });
    return all;
  }

  /** Up to the window that begins at `start` all rows were asked for; `isWhole`: none of them is missing. */
  fetched(start: number, isWhole: boolean): void {
    this.#through = Math.max(this.#through, start);
    this.#isWhole = isWhole;
    this.#version += 1;
  }

  /** Drops windows that begin before `from`. */
  keepFrom(from: number): void {
    for (const [key, series] of this.#series) {
      if (!series.drop(from)) continue;
      this.#version += 1;
      if (series.points.length > 0) continue;
      this.#series.delete(key);
      this.#filled.delete(key);
    }
  }

  /** Takes a row in whose window begins at `start`. */
  put(row: Row, start: string | null): void {
    const at = start === null ? NaN : Date.parse(start);
    const key = keyText(row.key);
    const { columns, limit, only = null } = this.options;
    if (Number.isNaN(at) || (only !== null && key !== only)) return;
    let series = this.#series.get(key);
    if (!series) {
      if (this.#series.size >= KEYS) return;
      series = new Series(limit);
      this.#series.set(key, series);
    }
    const values = Object.fromEntries(columns.map((column) => [column, numberOf(row, column)]));
    series.put({ at, values });
    this.#version += 1;
  }

  putAll(rows: readonly Row[]): void {
    for (const row of rows) this.put(row, typeof row.window_start === "string" ? row.window_start : null);
  }

  putLive(view: ViewState): void {
    for (const row of view.rows.values()) this.put(row, view.windowStart);
  }
}

/** All times of some series, in order, each once. */
export function timesOf(series: readonly (readonly Point[])[]): number[] {
  const times = new Set<number>();
  for (const points of series) for (const point of points) times.add(point.at);
  return [...times].sort((a, b) => a - b);
}
