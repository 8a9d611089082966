/** The views of the page: what each needs of the server, and where its code is. */

import type { ComponentType } from "preact";
import type { Catalog } from "../api/catalog";
import type { Wanted } from "../live/connection";
import type { ViewName } from "../route";

export interface System {
  name: ViewName;
  title: string;
  /** The pipeline that it shows; null for the platform itself. */
  pipeline: string | null;
  /** Views without which there is nothing to show. */
  needs: readonly string[];
  /** What is asked of the live socket. */
  wants(catalog: Catalog): Wanted;
  load(): Promise<ComponentType<{ item: string | null }>>;
}

/** Of the names given, those that the server has. */
const those = (catalog: Catalog, names: readonly string[]): string[] => names.filter((name) => catalog.views.has(name));

/** How often the server looks for changes of what is watched. */
const SOON = "100ms";

const STREAMS = ["stream_event_distribution", "stream_movie_views", "stream_user_activity", "stream_ratings"];
const SENTIMENT = [
  "sentiment_overall",
  "sentiment_by_city",
  "sentiment_by_product",
  "sentiment_by_channel",
  "customers_at_risk",
];

export const SYSTEMS: readonly System[] = [
  {
    name: "movies",
    title: "Movies",
    pipeline: "trendscope",
    needs: ["movie_trends"],
    wants: (catalog) => ({
      views: those(catalog, ["movie_trends", "prediction_quality"]),
      outputs: [],
      rows: 100,
      messages: 1,
      interval: SOON,
    }),
    load: async () => (await import("./movies/movies")).Movies,
  },
  {
    name: "viewing",
    title: "Viewing",
    pipeline: "movie-viewing",
    needs: ["stream_event_distribution"],
    wants: (catalog) => ({ views: those(catalog, STREAMS), outputs: [], rows: 50, messages: 1, interval: SOON }),
    load: async () => (await import("./viewing/viewing")).Viewing,
  },
  {
    name: "symbols",
    title: "Symbols",
    pipeline: "stock-sentiment",
    needs: ["symbol_sentiment"],
    wants: () => ({ views: ["symbol_sentiment"], outputs: [], rows: 200, messages: 1, interval: SOON }),
    load: async () => (await import("./symbols/symbols")).Symbols,
  },
  {
    name: "customers",
    title: "Customers",
    pipeline: "customer-sentiment",
    needs: ["sentiment_overall"],
    wants: (catalog) => ({
      views: those(catalog, SENTIMENT),
      outputs: ["processed"],
      rows: 100,
      messages: 20,
      interval: SOON,
    }),
    load: async () => (await import("./customers/customers")).Customers,
  },
  {
    name: "platform",
    title: "Platform",
    pipeline: null,
    needs: [],
    // One row of each tells how fresh it is.
    wants: (catalog) => ({
      views: [...catalog.views.keys()],
      allViews: true,
      outputs: [],
      rows: 1,
      messages: 1,
      interval: "1s",
    }),
    load: async () => (await import("./platform/platform")).Platform,
  },
];
