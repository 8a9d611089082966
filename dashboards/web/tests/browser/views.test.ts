import { describe, expect, it } from "vitest";
import { time } from "../mock/model";
import type { Site } from "./site";
import { sites } from "./sites";

const openSite = sites();
let site: Site;

/** Each view, and what must be read in it: the window of its own data among others. */
const VIEWS: { name: string; hash: string; reads: (string | RegExp)[]; charts: number; bars: number }[] = [
  {
    name: "movies",
    hash: "#/movies",
    reads: [
      /2024-05-06 19:55–20:00/,
      "Dune: Part Two",
      /0\.4 \* popularity/,
      "Prediction against actual",
      "All movies, v2",
      /this hour 2\.21/,
      "drift report",
      /None lately/,
    ],
    charts: 1,
    bars: 0,
  },
  {
    name: "viewing, overview",
    hash: "#/viewing",
    reads: [/2026-06-14 20:41:20–20:41:30/, "Events in batch", "Most viewed", "Views per movie"],
    charts: 2,
    bars: 1,
  },
  {
    name: "viewing, real time",
    hash: "#/viewing/now",
    reads: ["What happens now", "Events per user", "Ratings per movie", "u-4286"],
    charts: 1,
    bars: 1,
  },
  {
    name: "viewing, batch",
    hash: "#/viewing/batch",
    reads: ["Events and active users by the hour", "Ratings, one star to five", "u-1000", "1 to 50"],
    charts: 1,
    bars: 2,
  },
  {
    name: "symbols",
    hash: "#/symbols",
    reads: [/2014-01-02 20:31–20:36/, "AAPL", "$AAPL: sentiment beside price", "Latest tweets of $AAPL", /trader_/],
    charts: 2,
    bars: 0,
  },
  {
    name: "customers",
    hash: "#/customers",
    reads: [
      /2026-06-14 12:03–12:04/,
      "Where they are",
      "São Paulo",
      "Emotions",
      "Products compared",
      "Channels",
      "Trend",
      "At risk now",
      /Nimbus Mail|Harbor Pay/,
    ],
    charts: 1,
    bars: 2,
  },
  {
    name: "platform",
    hash: "#/platform",
    reads: [
      "The tideline",
      "Agreement of the layers",
      "Every difference is explained.",
      "Batch runs",
      "customer/1",
      "Readiness",
      "speed_views",
    ],
    charts: 0,
    bars: 0,
  },
];

describe.each(VIEWS)("the view $name", ({ hash, reads, charts, bars }) => {
  it("shows its data, and axe-core finds nothing in light or dark", async () => {
    site = await openSite(hash);
    await site.sees("Live", ".banner");
    for (const text of reads) await site.sees(text, "main");
    for (const canvas of await site.page.locator(".canvas canvas").all()) await canvas.waitFor();
    expect(await site.page.locator(".canvas canvas").count()).toBe(charts);
    expect(await site.page.locator(".bars[role=img] .row").count()).toBeGreaterThanOrEqual(5 * bars);
    expect(await site.page.locator(".bars").count()).toBe(bars);
    expect(await site.violations()).toEqual([]);
    await site.page.getByRole("button", { name: "Switch to dark" }).click();
    expect(await site.violations()).toEqual([]);
  });
});

describe("charts", () => {
  it("are painted, and are tables for whoever wants them", async () => {
    site = await openSite("#/symbols/TSLA");
    const { page } = site;
    const chart = page.getByRole("figure", { name: "$TSLA: sentiment beside price" });
    await chart.locator("canvas").waitFor();
    const coloured = await chart.locator("canvas").evaluate((canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? {
        data: new Uint8ClampedArray(),
      };
      const colours = new Set<number>();
      for (let at = 0; at < data.length; at += 4)
        if ((data[at + 3] ?? 0) > 200)
          colours.add(((data[at] ?? 0) << 16) | ((data[at + 1] ?? 0) << 8) | (data[at + 2] ?? 0));
      return colours.size;
    });
    expect(coloured).toBeGreaterThan(10);
    expect(await chart.getByRole("img").getAttribute("aria-label")).toMatch(
      /^Sentiment and price of TSLA in \d+ windows; the newest: sentiment [+−]\d/,
    );
    await chart.getByRole("button", { name: "as a table" }).click();
    const rows = chart.locator("tbody tr");
    expect(await rows.first().innerText()).toMatch(/^2014-01-02 20:31:00\s/);
    expect(await rows.count()).toBeGreaterThan(100);
    expect(await site.violations()).toEqual([]);
    await chart.getByRole("button", { name: "24 h" }).click();
    await site.sees(/The first 200 of 1,?\d+ rows/);
  });
});

describe("reports with many rows", () => {
  it("are shown from their end, and say of how many they are", async () => {
    const many = (server: Site["server"]): void => {
      const { batch_hourly_stats: hours, batch_ratings_stats: ratings } = server.reports;
      if (!hours || !ratings) throw new Error("no such reports");
      const first = Date.parse("2026-01-01T00:00:00Z");
      hours.rows = Array.from({ length: 2_500 }, (_, n) => ({
        hour: time(first + n * 3_600_000),
        events: n,
        active_users: n,
      }));
      // The most rated one is not among the first thousand.
      ratings.rows = Array.from({ length: 12_000 }, (_, n) => ({
        movie_id: `m-${String(n).padStart(5, "0")}`,
        ratings: n === 9_000 ? 99_999 : n % 50,
        avg_rating: 3,
      }));
    };
    site = await openSite("#/viewing/batch", { before: many });
    const { page } = site;
    await site.sees("version 6, the newest 2,000 hours", "main");
    await site.sees("the 12 most rated of the first 10,000 movies", "main");
    await site.sees(/m-09000/, "main");
    const chart = page.getByRole("figure", { name: "Events and active users by the hour" });
    await chart.getByRole("button", { name: "as a table" }).click();
    expect(await chart.locator("tbody tr").first().innerText()).toMatch(/^2026-04-15 03:00:00\s+2,499/);
    await site.sees("The first 200 of 2,000 rows", "main");
    await page.getByRole("tab", { name: "Overview" }).click();
    await site.sees("version 6, in the newest 2,000 hours", "main");
    await site.sees("from 2026-04-15 03:00", "main");
  });
});

describe("predictions", () => {
  it("say of which window they are, and each version has columns of its own", async () => {
    site = await openSite("#/movies/Civil%20War");
    const chart = site.page.getByRole("figure", { name: "Civil War" });
    await chart.getByText(/^predicted for 19:56–20:01: [\d.]+ by v1, [\d.]+ by v2; settled when that window/).waitFor();
    await chart.getByRole("button", { name: "as a table" }).click();
    expect(await chart.locator("thead th").allInnerTexts()).toEqual([
      "Window",
      "Score",
      "Predicted v1",
      "Error v1",
      "Predicted v2",
      "Error v2",
    ]);
    const cells = await chart.locator("tbody tr").nth(1).locator("td").allInnerTexts();
    expect(cells.length).toBe(6);
    expect(cells.filter((cell) => cell === "–")).toEqual([]);
    expect(cells[2]).not.toBe(cells[4]);
  });
});

describe("a trend", () => {
  it("says the values under the pointer, also of what comes in meanwhile", async () => {
    site = await openSite("#/customers");
    const { server, page } = site;
    const trend = page.getByRole("figure", { name: "Trend" });
    const picture = trend.getByRole("img");
    await trend.locator("canvas").waitFor();
    expect(await picture.getAttribute("aria-label")).toMatch(
      /^Average sentiment in \d+ windows; the newest is [+−]?\d/,
    );
    await picture.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await picture.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
    // On the axis there is nothing to be said.
    await page.mouse.move(x + 10, y + height / 2);
    expect(await trend.locator(".values").count()).toBe(0);
    await page.mouse.move(x + width - 54, y + height / 2);
    const values = trend.locator(".values");
    await values.getByText("2026-06-14 12:03:00").waitFor();
    server.change("sentiment_overall", [{ key: { scope: "all" }, columns: { avg_sentiment: -0.4, messages: 4_321 } }]);
    await expect.poll(() => values.innerText()).toMatch(/messages\s+4,321\s+average sentiment\s+−0\.400/);
    await page.mouse.move(x + 60, y + height / 2);
    await values.getByText("2026-06-14 10:0").waitFor();
    await page.mouse.move(x, y - 100);
    await expect.poll(() => values.count()).toBe(0);
  });

  it("is as wide as its place, and is painted when it is scrolled to", async () => {
    site = await openSite("#/customers");
    const { server, page } = site;
    const canvas = page.getByRole("figure", { name: "Trend" }).locator("canvas");
    await canvas.scrollIntoViewIfNeeded();
    const width = (): Promise<number> => canvas.evaluate((element: HTMLCanvasElement) => element.width);
    const wide = await width();
    await page.setViewportSize({ width: 1_200, height: 300 });
    await expect.poll(width).toBeLessThan(wide);
    expect(await canvas.evaluate((element) => element.clientWidth)).toBe(await width());
    const shown = (): Promise<string> => canvas.evaluate((element: HTMLCanvasElement) => element.toDataURL());
    await page.evaluate(() => scrollTo(0, 0));
    await page.waitForTimeout(300);
    const before = await shown();
    server.change("sentiment_overall", [{ key: { scope: "all" }, columns: { avg_sentiment: 0.9, messages: 9_000 } }]);
    await site.sees("9,000", ".gauge-panel");
    expect(await shown()).toBe(before);
    await canvas.scrollIntoViewIfNeeded();
    await expect.poll(shown).not.toBe(before);
    // Nothing has changed: it is not painted again.
    const after = await shown();
    await page.evaluate(() => {
      CanvasRenderingContext2D.prototype.clearRect = () => {
        document.title = "painted";
      };
    });
    server.change("sentiment_by_city", [{ key: { city: "London" }, columns: { messages: 5_432 } }]);
    await expect.poll(() => page.locator(".map").getAttribute("aria-label")).toContain("London 5,432");
    expect(await page.title()).not.toBe("painted");
    expect(await shown()).toBe(after);
  });
});

describe("a window on a small screen", () => {
  it.each(VIEWS)("$name is not wider than the screen", async ({ hash, reads }) => {
    site = await openSite(hash, { context: { viewport: { width: 390, height: 800 } } });
    await site.sees(reads[0] ?? "", "main");
    await site.page.waitForTimeout(150);
    const wide = await site.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(wide).toBe(0);
  });
});
