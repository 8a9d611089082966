/** What the page knows of the newest windows: frames are folded in at once, so nothing ever queues. */

import type { Json, Row } from "../api/types";
import type { AlertRecord, Frame, ViewFrame } from "./frames";

export interface ViewState {
  windowStart: string | null;
  windowEnd: string | null;
  rows: ReadonlyMap<string, Row>;
  partial: boolean;
  /** Grows with each change of this view; 0 as long as nothing has been told of it. */
  version: number;
  /** Counts the windows that were replaced by another. */
  windows: number;
}

/** How old the newest record of a view was, and when that was told, in milliseconds of the page's clock. */
export interface Freshness {
  ms: number;
  at: number;
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
  readonly #freshness = new Map<string, Freshness>();
  /** What cannot be read, by view; of no view in particular under an empty name. */
  readonly #problems = new Map<string, string>();
  #missed = 0;
  /** Grows whenever everything was sent anew: histories then have a gap. */
  #generation = 0;

  get generation(): number {
    return this.#generation;
  }

  /** What the server says that it cannot do. */
  get problem(): string | null {
    const all = [...new Set(this.#problems.values())];
    return all.length === 0 ? null : all.join(" ");
  }

  /** Why a view cannot be read. */
  problemOf(view: string): string | null {
    // A server that does not say of which view it speaks may speak of one that nothing is known of.
    const unnamed = this.view(view).version === 0 ? this.#problems.get("") : undefined;
    return this.#problems.get(view) ?? unnamed ?? null;
  }

  /** Null as long as nothing is known. */
  freshness(view: string): Freshness | null {
    return this.#freshness.get(view) ?? null;
  }

  /** Counts how often alerts have fired that were not sent. */
  get missed(): number {
    return this.#missed;
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

  /** Takes a frame in that arrived at `now`; answers the alert it was, if it was one. */
  apply(frame: Frame, now: number): AlertRecord | null {
    switch (frame.event) {
      case "metrics":
        if (frame.initial) {
          this.#generation += 1;
          this.#problems.clear();
        }
        this.#problems.delete("");
        for (const [name, view] of Object.entries(frame.views)) {
          // A view that cannot be read is told once: what comes of others does not mean that it can.
          this.#problems.delete(name);
          this.#fresh(name, view.freshness_ms, now);
          this.#put(name, view, frame.initial);
        }
        return null;
      case "heartbeat":
        for (const [name, ms] of Object.entries(frame.freshness)) this.#fresh(name, ms, now);
        return null;
      case "messages":
        this.#skipped += frame.skipped;
        this.#add(frame.output, frame.messages);
        return null;
      case "alert":
        return frame.alert;
      case "alerts-missed":
        this.#missed += 1;
        return null;
      case "problem":
        this.#problems.set(frame.view ?? "", frame.detail || frame.title);
        return null;
      case "other":
        return null;
    }
  }

  #fresh(name: string, ms: number | null, at: number): void {
    if (ms === null) this.#freshness.delete(name);
    else this.#freshness.set(name, { ms, at });
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
