/** Reports of the batch layer, as the page reads them. */

import { withQuery } from "../../api/client";
import type { ReportAnswer, ReportInfo } from "../../api/types";
import { clock } from "../../format";
import { useFetched, type Fetched } from "../../ui/hooks";

/** How often a new version is looked for. */
const EVERY_MS = 15_000;

/** Rows that a report may get between being counted and being read. */
const MORE_ROWS = 200;

export function useReport(name: string, limit: number, offset = 0, everyMs = EVERY_MS): Fetched<ReportAnswer> {
  return useFetched<ReportAnswer>(reportPath(name, limit, offset), { everyMs });
}

function reportPath(name: string, limit: number, offset: number): string {
  return withQuery(`/v1/reports/${name}`, { limit, ...(offset > 0 ? { offset } : {}) });
}

export interface ReportEnd extends Fetched<ReportAnswer> {
  /** Whether the report has more rows, before these. */
  isCut: boolean;
}

/** The last rows of a report: one that is in the order of time has the newest there. */
export function useReportEnd(name: string, rows: number): ReportEnd {
  const reports = useFetched<{ reports: ReportInfo[] }>("/v1/reports", { everyMs: EVERY_MS });
  const offset = reports.data && endOffset(reports.data.reports, name, rows);
  const path = offset === null ? null : reportPath(name, rows + MORE_ROWS, offset);
  // The place of the end moves with each version: what was there stays until the new one has come.
  const report = useFetched<ReportAnswer>(path, { everyMs: EVERY_MS, keep: true });
  return { ...report, failed: report.failed ?? reports.failed, isCut: (offset ?? 0) > 0 };
}

/** Where the last rows of a report begin; the start of one that is not published. */
export function endOffset(reports: readonly ReportInfo[], name: string, rows: number): number {
  return Math.max(0, (reports.find((report) => report.name === name)?.rows ?? 0) - rows);
}

/** What is said beside a report: that it is of before, where it cannot be read any more. */
export function reportNote({ data, at, failed }: Fetched<ReportAnswer>, text: string): string | undefined {
  if (data === null) return undefined;
  return failed === null ? text : `${text} · as of ${clock(at, true)} UTC, cannot be read now`;
}

/** What is said instead of a report; null when it has rows. */
export function reportState({ data, failed }: Fetched<ReportAnswer>): string | null {
  if (data) return data.rows.length > 0 ? null : "The newest batch run found nothing for this report.";
  if (failed?.kind === "not-published") return "No batch run has published it yet. Start one in Platform.";
  return failed ? failed.message : "Loading…";
}
