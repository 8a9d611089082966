/** Frames of `/v1/live`, read and checked: what is not one of these is reported and not trusted. */

import type { Json, Row } from "../api/types";

export interface ViewFrame {
  window_start: string | null;
  window_end: string | null;
  rows: Row[];
  freshness_ms: number | null;
  partial: boolean;
}

export interface AlertRecord {
  id: string;
  alert: string;
  view: string;
  on: string;
  key: Record<string, Json>;
  window_start: string;
  window_end: string;
  columns: Record<string, Json>;
  previous: Record<string, Json> | null;
  fired_at: string;
}

export type Frame =
  | { event: "metrics"; initial: boolean; views: Record<string, ViewFrame> }
  | { event: "messages"; output: string; messages: Record<string, Json>[]; skipped: number }
  | { event: "alert"; alert: AlertRecord }
  /** `view`: what cannot be read, where the server says so. */
  | { event: "problem"; title: string; detail: string; view: string | null }
  /** How old the newest record of each view is, told every few seconds: without data, too. */
  | { event: "heartbeat"; freshness: Record<string, number | null> }
  /** Alerts have fired that were not sent: whoever wants them has to ask. */
  | { event: "alerts-missed" }
  | { event: "other"; name: string };

type Fields = Record<string, Json>;

function isFields(value: Json | undefined): value is Fields {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function text(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

function timeOrNull(value: Json | undefined): string | null {
  return typeof value === "string" && !Number.isNaN(Date.parse(value)) ? value : null;
}

/** Rows of a view; what has no key is none. */
export function rowsOf(value: Json | undefined): Row[] {
  if (!Array.isArray(value)) return [];
  return value.filter((row): row is Row => isFields(row) && isFields(row.key));
}

function viewOf(value: Json | undefined): ViewFrame | null {
  if (!isFields(value)) return null;
  return {
    window_start: timeOrNull(value.window_start),
    window_end: timeOrNull(value.window_end),
    rows: rowsOf(value.rows),
    freshness_ms: typeof value.freshness_ms === "number" ? value.freshness_ms : null,
    partial: value.partial === true,
  };
}

function alertOf(data: Fields): AlertRecord | null {
  const id = text(data.id);
  if (id === "") return null;
  return {
    id,
    alert: text(data.alert),
    view: text(data.view),
    on: text(data.on),
    key: isFields(data.key) ? data.key : {},
    window_start: text(data.window_start),
    window_end: text(data.window_end),
    columns: isFields(data.columns) ? data.columns : {},
    previous: isFields(data.previous) ? data.previous : null,
    fired_at: text(data.fired_at),
  };
}

/** Alerts of a list; what is none is left out. */
export function alertsOf(value: Json | undefined): AlertRecord[] {
  const records = Array.isArray(value) ? value.filter(isFields) : [];
  return records.map(alertOf).filter((alert) => alert !== null);
}

/** Reads a frame; null when it is none. */
export function frameOf(message: unknown): Frame | null {
  if (typeof message !== "string") return null;
  let frame: Json;
  try {
    frame = JSON.parse(message) as Json;
  } catch {
    return null;
  }
  if (!isFields(frame) || typeof frame.event !== "string" || !isFields(frame.data)) return null;
  const { event, data } = frame;
  if (event === "metrics:initial" || event === "metrics:update") {
    if (!isFields(data.views)) return null;
    const views: Record<string, ViewFrame> = {};
    for (const [name, value] of Object.entries(data.views)) {
      const view = viewOf(value);
      if (view) views[name] = view;
    }
    return { event: "metrics", initial: event === "metrics:initial", views };
  }
  if (event === "message:new") {
    const messages = Array.isArray(data.messages) ? data.messages.filter(isFields) : [];
    const skipped = typeof data.skipped === "number" ? data.skipped : 0;
    return { event: "messages", output: text(data.output), messages, skipped };
  }
  if (event === "heartbeat") {
    const freshness: Record<string, number | null> = {};
    for (const [name, value] of Object.entries(isFields(data.views) ? data.views : {}))
      if (isFields(value)) freshness[name] = typeof value.freshness_ms === "number" ? value.freshness_ms : null;
    return { event: "heartbeat", freshness };
  }
  if (event === "alerts:missed") return { event: "alerts-missed" };
  if (event.startsWith("alert:")) {
    const alert = alertOf(data);
    return alert && { event: "alert", alert };
  }
  if (event === "problem") {
    const view = typeof data.view === "string" ? data.view : null;
    return { event: "problem", title: text(data.title), detail: text(data.detail), view };
  }
  return { event: "other", name: event };
}
