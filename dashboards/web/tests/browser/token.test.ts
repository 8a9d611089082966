import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Site } from "./site";
import { sites } from "./sites";

const openSite = sites();
let site: Site;

const GOOD = "aGVhZA.Y2xhaW1z.c2ln";
const OTHER = "aGVhZA.Y2xhaW1z.b3RoZXI";

async function signIn(site: Site, token: string): Promise<void> {
  await site.page.getByLabel("Token", { exact: true }).fill(token);
  await site.page.getByRole("button", { name: "Sign in" }).click();
}

describe("a server that wants a token", () => {
  it("is given one, for everything that it is asked for, and is asked for nothing before", async () => {
    site = await openSite("#/movies", { before: (server) => void (server.token = GOOD) });
    const { server, page } = site;
    await site.sees("This server answers those who have a token.", "main");
    expect(await site.violations()).toEqual([]);
    // By keyboard alone: the field has the focus.
    await page.keyboard.type(GOOD);
    await page.keyboard.press("Enter");
    await site.sees("Dune: Part Two", "main");
    await site.sees(/^Live$/, ".banner");
    expect(server.opened.map((path) => new URL(path, server.url).searchParams.get("access_token"))).toEqual([GOOD]);
    expect(
      server.asked.filter((path) => path.includes("token")),
      "nor is it in any other address",
    ).toEqual([]);
    server.change("movie_trends", [{ key: { movie_title: "Perfect Days" }, columns: { trend_score: 999.9 } }]);
    await site.sees("999.9", "main");
    expect(await site.violations()).toEqual([]);
  });

  it("refuses another, says why, and what is no token is not sent", async () => {
    site = await openSite("#/symbols", { before: (server) => void (server.token = GOOD) });
    await signIn(site, OTHER);
    await site.sees("The token is not accepted: its signature does not hold.", "main");
    const asked = site.server.asked.length;
    await signIn(site, "letmein");
    await site.sees("That is no token: it has three parts, with a dot between them.", "main");
    expect(site.server.asked.length).toBe(asked);
    expect(await site.violations()).toEqual([]);
    await signIn(site, `Bearer ${GOOD}\n`);
    await site.sees("AAPL", "main");
  });

  it("keeps it for the tab, until it is signed out of", async () => {
    site = await openSite("#/symbols", { before: (server) => void (server.token = GOOD) });
    const { page, server } = site;
    await signIn(site, GOOD);
    await site.sees("AAPL", "main");
    await page.reload();
    await site.sees("AAPL", "main");
    const other = await page.context().newPage();
    await other.goto(`${server.url}/#/symbols`);
    await other.getByRole("heading", { name: "Sign in" }).waitFor();
    await other.close();
    await page.getByRole("button", { name: "Sign out" }).click();
    await site.sees("You are signed out.", "main");
    expect(await page.getByText("AAPL").count()).toBe(0);
    await expect.poll(() => server.clients).toBe(0);
    await page.reload();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
  });

  it("asks for the next when it has expired, and goes on where it was", async () => {
    site = await openSite("#/symbols/TSLA", { before: (server) => void (server.token = GOOD) });
    const { server } = site;
    await signIn(site, GOOD);
    await site.sees(/trader_/, "main");
    server.expire(OTHER);
    await site.sees("The token is not accepted: it has expired (`exp`).", "main");
    await signIn(site, OTHER);
    await site.sees(/trader_/, "main");
    await site.sees(/^Live$/, ".banner");
    expect(site.page.url()).toMatch(/#\/symbols\/TSLA$/);
  });

  it("may not allow to start a run, which takes away nothing else", async () => {
    site = await openSite("#/platform", { before: (server) => void (server.token = GOOD) });
    const { server, page } = site;
    await signIn(site, GOOD);
    await page.getByRole("button", { name: "Start a run" }).click();
    await site.sees("this needs a token with the scope `admin`", "main");
    server.scopes.push("admin");
    await page.getByRole("button", { name: "Start a run" }).click();
    await site.sees(/Run 01J0RUN0 is running/, "main");
  });

  it("may not allow to read, which is said", async () => {
    site = await openSite("#/platform", {
      before: (server) => {
        server.token = GOOD;
        server.scopes = ["write"];
      },
    });
    await signIn(site, GOOD);
    await site.sees("The token is not accepted: this needs a token with the scope `read`.", "main");
  });

  it("gives the drift report as a file", async () => {
    site = await openSite("#/movies", { before: (server) => void (server.token = GOOD) });
    await signIn(site, GOOD);
    const download = site.page.waitForEvent("download");
    await site.page.getByRole("button", { name: "Save the drift report" }).click();
    const file = await download;
    expect(file.suggestedFilename()).toBe("drift-trend.html");
    expect(await readFile(await file.path(), "utf8")).toContain("Drift of trend");
  });
});

it("without tokens nobody is asked for one", async () => {
  site = await openSite("#/movies");
  await site.sees("Dune: Part Two", "main");
  expect(await site.page.getByRole("button", { name: "Sign out" }).count()).toBe(0);
  await site.page.getByRole("link", { name: "drift report" }).waitFor();
});
