/** The colour of a sentiment on a scale from negative over neutral to positive. */

/** From here on the colour is full: averages of many texts lie close to zero, at 0.15 as a rule. */
const FULL = 0.25;

/** How much of the end's colour is mixed in, 0 to 1, and which end. */
export function sentimentShade(value: number): { end: "positive" | "negative"; share: number } {
  const share = Math.min(1, Math.abs(value) / FULL);
  return { end: value < 0 ? "negative" : "positive", share };
}

/** As a style sheet says it. */
export function sentimentColour(value: number | null): string {
  if (value === null) return "var(--neutral)";
  const { end, share } = sentimentShade(value);
  return `color-mix(in oklab, var(--${end}) ${Math.round(share * 100)}%, var(--neutral))`;
}
