/** What the page knows of the newest windows: frames are folded in at once, so nothing ever queues. */

import type { Json, Row } from "../api/types";
import type { AlertRecord, Frame, ViewFrame } from "./frames";

export interface ViewState {
  windowStart: string | null;
  windowEnd: string | null;
  rows: ReadonlyMap<string, Row>;
  freshnessMs: number | null;
  partial: boolean;
  /** Grows with each change of this view. */
  version: number;
  /** Counts the windows that were replaced by another. */
  windows: number;
}

export interface Message {
  /** Its place in the order of arrival. */
  sequence: number;
  record: Record<string, Json>;
}

/** Messages that are kept to be shown. */
export const MESSAGES_KEPT = 60;

export const NO_VIEW: ViewState = {
  windowStart: null,
  windowEnd: null,
  rows: new Map(),
  freshnessMs: null,
  partial: false,
  version: 0,
  windows: 0,
};

/** A key as one text. */
export function keyText(key: Record<string, Json>): string {
  return JSON.stringify(Object.values(key));
}

export class LiveStore {
  readonly #views = new Map<string, ViewState>();
  readonly #messages = new Map<string, Message[]>();
  #skipped = 0;
  #sequence = 0;
  #problem: string | null = null;
  /** Grows whenever everything was sent anew: histories then have a gap. */
  #generation = 0;

  get generation(): number {
    return this.#generation;
  }

  /** What the server last said it could not do. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Messages that came faster than they are shown. */
  get skipped(): number {
    return this.#skipped;
  }

  view(name: string): ViewState {
    return this.#views.get(name) ?? NO_VIEW;
  }

  /** Newest first. */
  messages(output: string): readonly Message[] {
    return this.#messages.get(output) ?? [];
  }

  /** Takes a frame in; answers the alert it was, if it was one. */
  apply(frame: Frame): AlertRecord | null {
    switch (frame.event) {
      case "metrics":
        if (frame.initial) this.#generation += 1;
        this.#problem = null;
        for (const [name, view] of Object.entries(frame.views)) this.#put(name, view, frame.initial);
        return null;
      case "messages":
        this.#skipped += frame.skipped;
        this.#add(frame.output, frame.messages);
        return null;
      case "alert":
        return frame.alert;
      case "problem":
        this.#problem = frame.detail || frame.title;
        return null;
      case "other":
        return null;
    }
  }

  #put(name: string, frame: ViewFrame, initial: boolean): void {
    const before = this.view(name);
    // A window that another has taken the place of begins empty: its rows are all in this frame.
    const anew = initial || frame.window_start !== before.windowStart;
    const rows = new Map(anew ? [] : before.rows);
    for (const row of frame.rows) rows.set(keyText(row.key), row);
    this.#views.set(name, {
      windowStart: frame.window_start,
      windowEnd: frame.window_end,
      rows,
      freshnessMs: frame.freshness_ms,
      partial: frame.partial,
      version: before.version + 1,
      windows: before.windows + (frame.window_start === before.windowStart ? 0 : 1),
    });
  }

  #add(output: string, records: Record<string, Json>[]): void {
    const added = records.map((record) => ({ sequence: (this.#sequence += 1), record }));
    this.#messages.set(output, [...added.reverse(), ...this.messages(output)].slice(0, MESSAGES_KEPT));
  }
}
