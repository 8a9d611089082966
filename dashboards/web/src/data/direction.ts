/** Where a value has gone since the window before. */

export type Direction = "up" | "down" | "same" | "new";

/** Changes below this share of the larger value are none: floats are sums in some order. */
const SAME = 1e-9;

export function directionOf(now: number | null, before: number | null | undefined): Direction {
  if (now === null) return "same";
  if (before === null || before === undefined) return "new";
  const scale = Math.max(Math.abs(now), Math.abs(before));
  if (Math.abs(now - before) <= scale * SAME) return "same";
  return now > before ? "up" : "down";
}
