/** Alerts that fired, over all views: those that the server remembers, and what comes in; each once, the newest first. */

import type { AlertRecord } from "./frames";

/** Alerts that are kept to be shown. */
export const ALERTS_KEPT = 100;

export class AlertLog {
  #alerts: AlertRecord[] = [];
  #version = 0;

  get version(): number {
    return this.#version;
  }

  get all(): readonly AlertRecord[] {
    return this.#alerts;
  }

  of(name: string): AlertRecord[] {
    return this.#alerts.filter((alert) => alert.alert === name);
  }

  /** Answers whether it was new. */
  add(alert: AlertRecord): boolean {
    return this.addAll([alert]);
  }

  /** Answers whether one of them was new. */
  addAll(alerts: readonly AlertRecord[]): boolean {
    const known = new Set(this.#alerts.map((alert) => alert.id));
    const added = alerts.filter((alert) => !known.has(alert.id));
    if (added.length === 0) return false;
    const newestFirst = (a: AlertRecord, b: AlertRecord): number => b.fired_at.localeCompare(a.fired_at);
    this.#alerts = [...added, ...this.#alerts].sort(newestFirst).slice(0, ALERTS_KEPT);
    this.#version += 1;
    return true;
  }
}
