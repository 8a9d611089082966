/** Spans as definitions and queries write them: `10s`, `5m`, `1h30m`. */

const UNITS: Record<string, number> = {
  us: 0.001,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  y: 365 * 86_400_000,
};

/** Milliseconds of a span; null when it is none. */
export function spanMs(text: string): number | null {
  const parts = [...text.matchAll(/(\d+)(us|ms|s|m|h|d|w|y)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text) return null;
  return parts.reduce((sum, part) => sum + Number(part[1]) * (UNITS[part[2] ?? ""] ?? 0), 0);
}

/** A span for a query, of whole seconds. */
export function spanText(ms: number): string {
  return `${Math.max(1, Math.round(ms / 1_000))}s`;
}

/** RFC 3339 of a time in milliseconds. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
