/** Windows of a view over time, by key: first as fetched, then as they come in. */

import { numberOf, type Row } from "../api/types";
import type { ViewState } from "../live/store";
import { keyText } from "../live/store";
import { Series, type Point } from "./series";

/** Keys of one history at most; what else there is stays out of the picture. */
const KEYS = 200;

export class History {
  readonly #series = new Map<string, Series>();
  #version = 0;

  constructor(
    private readonly columns: readonly string[],
    private readonly limit: number,
    /** Only this key, as {@link keyText} writes it. */
    private readonly only: string | null = null,
  ) {}

  get version(): number {
    return this.#version;
  }

  get keys(): string[] {
    return [...this.#series.keys()];
  }

  points(key: string): readonly Point[] {
    return this.#series.get(key)?.points ?? [];
  }

  /** Takes a row in whose window begins at `start`. */
  put(row: Row, start: string | null): void {
    const at = start === null ? NaN : Date.parse(start);
    const key = keyText(row.key);
    if (Number.isNaN(at) || (this.only !== null && key !== this.only)) return;
    let series = this.#series.get(key);
    if (!series) {
      if (this.#series.size >= KEYS) return;
      series = new Series(this.limit);
      this.#series.set(key, series);
    }
    const values = Object.fromEntries(this.columns.map((column) => [column, numberOf(row, column)]));
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
