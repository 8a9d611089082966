import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { time } from "../mock/model";
import { CUSTOMERS_NOW, STOCKS_NOW, VIEWING_NOW } from "../mock/systems";
import type { Site } from "./site";
import { sites } from "./sites";

const openSite = sites();
let site: Site;

const MINUTE = 60_000;

/** The rows of a chart's table, which is opened first. */
async function tableOf(page: Page, title: string): Promise<() => Promise<string[][]>> {
  const chart = page.getByRole("figure", { name: title });
  await chart.getByRole("button", { name: "as a table" }).click();
  await chart.locator("tbody tr").first().waitFor();
  return () =>
    chart
      .locator("tbody tr")
      .evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent ?? "")));
}

describe("a chart over time", () => {
  it("ends with the window that the view shows: those that have only begun are none of it", async () => {
    site = await openSite("#/symbols/TSLA");
    const { server, page } = site;
    const view = server.view("symbol_sentiment");
    const rows = await tableOf(page, "Mentions and volume");
    await expect.poll(async () => (await rows()).length).toBeGreaterThan(100);
    const last = view.row({ symbol: "TSLA" }, STOCKS_NOW);
    expect((await rows())[0]?.slice(0, 2)).toEqual(["2014-01-02 20:31:00", String(last?.mentions)]);
    const from = server.asked.find((path) => path.includes("/symbol_sentiment/rows")) ?? "";
    expect(from).toContain("to=2014-01-02T20%3A31%3A00.001Z");
    // The mock answers what the server does: without an end there are windows that end later, and have less in them.
    const open = (await (
      await fetch(`${server.url}/v1/views/symbol_sentiment/rows?key.symbol=TSLA&limit=20000`)
    ).json()) as {
      rows: { window_start: string }[];
    };
    expect(open.rows.at(-1)?.window_start).toBe(time(STOCKS_NOW + 4 * MINUTE));
  });

  it("keeps its span while windows move, and has what late records have changed", async () => {
    site = await openSite("#/symbols/TSLA");
    const { server, page } = site;
    await page.getByRole("button", { name: "1 h" }).click();
    const rows = await tableOf(page, "Mentions and volume");
    await expect.poll(async () => (await rows()).length).toBe(56);
    const late = STOCKS_NOW - 3 * MINUTE;
    server.view("symbol_sentiment").set({ symbol: "TSLA" }, { mentions: 7_654, volume: 1 }, late);
    server.advance("symbol_sentiment");
    await expect.poll(async () => (await rows())[0]?.[0]).toBe("2014-01-02 20:32:00");
    await expect.poll(async () => (await rows())[4]).toEqual(["2014-01-02 20:28:00", "7,654", "1"]);
    expect((await rows()).length).toBe(56);
    const asked = server.asked.filter((path) => path.includes("/symbol_sentiment/rows"));
    // All of the six hours, of the hour, and only the end of it after that.
    expect(asked.map((path) => new URLSearchParams(path.split("?")[1]).get("from")).at(-1)).toBe(
      "2014-01-02T20:24:00.000Z",
    );
  });

  it("has what came while the page was in the background", async () => {
    site = await openSite("#/customers");
    const { server, page } = site;
    const rows = await tableOf(page, "Trend");
    await expect.poll(async () => (await rows()).length).toBe(120);
    // No animation frame comes to a page that is not seen.
    await page.evaluate(() => {
      const own = window as unknown as { later: FrameRequestCallback[]; frame: typeof requestAnimationFrame };
      [own.later, own.frame] = [[], requestAnimationFrame.bind(window)];
      window.requestAnimationFrame = (run) => own.later.push(run);
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    for (let n = 0; n < 9; n += 1) server.advance("sentiment_overall");
    await page.waitForTimeout(300);
    expect((await rows())[0]?.[0]).toBe("2026-06-14 12:03:00");
    await page.evaluate(() => {
      const own = window as unknown as { later: FrameRequestCallback[]; frame: typeof requestAnimationFrame };
      window.requestAnimationFrame = own.frame;
      Object.defineProperty(document, "hidden", { value: false, configurable: true });
      for (const run of own.later) requestAnimationFrame(run);
      document.dispatchEvent(new Event("visibilitychange"));
    });
    const view = server.view("sentiment_overall");
    const expected = Array.from({ length: 12 }, (_, n) => {
      const start = CUSTOMERS_NOW + (9 - n) * MINUTE;
      return [
        time(start).replace("T", " ").replace("Z", ""),
        Number(view.row({ scope: "all" }, start)?.messages).toLocaleString("en-GB"),
      ];
    });
    await expect
      .poll(async () => (await rows()).slice(0, 12).map(([at, , messages]) => [at, messages]))
      .toEqual(expected);
    expect((await rows()).length).toBe(120);
  });

  it("goes down to zero where nothing happened", async () => {
    const silent = (server: Site["server"]): void => {
      const { parts } = server.view("stream_event_distribution");
      const { value } = parts;
      (parts as { value: unknown }).value = (key: never, start: number) =>
        start > VIEWING_NOW - 60_000 && start < VIEWING_NOW - 20_000 ? null : value(key, start);
    };
    site = await openSite("#/viewing/now", { before: silent });
    const rows = await tableOf(site.page, "Events per window of 10 s");
    await expect.poll(async () => (await rows()).length).toBe(90);
    expect((await rows()).slice(0, 7).map(([at, views]) => [at, views === "0"])).toEqual([
      ["20:41:20", false],
      ["20:41:10", false],
      ["20:41:00", false],
      ["20:40:50", true],
      ["20:40:40", true],
      ["20:40:30", true],
      ["20:40:20", false],
    ]);
  });
});
