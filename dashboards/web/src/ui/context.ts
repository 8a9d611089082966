/** What every part of a page view can ask for. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Catalog } from "../api/catalog";
import type { AlertLog } from "../live/alerts";
import type { Hub } from "../live/hub";

export interface PageContext {
  hub: Hub;
  catalog: Catalog;
  alerts: AlertLog;
}

export const Page = createContext<PageContext | null>(null);

export function usePage(): PageContext {
  const page = useContext(Page);
  if (page === null) throw new Error("a view stands outside of the page");
  return page;
}
