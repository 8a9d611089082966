/**
 * Pictures of every view: `npm run screenshots -- ADDRESS [FOLDER]`, of a running server, into docs/images by default.
 * `mock` as the address is the mock of the tests, with a few seconds of moving data.
 */

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { launch } from "../tests/browser/chromium";
import { move } from "../tests/mock/main";
import { MockServer } from "../tests/mock/server";

/** Each view, and what must be there before its picture is taken. */
const VIEWS: [file: string, address: string, ready: string][] = [
  ["movies", "#/movies", "tbody tr"],
  ["viewing", "#/viewing/overview", "canvas"],
  ["viewing-now", "#/viewing/now", "canvas"],
  ["viewing-batch", "#/viewing/batch", "canvas"],
  ["symbols", "#/symbols", "canvas"],
  ["customers", "#/customers", ".map .city"],
  ["platform", "#/platform", ".piers li"],
];

const WIDTH = 1_360;

const [address = "mock", folder = fileURLToPath(new URL("../../../docs/images", import.meta.url)), theme = "light"] =
  process.argv.slice(2);
await mkdir(folder, { recursive: true });

let mock: MockServer | null = null;
if (address === "mock") {
  mock = new MockServer({ page: fileURLToPath(new URL("../dist", import.meta.url)) });
  await mock.start();
}
const url = mock?.url ?? address;

const browser = await launch();
try {
  const context = await browser.newContext({
    viewport: { width: WIDTH, height: 860 },
    colorScheme: theme === "dark" ? "dark" : "light",
    reducedMotion: "reduce",
  });
  for (const [file, hash, ready] of VIEWS) {
    const page = await context.newPage();
    await page.goto(`${url}/${hash}`);
    await settle(page, ready);
    // It shows how quick updates are: of more than the first few.
    if (file === "platform" && !mock) await page.waitForTimeout(30_000);
    // What is out of sight is not painted: all of it is to be seen.
    const height = await page.evaluate(() => document.documentElement.scrollHeight);
    await page.setViewportSize({ width: WIDTH, height });
    await page.waitForTimeout(500);
    await page.screenshot({ path: `${folder}/${file}.png`, fullPage: true, scale: "css" });
    console.log(`${folder}/${file}.png`);
    await page.close();
  }
} finally {
  await browser.close();
  await mock?.stop();
}

async function settle(page: Page, ready: string): Promise<void> {
  await page
    .waitForSelector(ready, { timeout: 20_000 })
    .catch(() => console.warn(`nothing at ${ready}: ${page.url()}`));
  for (let tick = 1; tick <= 20; tick += 1) {
    if (mock) move(mock, tick);
    await page.waitForTimeout(90);
  }
  await page.evaluate(() => document.fonts.ready.then(() => undefined));
}
