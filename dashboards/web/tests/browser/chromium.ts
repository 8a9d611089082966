/** The Chromium that tests and screenshots drive: Debian's, or the one that `CHROMIUM` names. */

import { existsSync } from "node:fs";
import { chromium, type Browser } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export function chromiumPath(): string {
  const named = process.env.CHROMIUM;
  if (named !== undefined && named !== "") return named;
  const found = PLACES.find((path) => existsSync(path));
  if (found === undefined)
    throw new Error(`no Chromium at ${PLACES.join(", ")}: apt-get install chromium, or set CHROMIUM`);
  return found;
}

export async function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--force-color-profile=srgb"] });
}
