/** Small pictures within a line of text. Each has its value as text beside it, or as its name. */

import type { JSX } from "preact";
import type { Direction } from "../data/direction";
import { sentimentName, signed } from "../format";

const DIRECTIONS: Record<Direction, { sign: string; name: string }> = {
  up: { sign: "▲", name: "up" },
  down: { sign: "▼", name: "down" },
  same: { sign: "–", name: "unchanged" },
  new: { sign: "+", name: "new" },
};

export function DirectionMark({ direction }: { direction: Direction }): JSX.Element {
  const { sign, name } = DIRECTIONS[direction];
  return (
    <span class={`direction ${direction}`}>
      <span aria-hidden="true">{sign}</span>
      <span class="unseen">{name}</span>
    </span>
  );
}

/** A sentiment from −1 to 1: a bar from the middle, and the number. */
export function SentimentMark({ value }: { value: number | null }): JSX.Element {
  const size = value === null ? 0 : Math.min(1, Math.abs(value)) * 50;
  const left = value !== null && value < 0 ? 50 - size : 50;
  return (
    <span class={`sentiment ${sentimentName(value)}`}>
      <span class="track" aria-hidden="true">
        <span class="bar" style={{ left: `${left}%`, width: `${size}%` }} />
      </span>
      <span class="value">{signed(value)}</span>
    </span>
  );
}

/** A share of the largest: a bar behind a number. */
export function ShareMark({ share, text }: { share: number; text: string }): JSX.Element {
  return (
    <span class="share">
      <span class="bar" aria-hidden="true" style={{ width: `${Math.round(Math.min(1, Math.max(0, share)) * 100)}%` }} />
      <span class="value">{text}</span>
    </span>
  );
}

/** Parts of a whole, side by side. */
export function PartsMark({
  parts,
  label,
}: {
  parts: { name: string; value: number; tone: string }[];
  label: string;
}): JSX.Element {
  const sum = parts.reduce((total, part) => total + part.value, 0);
  return (
    <span class="parts" role="img" aria-label={label}>
      {sum > 0 &&
        parts.map((part) => (
          <span key={part.name} class={part.tone} style={{ width: `${(part.value / sum) * 100}%` }} />
        ))}
    </span>
  );
}
