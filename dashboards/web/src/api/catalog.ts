/** What the definitions of this server declare: which of the page's views have data to show. */

import { request, type Fetch } from "./client";
import type { LookupInfo, ReportInfo, ViewInfo } from "./types";

export interface Catalog {
  views: Map<string, ViewInfo>;
  lookups: Map<string, LookupInfo>;
  reports: Set<string>;
}

export async function fetchCatalog(options: { signal?: AbortSignal; fetch?: Fetch } = {}): Promise<Catalog> {
  // The list of reports reads the manifest: a batch layer that is down takes only the reports away.
  const reports = request<{ reports: ReportInfo[] }>("/v1/reports", options).catch((error: unknown) => {
    if (options.signal?.aborted) throw error;
    return { reports: [] as ReportInfo[] };
  });
  const [views, lookups, published] = await Promise.all([
    request<{ views: ViewInfo[] }>("/v1/views", options),
    request<{ lookups: LookupInfo[] }>("/v1/lookups", options),
    reports,
  ]);
  return {
    views: new Map(views.views.map((view) => [view.name, view])),
    lookups: new Map(lookups.lookups.map((lookup) => [lookup.name, lookup])),
    reports: new Set(published.reports.map((report) => report.name)),
  };
}
