/** How far each partition of each source has come, and what it could not take in. */

import type { JSX } from "preact";
import type { ShardStatus } from "../../api/types";
import { moment, number, span } from "../../format";
import { Nothing, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";

interface SourcesProps {
  shards: ShardStatus[] | null;
  known: boolean;
  /** The time of the server, in milliseconds. */
  now: number | null;
}

export function Sources({ shards, known, now }: SourcesProps): JSX.Element {
  const ageOf = ({ last_appended: last }: ShardStatus): number | null =>
    last === null || now === null ? null : Math.max(0, now - Date.parse(last));
  const rejected = shards?.reduce((sum, shard) => sum + shard.rejected, 0) ?? 0;
  return (
    <Panel title="Sources" note={shards && shards.length > 0 ? `${shards.length} partitions` : undefined}>
      {shards === null ? (
        <Nothing>{known ? "The speed views cannot be read now." : "Asking…"}</Nothing>
      ) : shards.length === 0 ? (
        <Nothing>No record has been taken in yet.</Nothing>
      ) : (
        <>
          <Scroll label="Sources" height={420}>
            <DataTable
              caption="Partitions of the sources"
              sortable
              columns={[
                { name: "Source" },
                { name: "Newest event", numeric: true },
                { name: "Came in", numeric: true },
                { name: "Records", numeric: true },
                { name: "Lag", numeric: true },
                { name: "Late", numeric: true },
                { name: "Duplicates", numeric: true },
                { name: "Dead letters", numeric: true },
              ]}
              rows={shards.map((shard) => ({
                id: `${shard.source}/${shard.partition}`,
                cells: [
                  `${shard.source}/${shard.partition}`,
                  { show: moment(shard.highest_event_time), by: shard.highest_event_time },
                  { show: ageOf(shard) === null ? "–" : `${span(ageOf(shard))} ago`, by: ageOf(shard) },
                  { show: number(shard.records), by: shard.records },
                  { show: number(shard.lag), by: shard.lag },
                  { show: number(shard.late), by: shard.late },
                  { show: number(shard.duplicates), by: shard.duplicates },
                  {
                    show: <span class={shard.rejected > 0 ? "warning" : ""}>{number(shard.rejected)}</span>,
                    by: shard.rejected,
                  },
                ],
              }))}
            />
          </Scroll>
          {rejected > 0 && (
            <p class="note">
              Dead letters keep the raw bytes and the reason: <code>tideline dead-letters list</code>.
            </p>
          )}
        </>
      )}
    </Panel>
  );
}
