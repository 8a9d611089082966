/** How far each view has come, for the picture of the tideline. */

import { spanMs } from "../../data/spans";
import type { Status, ViewInfo } from "../../api/types";

export interface Pier {
  view: string;
  /** Event time up to which batch answers, in milliseconds. */
  through: number | null;
  /** Event time that speed has reached: the end of its newest pane. */
  newest: number | null;
  /** How much of event time only speed has; null when one of both is not known. */
  aheadMs: number | null;
  /** Its height above the line, 0 to 1. */
  above: number;
}

/** What reaches the top of the picture. */
const TOP_MS = 7 * 86_400_000;

/** A length of time as a height from 0 to 1: seconds and days are both to be seen. */
export function heightOf(ms: number): number {
  if (ms <= 0) return 0;
  return Math.min(1, Math.log1p(ms / 1_000) / Math.log1p(TOP_MS / 1_000));
}

export function piersOf(status: Status, views: ReadonlyMap<string, ViewInfo>): Pier[] {
  return Object.entries(status.views).map(([view, { through, newest_pane }]) => {
    const pane = spanMs(views.get(view)?.pane ?? "") ?? 0;
    const reached = newest_pane === null ? null : Date.parse(newest_pane) + pane;
    const line = through === null ? null : Date.parse(through);
    const aheadMs = reached === null || line === null ? null : Math.max(0, reached - line);
    // Without a published version all of it is speed's.
    const above = reached === null ? 0 : aheadMs === null ? 1 : heightOf(aheadMs);
    return { view, through: line, newest: reached, aheadMs, above };
  });
}
