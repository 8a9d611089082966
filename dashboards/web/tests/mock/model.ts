/** A view as the mock keeps it: windows follow from a function, and what a test has said of the newest ones. */

import type { Field, Json, Row, ViewInfo } from "../../src/api/types";
import { spanMs } from "../../src/data/spans";
import { keyText } from "../../src/live/store";

export type Columns = Record<string, Json>;

export interface ViewModelParts {
  pipeline: string;
  name: string;
  key: Field[];
  columns: Field[];
  window: string;
  slide: string;
  top: string[];
  formulas?: { name: string; formula: string }[];
  keys: Columns[];
  /** Start of the newest window. */
  newest: number;
  value(key: Columns, start: number): Columns | null;
}

export class ViewModel {
  readonly sizeMs: number;
  readonly slideMs: number;
  newest: number;
  /** Rows that a test has set, by window and key. */
  readonly #set = new Map<string, Row>();
  readonly #usual: ReadonlySet<string>;

  constructor(readonly parts: ViewModelParts) {
    this.sizeMs = spanMs(parts.window) ?? 0;
    this.slideMs = spanMs(parts.slide) ?? 0;
    this.newest = parts.newest;
    this.#usual = new Set(parts.keys.map(keyText));
  }

  get name(): string {
    return this.parts.name;
  }

  info(): ViewInfo & Record<string, Json> {
    const { name, key, columns, window, slide, top, formulas = [] } = this.parts;
    return {
      name,
      key: key.map((field) => ({ ...field })),
      columns: columns.map((field) => ({ ...field })),
      window,
      slide,
      pane: slide,
      measures: [],
      formulas,
      top,
      tables: [],
      sources: [],
      retain_speed: null,
      retain_batch: null,
      version: "1",
    };
  }

  set(key: Columns, columns: Columns, start = this.newest): Row {
    const row: Row = { key, window_start: time(start), window_end: time(start + this.sizeMs), ...columns };
    this.#set.set(`${start} ${keyText(key)}`, row);
    return row;
  }

  row(key: Columns, start: number): Row | null {
    const known = this.#set.get(`${start} ${keyText(key)}`);
    if (known) return known;
    // What only a test has spoken of is in the windows that it spoke of, and in no other.
    if (!this.#usual.has(keyText(key))) return null;
    const columns = this.parts.value(key, start);
    return columns && { key, window_start: time(start), window_end: time(start + this.sizeMs), ...columns };
  }

  keys(): Columns[] {
    const own = [...this.#set.values()].map((row) => row.key);
    const all = new Map([...this.parts.keys, ...own].map((key) => [keyText(key), key]));
    return [...all.values()];
  }

  /** Rows of one window, the largest of the first ranking column first. */
  window(start = this.newest, by = this.parts.top[0] ?? ""): Row[] {
    const rows = this.keys()
      .map((key) => this.row(key, start))
      .filter((row) => row !== null);
    return rows.sort((a, b) => Number(b[by] ?? -Infinity) - Number(a[by] ?? -Infinity));
  }

  /** Windows that have at least one pane with data: also those that end after the newest one, and have only begun. */
  rows(from: number, to: number, key: Columns | null): Row[] {
    const last = this.newest + this.sizeMs - this.slideMs;
    const first = Math.ceil(Math.max(from, this.newest - 86_400_000) / this.slideMs) * this.slideMs;
    const rows: Row[] = [];
    for (const each of this.keys()) {
      if (key && keyText(each) !== keyText(key)) continue;
      for (let start = first; start <= last && start < to; start += this.slideMs) {
        const row = this.row(each, start);
        if (row) rows.push(start > this.newest ? this.#begun(row, start) : row);
      }
    }
    return rows;
  }

  /** A window that has only begun: so much of its numbers as its panes with data are of it. */
  #begun(row: Row, start: number): Row {
    const share = 1 - (start - this.newest) / this.sizeMs;
    const columns = Object.entries(row).map(([name, value]) => [
      name,
      typeof value === "number" ? value * share : value,
    ]);
    return { ...(Object.fromEntries(columns) as Columns), key: row.key };
  }

  advance(): void {
    this.newest += this.slideMs;
  }
}

export function time(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
