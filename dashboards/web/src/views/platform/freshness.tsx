/** How fresh each view is: one that gets data says nothing of the others. */

import type { JSX } from "preact";
import { ageOf, isStale } from "../../data/freshness";
import { spanMs } from "../../data/spans";
import { span } from "../../format";
import type { Freshness } from "../../live/store";
import { usePage } from "../../ui/context";
import { useHub, useNow } from "../../ui/hooks";
import { Nothing, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";

export interface ViewAge {
  view: string;
  /** Since the newest record; null where none is known. */
  ms: number | null;
  isStale: boolean;
}

/** The oldest first, and last those of which nothing is known. */
export function agesOf(
  views: readonly { name: string; slide: string }[],
  freshness: (view: string) => Freshness | null,
  now: number,
): ViewAge[] {
  const ages = views.map(({ name, slide }): ViewAge => {
    const known = freshness(name);
    const ms = known && ageOf(known, now);
    return { view: name, ms, isStale: ms !== null && isStale(ms, spanMs(slide)) };
  });
  return ages.sort((a, b) => (b.ms ?? -1) - (a.ms ?? -1) || a.view.localeCompare(b.view));
}

/** Of all views, each second. */
export function useAges(): ViewAge[] {
  const { catalog, hub } = usePage();
  // What has just come in is shown with the next second at the latest.
  const now = useNow();
  useHub(({ store }) => [...catalog.views.keys()].map((name) => store.freshness(name)?.at ?? 0).join(" "));
  return agesOf([...catalog.views.values()], (view) => hub.store.freshness(view), now);
}

export function FreshnessPanel({ ages }: { ages: ViewAge[] }): JSX.Element {
  const stale = ages.filter((age) => age.isStale).length;
  return (
    <Panel title="Freshness" note={stale > 0 ? `${stale} of ${ages.length} views get nothing new` : "the oldest first"}>
      {ages.length === 0 ? (
        <Nothing>This server has no view.</Nothing>
      ) : (
        <Scroll label="Freshness" height={230}>
          <DataTable
            caption="Time since the newest record of each view"
            sortable
            columns={[{ name: "View" }, { name: "Newest record", numeric: true }]}
            rows={ages.map(({ view, ms, isStale: old }) => ({
              id: view,
              cells: [
                view,
                {
                  show: <span class={old ? "warning" : ""}>{ms === null ? "not known" : `${span(ms)} ago`}</span>,
                  by: ms,
                },
              ],
            }))}
          />
        </Scroll>
      )}
    </Panel>
  );
}
