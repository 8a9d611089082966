/** How long it takes from a frame's arrival until its picture is on the screen. */

/** Measurements that are remembered. */
const KEPT = 512;

export interface PaintSummary {
  count: number;
  lastMs: number | null;
  medianMs: number | null;
  p95Ms: number | null;
  mostMs: number | null;
}

export class PaintTimes {
  #times: number[] = [];
  #count = 0;

  add(ms: number): void {
    this.#times.push(ms);
    this.#count += 1;
    if (this.#times.length > KEPT) this.#times.splice(0, this.#times.length - KEPT);
  }

  get recent(): readonly number[] {
    return this.#times;
  }

  summary(): PaintSummary {
    const sorted = [...this.#times].sort((a, b) => a - b);
    const quantile = (q: number): number | null =>
      sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? null;
    return {
      count: this.#count,
      lastMs: this.#times.at(-1) ?? null,
      medianMs: quantile(0.5),
      p95Ms: quantile(0.95),
      mostMs: sorted.at(-1) ?? null,
    };
  }
}

/** The measurements of this page. */
export const paints = new PaintTimes();

/** The name of the measure that a profiler, or a test, sees. */
export const MEASURE = "tideline:live";

/**
 * Called in the animation frame that painted what arrived at `arrivedAt`, figures and charts: the measure ends when the
 * frame has been handed over, which is before a message posted in it comes back.
 */
export function measurePaint(arrivedAt: number): void {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    const now = performance.now();
    paints.add(now - arrivedAt);
    performance.measure(MEASURE, { start: arrivedAt, end: now });
    // Observers have it; the timeline would grow for ever.
    performance.clearMeasures(MEASURE);
  };
  port2.postMessage(null);
}
