/**
 * How long an update of the Customers view takes from its arrival in the browser until all of it, charts too, is painted:
 * `npm run bench`, of the built page. Fails where no round is quick enough: one is enough in which no other process took
 * the processor away.
 */

import { cpus, loadavg } from "node:os";
import { launch } from "../tests/browser/chromium";
import { Site } from "../tests/browser/site";
import { Updates } from "../tests/browser/updates";

/** 95 of 100 updates have to be below this. */
const MOST_MS = 50;
const ROUNDS = 5;
const UPDATES = 60;

const at = (times: readonly number[], q: number): number =>
  times[Math.min(times.length - 1, Math.floor(q * times.length))] ?? Infinity;

const browser = await launch();
const site = await Site.open(browser, "#/customers");
let best = Infinity;
try {
  await site.sees("Live", ".banner");
  await site.page.locator(".map .city").first().waitFor();
  const updates = await Updates.watch(site);
  console.log(`${cpus().length} processors, load ${(loadavg()[0] ?? 0).toFixed(1)}; ${UPDATES} updates a round; ms`);
  console.log("       all pictures              those with the chart");
  console.log("round  median     p95    most  median     p95    most    work");
  for (let round = 1; round <= ROUNDS; round += 1) {
    const { times, chartTimes, work } = await updates.round(UPDATES);
    const figures = [...[times, chartTimes].flatMap((some) => [0.5, 0.95, 1].map((q) => at(some, q))), work];
    console.log(`${String(round).padStart(5)}${figures.map((ms) => ms.toFixed(1).padStart(8)).join("")}`);
    best = Math.min(best, Math.max(at(times, 0.95), at(chartTimes, 0.95)));
  }
} finally {
  await site.close();
  await browser.close();
}
const isQuick = best < MOST_MS;
console.log(`best p95 ${best.toFixed(1)} ms: ${isQuick ? "below" : "not below"} ${MOST_MS} ms`);
process.exitCode = isQuick ? 0 : 1;
