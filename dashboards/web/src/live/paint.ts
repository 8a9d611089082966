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

/** The measurements of this page: of figures, and of charts. */
export const paints = new PaintTimes();
export const chartPaints = new PaintTimes();

/** The names of the measures that a profiler, or a test, sees. */
export const MEASURE = "tideline:live";
export const CHART_MEASURE = "tideline:chart";

/**
 * Called in the animation frame that painted what arrived at `arrivedAt`: the measure ends when the frame has been handed
 * over, which is before a message posted in it comes back.
 */
export function measurePaint(arrivedAt: number): void {
  measure(MEASURE, paints, arrivedAt);
}

/** The same for charts, in the frame that painted them. */
export function measureChart(arrivedAt: number): void {
  measure(CHART_MEASURE, chartPaints, arrivedAt);
}

function measure(name: string, times: PaintTimes, arrivedAt: number): void {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    const now = performance.now();
    times.add(now - arrivedAt);
    performance.measure(name, { start: arrivedAt, end: now });
    // Observers have it; the timeline would grow for ever.
    performance.clearMeasures(name);
  };
  port2.postMessage(null);
}
