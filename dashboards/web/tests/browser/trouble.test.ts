import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { launch } from "./chromium";
import { Site } from "./site";

let browser: Browser;
let site: Site | undefined;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

afterEach(async () => {
  const errors = site?.errors ?? [];
  await site?.close();
  site = undefined;
  expect(errors, "the console").toEqual([]);
});

describe("a server that goes away", () => {
  it("is said to be down, with what was there still to be seen, and is found again", async () => {
    site = await Site.open(browser, "#/movies");
    const { server, page } = site;
    await site.sees("Dune: Part Two", "main");
    await server.stop();
    await site.sees(/The server does not answer since \d\d:\d\d:\d\d UTC/, ".outage");
    await site.sees(/Trying again/, ".outage");
    await site.sees("No connection", ".banner");
    await site.sees("Dune: Part Two", "main");
    expect(await site.violations()).toEqual([]);
    server.advance("movie_trends");
    await server.start();
    await page
      .getByRole("button", { name: "Try now" })
      .click({ timeout: 3_000 })
      .catch(() => undefined);
    await site.sees("Live", ".banner");
    expect(await page.locator(".outage").count()).toBe(0);
    await site.sees(/19:56–20:01/, ".view-head");
  });

  it("and comes back soon is not said to be down", async () => {
    site = await Site.open(browser, "#/symbols");
    const { server, page } = site;
    await site.sees("Live", ".banner");
    await page.evaluate(() => {
      const seen: string[] = [];
      (window as unknown as { seen: string[] }).seen = seen;
      new MutationObserver(() => {
        if (document.querySelector(".outage")) seen.push("outage");
      }).observe(document.body, { childList: true, subtree: true });
    });
    await server.stop();
    await server.start();
    await expect.poll(() => server.clients).toBe(1);
    await site.sees("Live", ".banner");
    expect(await page.evaluate(() => (window as unknown as { seen: string[] }).seen)).toEqual([]);
  });

  it("before it has said what it has is asked again by itself", async () => {
    site = await Site.open(browser, "#/movies", { before: (server) => void server.failing.add("/v1/views") });
    await site.sees("The server does not answer", "main");
    expect(await site.violations()).toEqual([]);
    site.server.failing.clear();
    await site.sees("Dune: Part Two", "main");
  });
});

describe("without a socket", () => {
  it("the page fetches, and takes the socket when there is one", async () => {
    site = await Site.open(browser, "#/movies", { before: (server) => void (server.socketRefused = true) });
    const { server } = site;
    await site.sees("Fetching every 2 s", ".banner");
    await site.sees("Dune: Part Two", "main");
    server.change("movie_trends", [{ key: { movie_title: "Perfect Days" }, columns: { trend_score: 999.9 } }]);
    await site.sees("999.9", "main");
    server.socketRefused = false;
    await site.sees("Live", ".banner");
    expect(server.clients).toBe(1);
  });
});

describe("what is not there is said", () => {
  it.each([
    ["#/movies", "trendscope", "movie_trends"],
    ["#/viewing", "movie-viewing", "stream_event_distribution"],
    ["#/customers", "customer-sentiment", "sentiment_overall"],
  ])("%s of a pipeline that is not deployed", async (hash, pipeline, view) => {
    site = await Site.open(browser, hash, { pipelines: ["stock-sentiment"] });
    await site.sees(`schema/pipelines/${pipeline}.toml`, "main");
    await site.sees(view, "main");
    expect(await site.violations()).toEqual([]);
    // The connection stands, and the others work.
    await site.sees("Live", ".banner");
    await site.page.getByRole("link", { name: "Symbols", exact: true }).click();
    await site.sees("AAPL", "main");
  });

  it("a report that no run has published", async () => {
    site = await Site.open(browser, "#/viewing/batch", { published: false });
    await site.sees("No batch run has published it yet. Start one in Platform.", "main");
    expect(await site.page.locator("canvas").count()).toBe(0);
    expect(await site.violations()).toEqual([]);
  });

  it("a store that cannot be read, with a way to ask again", async () => {
    site = await Site.open(browser, "#/symbols/TSLA", {
      before: (server) => void server.failing.add("/v1/lookups/tweets"),
    });
    await site.sees("a store cannot be read now", "main");
    site.server.failing.clear();
    await site.page.getByRole("button", { name: "Try again" }).click();
    await site.sees(/trader_/, "main");
  });

  it("a view without a single window", async () => {
    const silent = (server: Site["server"]): void => {
      for (const view of server.views.values()) (view.parts as { value: unknown }).value = () => null;
    };
    site = await Site.open(browser, "#/customers", { before: silent });
    await site.sees("No message in the newest window.", "main");
    await site.sees("No message of the newest window names a city.", "main");
    await site.sees("Nobody in the newest window.", "main");
    expect(await site.violations()).toEqual([]);
  });
});
