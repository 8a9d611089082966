/** The address of a view: `#/symbols/TSLA`. */

export const VIEWS = ["movies", "viewing", "symbols", "customers", "platform"] as const;
export type ViewName = (typeof VIEWS)[number];

export interface Route {
  view: ViewName;
  /** What is chosen within the view: a movie, a symbol, a tab. */
  item: string | null;
}

/** Reads an address; `null` when it names no view. */
export function parseRoute(hash: string): Route | null {
  const [view = "", ...rest] = hash.replace(/^#?\/?/, "").split("/");
  if (!(VIEWS as readonly string[]).includes(view)) return null;
  let item: string;
  try {
    item = decodeURIComponent(rest.join("/"));
  } catch {
    item = "";
  }
  return { view: view as ViewName, item: item === "" ? null : item };
}

export function hrefOf(view: ViewName, item: string | null = null): string {
  return item === null || item === "" ? `#/${view}` : `#/${view}/${encodeURIComponent(item)}`;
}
