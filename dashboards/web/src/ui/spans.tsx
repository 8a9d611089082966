/** How far back a chart looks. */

import type { JSX } from "preact";

const HOUR_MS = 3_600_000;

export const SPANS = [
  { name: "1 h", ms: HOUR_MS },
  { name: "6 h", ms: 6 * HOUR_MS },
  { name: "24 h", ms: 24 * HOUR_MS },
] as const;

/** The one that a chart begins with. */
export const USUAL_SPAN_MS: number = SPANS[1].ms;

export function SpanChoice({ chosen, choose }: { chosen: number; choose(ms: number): void }): JSX.Element {
  return (
    <span class="choice" role="group" aria-label="How far back">
      {SPANS.map((span) => (
        <button
          key={span.name}
          type="button"
          class="quiet"
          aria-pressed={span.ms === chosen}
          onClick={() => choose(span.ms)}
        >
          {span.name}
        </button>
      ))}
    </span>
  );
}
