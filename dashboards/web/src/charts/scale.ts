/** The scale of bars: round numbers from zero to beyond the longest. */

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

/** A scale that has zero and all of the values on it. */
export function scaleOf(values: readonly number[]): Scale {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const step = roundStep((high - low) / PARTS);
  // In whole steps: sums of 0.1 are none.
  const [first, last] = [Math.floor(low / step + 1e-9), Math.max(1, Math.ceil(high / step - 1e-9))];
  const end = high === 0 && low < 0 ? 0 : last;
  return {
    from: first * step,
    to: end * step,
    ticks: Array.from({ length: end - first + 1 }, (_, n) => (first + n) * step),
    digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)),
  };
}

function roundStep(size: number): number {
  if (!(size > 0) || !Number.isFinite(size)) return 1;
  const unit = 10 ** Math.floor(Math.log10(size));
  const share = size / unit;
  return unit * (share < 1.5 ? 1 : share < 2.5 ? 2 : share < 4 ? 3 : share < 7 ? 5 : 10);
}
