/** Updates of the Customers view that change all of it at once, and what they cost. */

import type { CDPSession, Page } from "playwright-core";
import type { MockServer } from "../mock/server";
import type { Site } from "./site";

/** Longer than three frames: no update waits for the one before. */
const PAUSE_MS = 60;

/** How long a measure of what has been painted is waited for. */
const TOLD_MS = 5_000;

export interface Round {
  /** How long each picture took from the arrival of what it shows, in milliseconds, the shortest first. */
  times: number[];
  /** The same of those alone that have the chart painted anew. */
  chartTimes: number[];
  /** Charts that were painted, but not within the time of a picture. */
  lateCharts: number;
  /** Time of the processor that the page took for each update, in milliseconds: the same, however long others make it wait. */
  work: number;
}

/** Kept in the page. */
interface Watch {
  updates: { start: number; end: number }[];
  charts: number[];
}

export class Updates {
  private constructor(
    private readonly server: MockServer,
    private readonly page: Page,
    private readonly devtools: CDPSession,
  ) {}

  /** Watches a page that has the Customers view open. */
  static async watch({ server, page }: Site): Promise<Updates> {
    await page.evaluate(() => {
      const watch: Watch = { updates: [], charts: [] };
      (window as unknown as { watch: Watch }).watch = watch;
      new PerformanceObserver((list) => {
        for (const { startTime, duration } of list.getEntriesByName("tideline:live"))
          watch.updates.push({ start: startTime, end: startTime + duration });
      }).observe({ entryTypes: ["measure"] });
      // Each picture on a canvas begins with an empty one.
      const drawing = CanvasRenderingContext2D.prototype;
      const { clearRect } = drawing;
      drawing.clearRect = function (...area) {
        watch.charts.push(performance.now());
        clearRect.apply(this, area);
      };
    });
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
    return new Updates(server, page, devtools);
  }

  async round(count: number): Promise<Round> {
    await this.#seen();
    const before = await this.#worked();
    for (let n = 0; n < count; n += 1) {
      const columns = { avg_sentiment: Math.sin(n), messages: 900 + n, emotions: { joy: n, anger: count - n } };
      this.server.change("sentiment_overall", [{ key: { scope: "all" }, columns }]);
      this.server.change("sentiment_by_city", [
        { key: { city: "London" }, columns: { messages: n + 1, avg_sentiment: Math.cos(n) } },
      ]);
      this.server.change("sentiment_by_product", [
        { key: { product: "Harbor Pay" }, columns: { avg_sentiment: Math.sin(n) } },
      ]);
      this.server.say(2);
      await this.page.waitForTimeout(PAUSE_MS);
    }
    const work = ((await this.#worked()) - before) / count;
    const { updates, charts } = await this.#seen();
    const has = (update: Watch["updates"][number], at: number): boolean => at >= update.start && at <= update.end;
    const timesOf = (some: Watch["updates"]): number[] =>
      some.map(({ start, end }) => end - start).sort((a, b) => a - b);
    return {
      times: timesOf(updates),
      chartTimes: timesOf(updates.filter((update) => charts.some((at) => has(update, at)))),
      lateCharts: charts.filter((at) => !updates.some((update) => has(update, at))).length,
      work,
    };
  }

  /** What was seen since the last time. */
  async #seen(): Promise<Watch> {
    return this.page.evaluate(async (waitMs) => {
      const { watch } = window as unknown as { watch: Watch };
      // A measure is told after the picture that it is of.
      const until = performance.now() + waitMs;
      while ((watch.charts.at(-1) ?? 0) > (watch.updates.at(-1)?.end ?? 0) && performance.now() < until)
        await new Promise((resolve) => setTimeout(resolve, 20));
      return { updates: watch.updates.splice(0), charts: watch.charts.splice(0) };
    }, TOLD_MS);
  }

  async #worked(): Promise<number> {
    const { metrics } = await this.devtools.send("Performance.getMetrics");
    return 1_000 * (metrics.find(({ name }) => name === "TaskDuration")?.value ?? NaN);
  }
}
