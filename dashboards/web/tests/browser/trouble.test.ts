import { describe, expect, it } from "vitest";
import type { Site } from "./site";
import { sites } from "./sites";

const openSite = sites();
let site: Site;

describe("a server that goes away", () => {
  it("is said to be down, with what was there still to be seen, and is found again", async () => {
    site = await openSite("#/movies");
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
    site = await openSite("#/symbols");
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
    site = await openSite("#/movies", { before: (server) => void server.failing.add("/v1/views") });
    await site.sees("The server does not answer", "main");
    expect(await site.violations()).toEqual([]);
    site.server.failing.clear();
    await site.sees("Dune: Part Two", "main");
  });
});

describe("a stream that stops", () => {
  it("is said to be old, more so with each second, and not to be live", async () => {
    site = await openSite("#/movies", { before: (server) => void (server.beats = false) });
    const { server, page } = site;
    await site.sees(/^Live$/, ".banner");
    await site.sees(/as of [1-9]\.\d s ago/, ".view-head");
    server.freshness.set("movie_trends", 130_000);
    server.beat();
    await site.sees(/nothing new for 2 min/, ".view-head");
    await site.sees("Live, nothing new", ".banner");
    expect(await site.violations()).toEqual([]);
    server.freshness.delete("movie_trends");
    server.beat();
    await site.sees(/^Live$/, ".banner");
    await site.sees(/as of \d+ ms ago|as of 1\.\d s ago/, ".view-head");
    expect(await page.getByText("nothing new").count()).toBe(0);
  });

  it("is not hidden on the platform by those that go on", async () => {
    const dead = (server: Site["server"]): void => {
      for (const name of server.views.keys()) server.freshness.set(name, 240_000);
      server.freshness.set("movie_trends", 90);
      server.freshness.set("sentiment_overall", 300_000);
      server.freshness.set("stream_ratings", null);
    };
    site = await openSite("#/platform", { before: dead });
    const { page } = site;
    await site.sees("since the newest record of sentiment_overall, the oldest", "main");
    await site.sees(/^5 min/, ".facts");
    const panel = page.getByRole("region", { name: "Freshness" });
    const first = panel.locator("tbody tr").first();
    expect(await first.innerText()).toMatch(/sentiment_overall\s+5 min ago/);
    expect(await panel.locator("tbody tr", { hasText: "stream_ratings" }).innerText()).toMatch(/not known/);
    await panel.getByText(/\d+ of \d+ views get nothing new/).waitFor();
  });
});

describe("what cannot be read", () => {
  it("is said with the time of what is shown instead", async () => {
    site = await openSite("#/platform");
    const { server } = site;
    await site.sees(/version 6/, "main");
    server.failing.add("/v1/status");
    await site.sees(/As of \d\d:\d\d:\d\d UTC, cannot be read now: a store cannot be read now/, "main");
    expect(await site.violations()).toEqual([]);
    server.failing.clear();
    await expect.poll(() => site.page.getByText("cannot be read now").count()).toBe(0);
  });

  it("is a view, until its next frame, and not an empty one", async () => {
    site = await openSite("#/customers", {
      before: (server) => void server.unread.add("customers_at_risk").add("sentiment_by_product"),
    });
    const { server, page } = site;
    const risk = page.getByRole("region", { name: "At risk now" });
    await risk.getByText("It cannot be read now: a store cannot be read now").waitFor();
    await page
      .getByRole("figure", { name: "Products compared" })
      .getByText("It cannot be read now: a store cannot be read now")
      .waitFor();
    await site.sees("Live, with a problem", ".banner");
    // What comes of other views takes nothing of it away.
    server.advance("sentiment_overall", "sentiment_by_city");
    await site.sees(/12:04–12:05/, ".view-head");
    await site.sees("Live, with a problem", ".banner");
    server.unread.clear();
    server.advance("customers_at_risk", "sentiment_by_product");
    await risk.getByText("customer_1200", { exact: true }).waitFor();
    await site.sees(/^Live$/, ".banner");
  });

  it("is said of a fetched view, too", async () => {
    site = await openSite("#/movies", {
      before: (server) => {
        server.socketRefused = true;
        server.failing.add("/v1/views/movie_trends/top");
      },
    });
    await site.sees("Fetching every 2 s, with a problem", ".banner");
    await site.sees("It cannot be read now: a store cannot be read now", "main");
    site.server.failing.clear();
    await site.sees("Dune: Part Two", "main");
    await site.sees(/^Fetching every 2 s$/, ".banner");
  });

  it("are alerts, which does not mean that there are none", async () => {
    site = await openSite("#/symbols", { before: (server) => void server.failing.add("/v1/alerts") });
    await site.sees(/Alerts cannot be read now: a store cannot be read now/, ".alerts");
    expect(await site.page.getByText("None lately").count()).toBe(0);
    site.server.failing.clear();
    await site.page.locator(".alerts").getByRole("button", { name: "Try again" }).click();
    await site.sees(/None lately/, ".alerts");
  });
});

describe("without a socket", () => {
  it("the page fetches, and takes the socket when there is one", async () => {
    site = await openSite("#/movies", { before: (server) => void (server.socketRefused = true) });
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

describe("the newest messages", () => {
  const message = (id: string, seconds: number): Record<string, string | number> => ({
    id,
    event_time: `2026-06-14T12:04:${String(seconds).padStart(2, "0")}Z`,
    text: `this is ${id}`,
    product: "Harbor Pay",
    channel: "chat",
    sentiment: 0.1,
  });

  it("go on when the socket is lost, and have what came meanwhile when it is back", async () => {
    site = await openSite("#/customers");
    const { server, page } = site;
    await site.sees("Live", ".banner");
    const first = page.getByRole("region", { name: "Newest messages" }).locator("li").first();
    // As many live ones as are shown.
    server.say(
      0,
      0,
      Array.from({ length: 60 }, (_, n) => message(`live-${n}`, 1)),
    );
    await first.getByText("this is live-").waitFor();
    server.socketRefused = true;
    await server.stop();
    server.kept = [message("kept-1", 2)];
    await server.start();
    await site.sees("Fetching every 2 s", ".banner");
    await first.getByText("this is kept-1").waitFor();
    server.kept = [message("kept-2", 3), ...server.kept];
    await first.getByText("this is kept-2").waitFor();
    // With the socket nothing is asked for again but what came before it.
    server.kept = [message("kept-3", 4), ...server.kept];
    server.socketRefused = false;
    await site.sees(/^Live$/, ".banner");
    await first.getByText("this is kept-3").waitFor();
  });

  it("say when those before cannot be read", async () => {
    site = await openSite("#/customers", {
      before: (server) => void server.failing.add("/v1/lookups/messages_by_product"),
    });
    const panel = site.page.getByRole("region", { name: "Newest messages" });
    await panel.getByText("Those before cannot be read now: a store cannot be read now").waitFor();
    site.server.failing.clear();
    await panel.getByRole("button", { name: "Try again" }).click();
    await panel.locator("li").first().waitFor();
    expect(await panel.getByText("cannot be read").count()).toBe(0);
  });
});

describe("what is not there is said", () => {
  it.each([
    ["#/movies", "trendscope", "movie_trends"],
    ["#/viewing", "movie-viewing", "stream_event_distribution"],
    ["#/customers", "customer-sentiment", "sentiment_overall"],
  ])("%s of a pipeline that is not deployed", async (hash, pipeline, view) => {
    site = await openSite(hash, { pipelines: ["stock-sentiment"] });
    await site.sees(`schema/pipelines/${pipeline}.toml`, "main");
    await site.sees(view, "main");
    expect(await site.violations()).toEqual([]);
    // The connection stands, and the others work.
    await site.sees("Live", ".banner");
    await site.page.getByRole("link", { name: "Symbols", exact: true }).click();
    await site.sees("AAPL", "main");
  });

  it("a report that no run has published", async () => {
    site = await openSite("#/viewing/batch", { published: false });
    await site.sees("No batch run has published it yet. Start one in Platform.", "main");
    expect(await site.page.locator("canvas").count()).toBe(0);
    expect(await site.violations()).toEqual([]);
  });

  it("a store that cannot be read, with a way to ask again", async () => {
    site = await openSite("#/symbols/TSLA", {
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
    site = await openSite("#/customers", { before: silent });
    await site.sees("No message in the newest window.", "main");
    await site.sees("No message of the newest window names a city.", "main");
    await site.sees("Nobody in the newest window.", "main");
    expect(await site.violations()).toEqual([]);
  });
});
