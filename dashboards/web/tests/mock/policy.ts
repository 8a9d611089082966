/** The policy that the real server sends with the page, from its source: a page that breaks it breaks the tests. */

import { readFile } from "node:fs/promises";

const SOURCE = new URL("../../../../serving/src/api/page.rs", import.meta.url);

export async function policyOfServer(): Promise<string> {
  const source = await readFile(SOURCE, "utf8");
  const found = /const POLICY: HeaderValue = HeaderValue::from_static\(\s*"((?:[^"\\]|\\[\s\S])*)"/.exec(source)?.[1];
  if (found === undefined) throw new Error("page.rs has no policy");
  // A backslash at the end of a line joins it with the next.
  return found.replaceAll(/\\\n\s*/g, "");
}
