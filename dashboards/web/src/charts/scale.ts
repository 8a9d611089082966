/** A scale of values: round numbers from below the lowest to above the highest. */

export interface Scale {
  from: number;
  to: number;
  /** Round numbers from one end to the other. */
  ticks: number[];
  /** Decimals that the ticks need. */
  digits: number;
}

/** How many parts a scale has, about. */
const PARTS = 3;

/** A scale that has all of the values on it, and zero unless it may be elsewhere. */
export function scaleOf(values: readonly number[], { parts = PARTS, hasZero = true } = {}): Scale {
  const all = hasZero || values.length === 0 ? [0, ...values] : values;
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const step = roundStep((high - low) / parts);
  // In whole steps: sums of 0.1 are none.
  const first = Math.floor(low / step + 1e-9);
  const last = first + Math.max(1, Math.ceil(high / step - 1e-9) - first);
  return {
    from: first * step,
    to: last * step,
    ticks: Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step),
    digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)),
  };
}

function roundStep(size: number): number {
  if (!(size > 0) || !Number.isFinite(size)) return 1;
  const unit = 10 ** Math.floor(Math.log10(size));
  const share = size / unit;
  return unit * (share < 1.5 ? 1 : share < 2.5 ? 2 : share < 4 ? 3 : share < 7 ? 5 : 10);
}
