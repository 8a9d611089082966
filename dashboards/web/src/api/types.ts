/** What the HTTP API answers (docs/api.md), as far as the page reads it. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** A row of a view: its key, its window, and one field per column. */
export interface Row {
  key: Record<string, Json>;
  [column: string]: Json;
}

export interface Field {
  name: string;
  type: string;
}

export interface ViewInfo {
  name: string;
  key: Field[];
  columns: Field[];
  window: string;
  slide: string;
  pane: string;
  formulas: { name: string; formula: string }[];
  top: string[];
}

export interface ReportInfo {
  name: string;
  columns: Field[] | null;
  rows: number | null;
}

export interface LookupInfo {
  name: string;
  key: Field[];
  limit: number;
}

export interface Provenance {
  through: string | null;
  freshness_ms: number | null;
  missing: { layer: string; reason: string }[];
}

export interface RowsAnswer {
  view: string;
  rows: Row[];
  cursor: string | null;
  provenance: Provenance;
}

export interface TopAnswer {
  view: string;
  by: string;
  window_start: string | null;
  window_end: string | null;
  rows: Row[];
  provenance: Provenance;
}

export interface LookupAnswer {
  lookup: string;
  rows: Record<string, Json>[];
}

export interface ReportAnswer {
  report: string;
  columns: Field[];
  rows: Record<string, Json>[];
  cursor: string | null;
  provenance: { manifest: { version: number; run: string; published_at: string } };
}

export type RunState = "queued" | "running" | "succeeded" | "failed";

export interface Run {
  id: string;
  state: RunState;
  started_at: string;
  finished_at: string | null;
  report: Json;
  error: string | null;
}

export interface ShardStatus {
  source: string;
  partition: number;
  position: number;
  lag: number | null;
  records: number;
  rejected: number;
  duplicates: number;
  late: number;
  highest_event_time: string | null;
  last_appended: string | null;
}

export interface ViewAgreement {
  through: string | null;
  /** Why it was not compared. The status leaves it out, as it does the reasons of differences below. */
  skipped?: string | null;
  compared: number;
  equal: number;
  /** The sum of all reasons, which only the status has. */
  explained?: number;
  late?: number;
  expired?: number;
  duplicate?: number;
  not_yet?: number;
  unexplained: number;
}

export interface Agreement {
  version: number;
  at: string;
  unexplained: number;
  views: Record<string, ViewAgreement>;
}

export interface Status {
  pipeline: string;
  version: string;
  now: string;
  shards: ShardStatus[] | null;
  manifest: { version: number; run: string; published_at: string } | null;
  views: Record<string, { through: string | null; newest_pane: string | null }>;
  rankings: Record<string, { ready: boolean; because: string | null; keys: number; bytes: number }>;
  process: { agreement?: Agreement | null; connectors?: Json[] | null };
}

export interface Readiness {
  ready: boolean;
  checks: { name: string; ok: boolean; detail: string | null; since: string | null; needed: boolean }[];
}

/** A problem document (RFC 9457). */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  detail: string;
}

/** A column of a row as a number; null where it is absent or none. */
export function numberOf(row: Record<string, Json> | undefined, column: string): number | null {
  const value = row?.[column];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** A column of a row as text; empty where it is absent. */
export function textOf(row: Record<string, Json> | undefined, column: string): string {
  const value = row?.[column];
  return typeof value === "string" ? value : typeof value === "number" || typeof value === "boolean" ? `${value}` : "";
}

/** A column that maps names to counts. */
export function countsOf(row: Record<string, Json> | undefined, column: string): Record<string, number> {
  const value = row?.[column];
  const counts: Record<string, number> = {};
  if (value === null || typeof value !== "object" || Array.isArray(value)) return counts;
  for (const [name, count] of Object.entries(value)) if (typeof count === "number") counts[name] = count;
  return counts;
}

/** The value of a key column as text. */
export function keyOf(row: Row, column: string): string {
  return textOf(row.key, column);
}
