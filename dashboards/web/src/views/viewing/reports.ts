/** Reports of the batch layer, as the page reads them. */

import { withQuery } from "../../api/client";
import type { ReportAnswer } from "../../api/types";
import { useFetched, type Fetched } from "../../ui/hooks";

/** How often a new version is looked for. */
const EVERY_MS = 15_000;

export function useReport(name: string, limit: number, offset = 0): Fetched<ReportAnswer> {
  return useFetched<ReportAnswer>(withQuery(`/v1/reports/${name}`, { limit, ...(offset > 0 ? { offset } : {}) }), {
    everyMs: EVERY_MS,
  });
}

/** What is said instead of a report; null when it has rows. */
export function reportState({ data, failed }: Fetched<ReportAnswer>): string | null {
  if (data) return data.rows.length > 0 ? null : "The newest batch run found nothing for this report.";
  if (failed?.kind === "not-published") return "No batch run has published it yet. Start one in Platform.";
  return failed ? failed.message : "Loading…";
}
