import { describe, expect, it } from "vitest";
import type { Site } from "./site";
import { sites } from "./sites";

const openSite = sites();
let site: Site;

/** What has the focus, and whether it can be seen that it has. */
async function focused(site: Site): Promise<{ name: string; seen: boolean }> {
  return site.page.evaluate(() => {
    const element = document.activeElement;
    const style = element && getComputedStyle(element);
    const name = element?.getAttribute("aria-label") ?? (element?.textContent ?? "").trim().slice(0, 60);
    return { name, seen: style !== null && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
  });
}

describe("by keyboard", () => {
  it("the content is one step away, and the focus is always to be seen", async () => {
    site = await openSite("#/movies");
    const { page } = site;
    await site.sees("Dune: Part Two", "main");
    await page.keyboard.press("Tab");
    expect(await focused(site)).toEqual({ name: "Skip to the content", seen: true });
    expect(await page.locator(".skip").boundingBox()).toMatchObject({ y: 8 });
    await page.keyboard.press("Enter");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("main");
    // The route is still the same.
    expect(new URL(page.url()).hash).toBe("#/movies");
    const passed: { name: string; seen: boolean }[] = [];
    for (let n = 0; n < 12; n += 1) {
      await page.keyboard.press("Tab");
      passed.push(await focused(site));
    }
    expect(passed.filter((each) => !each.seen)).toEqual([]);
    expect(passed.map((each) => each.name)).toEqual(expect.arrayContaining(["Trending now", "Movie", "Score"]));
  });

  it("the views are links, and the one that is open says so", async () => {
    site = await openSite("#/movies");
    const { page } = site;
    await site.sees("Dune: Part Two", "main");
    // The page itself takes the focus from nobody.
    expect(await page.evaluate(() => document.activeElement === document.body)).toBe(true);
    const link = page.getByRole("link", { name: "Symbols", exact: true });
    const before = await link.elementHandle();
    await link.focus();
    await page.keyboard.press("Enter");
    const heading = page.getByRole("heading", { level: 1, name: "Symbols" });
    await heading.waitFor();
    // The banner is still the same, and the focus is at the beginning of what was opened.
    expect(await before?.evaluate((element) => element.isConnected)).toBe(true);
    await expect.poll(() => heading.evaluate((element) => element === document.activeElement)).toBe(true);
    await page
      .getByRole("figure", { name: /sentiment beside price/ })
      .locator("canvas")
      .waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.closest("main") !== null)).toBe(true);
    expect(await page.getByRole("link", { name: "Symbols", exact: true }).getAttribute("aria-current")).toBe("page");
    expect(await page.title()).toBe("Symbols · Tideline");
    await page.goBack();
    const back = page.getByRole("heading", { level: 1, name: "Movies" });
    await expect.poll(() => back.evaluate((element) => element === document.activeElement)).toBe(true);
  });

  it("a movie is chosen, and the address remembers it", async () => {
    site = await openSite("#/movies");
    const { page } = site;
    await page.getByRole("button", { name: "Civil War", exact: true }).focus();
    await page.keyboard.press("Space");
    await page.getByRole("figure", { name: "Civil War" }).waitFor();
    // To choose is not to go elsewhere: the focus stays.
    expect((await focused(site)).name).toBe("Civil War");
    expect(await page.getByRole("button", { name: "Civil War", exact: true }).getAttribute("aria-pressed")).toBe(
      "true",
    );
    await page.reload();
    await page.getByRole("figure", { name: "Civil War" }).locator("canvas").waitFor();
  });

  it.each([
    ["#/movies", "movie_trends", { movie_title: "Abigail" }, { trend_score: 999 }],
    ["#/symbols", "symbol_sentiment", { symbol: "GE" }, { mentions: 999 }],
  ] as const)("%s: what is read does not change with the first of the ranking", async (hash, view, key, columns) => {
    site = await openSite(hash);
    const { server, page } = site;
    const first = page.locator("tbody tr").first();
    const name = await first.locator("th").innerText();
    expect(name).not.toBe(Object.values(key)[0]);
    const chosen = page.locator("tr.chosen th");
    const before = await page.locator("figure h2").first().elementHandle();
    server.change(view, [{ key, columns }]);
    await first.getByText(String(Object.values(key)[0])).waitFor();
    expect(await chosen.innerText()).toBe(name);
    expect(await before?.evaluate((element) => element.isConnected)).toBe(true);
    await page.locator("tbody tr").first().getByRole("button").click();
    await expect.poll(() => chosen.innerText()).toBe(String(Object.values(key)[0]));
  });

  it("tabs move by arrows, Home and End, and only one is in the order of Tab", async () => {
    site = await openSite("#/viewing");
    const { page } = site;
    const chosen = (): Promise<string> => page.locator("[role=tab][aria-selected=true]").innerText();
    await page.getByRole("tab", { name: "Overview" }).focus();
    for (const [key, name] of [
      ["ArrowRight", "Real time"],
      ["ArrowRight", "Batch"],
      ["ArrowRight", "Overview"],
      ["ArrowLeft", "Batch"],
      ["Home", "Overview"],
      ["End", "Batch"],
    ] as const) {
      await page.keyboard.press(key);
      await expect.poll(chosen).toBe(name);
      expect((await focused(site)).name).toBe(name);
    }
    expect(await page.locator("[role=tab][tabindex='0']").count()).toBe(1);
    const panel = page.getByRole("tabpanel", { name: "Batch" });
    await panel.waitFor();
    await page.keyboard.press("Tab");
    expect(await panel.evaluate((element) => element === document.activeElement)).toBe(true);
  });

  it("a table is sorted, and a reader is told how", async () => {
    site = await openSite("#/symbols");
    const { page } = site;
    const table = page.getByRole("table", { name: "Symbols by mentions in the newest window" });
    const first = (): Promise<string> => table.locator("tbody tr").first().locator("th").innerText();
    await table.getByRole("button", { name: "Price" }).focus();
    await page.keyboard.press("Enter");
    await expect.poll(first).toBe("GOOG");
    expect(await table.getByRole("columnheader", { name: "Price" }).getAttribute("aria-sort")).toBe("descending");
    await page.keyboard.press("Enter");
    await expect.poll(first).toBe("F");
    await page.keyboard.press("Enter");
    await expect.poll(() => table.locator("[aria-sort]").count()).toBe(0);
  });
});

describe("the theme", () => {
  const ground = (site: Site): Promise<string> =>
    site.page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const LIGHT = "rgb(243, 245, 242)";
  const DARK = "rgb(11, 21, 24)";

  it("is the system's, until another is chosen, which is remembered", async () => {
    site = await openSite("#/movies", { context: { colorScheme: "dark" } });
    const { page } = site;
    await site.sees("Dune: Part Two", "main");
    expect(await ground(site)).toBe(DARK);
    await page.getByRole("button", { name: "Switch to light" }).click();
    expect(await ground(site)).toBe(LIGHT);
    await page.reload();
    await site.sees("Dune: Part Two", "main");
    expect(await ground(site)).toBe(LIGHT);
    // Back to the system's own: it is followed again.
    await page.getByRole("button", { name: "Switch to dark" }).click();
    await page.emulateMedia({ colorScheme: "light" });
    await expect.poll(() => ground(site as Site)).toBe(LIGHT);
  });

  it("is in the charts, too", async () => {
    site = await openSite("#/symbols");
    const { page } = site;
    const canvas = page.locator(".canvas canvas").first();
    await canvas.waitFor();
    const picture = (): Promise<string> => canvas.evaluate((element: HTMLCanvasElement) => element.toDataURL());
    await page.evaluate(() => document.fonts.ready.then(() => undefined));
    const light = await picture();
    await page.getByRole("button", { name: "Switch to dark" }).click();
    await expect.poll(picture).not.toBe(light);
  });
});
