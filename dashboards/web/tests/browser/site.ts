/** A page of Chromium at a mock server, watched for everything that must not happen. */

import { fileURLToPath } from "node:url";
import axe from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { MockServer, type MockOptions } from "../mock/server";

export const PAGE = fileURLToPath(new URL("../../dist", import.meta.url));

/** How long something is waited for: the processors may be shared with much else. */
const WAIT_MS = 60_000;

/** What is told for a server that a test has stopped. */
const EXPECTED =
  /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|status of (401|403|404|501|503)|WebSocket connection to/;

export type SiteOptions = Partial<MockOptions> & {
  context?: BrowserContextOptions;
  before?: (server: MockServer) => void;
};

export class Site {
  /** Errors of the console, exceptions and broken policies. */
  readonly errors: string[] = [];

  private constructor(
    readonly server: MockServer,
    readonly page: Page,
  ) {}

  static async open(browser: Browser, hash: string, options: SiteOptions = {}): Promise<Site> {
    const { context, before, ...mock } = options;
    const server = new MockServer({ page: PAGE, ...mock });
    before?.(server);
    await server.start();
    const opened = await browser.newContext({ viewport: { width: 1_360, height: 900 }, ...context });
    const page = await opened.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const site = new Site(server, page);
    page.on("pageerror", (error) => site.errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() !== "error" && message.type() !== "warning") return;
      if (!EXPECTED.test(message.text())) site.errors.push(message.text());
    });
    await page.goto(`${server.url}/${hash}`);
    return site;
  }

  async close(): Promise<void> {
    await this.page.context().close();
    await this.server.stop();
  }

  /** Waits until a text is to be read within a part of the page. */
  async sees(text: string | RegExp, within = "body"): Promise<void> {
    // The title of a mark within a picture has the same text, and is not to be seen.
    await this.page.locator(within).getByText(text).filter({ visible: true }).first().waitFor();
  }

  async text(selector: string): Promise<string> {
    return (await this.page.locator(selector).first().innerText()).trim();
  }

  /** What axe-core has to say against the page. */
  async violations(): Promise<string[]> {
    // Not as a script element: the page's policy refuses those of others.
    await this.page.evaluate(axe.source);
    return this.page.evaluate(async () => {
      const { axe } = window as unknown as {
        axe: {
          run(
            options: object,
          ): Promise<{ violations: { id: string; nodes: { target: unknown[]; failureSummary: string }[] }[] }>;
        };
      };
      const { violations } = await axe.run({
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      });
      return violations.flatMap(({ id, nodes }) =>
        nodes.slice(0, 3).map((node) => `${id}: ${node.target.join(" ")} ${node.failureSummary}`),
      );
    });
  }
}
