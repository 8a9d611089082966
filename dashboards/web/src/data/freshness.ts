/** How old the newest record of a view is: as the server said last, and since then. */

import type { Freshness } from "../live/store";

/** A view is asked about when nothing has come into it for so long, or for two of its windows. */
const STALE_MS = 60_000;

export function ageOf({ ms, at }: Freshness, now: number): number {
  return ms + Math.max(0, now - at);
}

/** Whether a view has had nothing new for so long that what it shows is not of now. */
export function isStale(ageMs: number, slideMs: number | null): boolean {
  return ageMs > Math.max(STALE_MS, 2 * (slideMs ?? 0));
}
