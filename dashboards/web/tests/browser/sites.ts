/** The sites that the tests of one file open, in one Chromium of theirs. */

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { launch } from "./chromium";
import { Site, type SiteOptions } from "./site";

/** What opens one. Each is closed after its test, and must have left nothing in the console. */
export function sites(): (hash: string, options?: SiteOptions) => Promise<Site> {
  let browser: Browser;
  const opened: Site[] = [];

  beforeAll(async () => {
    browser = await launch();
  });

  afterAll(async () => {
    await browser.close();
  });

  afterEach(async () => {
    const closed = opened.splice(0);
    for (const site of closed) await site.close();
    expect(
      closed.flatMap((site) => site.errors),
      "the console",
    ).toEqual([]);
  });

  return async (hash, options) => {
    const site = await Site.open(browser, hash, options);
    opened.push(site);
    return site;
  };
}
