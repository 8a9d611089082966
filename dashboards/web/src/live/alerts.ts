/** Alerts that fired, over all views: those that the server remembers, and what comes in; each once, the newest first. */

import type { AlertRecord } from "./frames";

/** Alerts of each name that are kept to be shown: one that fires often does not push the others out. */
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
    const kept = new Map<string, number>();
    this.#alerts = [...added, ...this.#alerts].sort(newestFirst).filter(({ alert }) => {
      const before = kept.get(alert) ?? 0;
      kept.set(alert, before + 1);
      return before < ALERTS_KEPT;
    });
    this.#version += 1;
    return true;
  }
}
