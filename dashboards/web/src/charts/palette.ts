/** Colours of the current theme, as the style sheet has them: charts are drawn with the same. */

export interface Palette {
  ink: string;
  quiet: string;
  line: string;
  panel: string;
  batch: string;
  speed: string;
  positive: string;
  neutral: string;
  negative: string;
  series: string[];
}

export const EMOTIONS = ["joy", "surprise", "neutral", "sadness", "fear", "disgust", "anger"] as const;

/** The same as a style sheet says them, for what it paints by itself. */
export const SERIES_COLOURS = [1, 2, 3, 4, 5, 6].map((n) => `var(--series-${n})`);

export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim() || "#888888";
  return {
    ink: colour("ink"),
    quiet: colour("quiet"),
    line: colour("line"),
    panel: colour("panel"),
    batch: colour("batch"),
    speed: colour("speed"),
    positive: colour("positive"),
    neutral: colour("neutral"),
    negative: colour("negative"),
    series: [1, 2, 3, 4, 5, 6].map((n) => colour(`series-${n}`)),
  };
}
