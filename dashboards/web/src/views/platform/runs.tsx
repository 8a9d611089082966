/** Batch runs, and a button that starts one. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { messageOf, request } from "../../api/client";
import type { Json, Run } from "../../api/types";
import { moment, number, span } from "../../format";
import { useFetched } from "../../ui/hooks";
import { Failed, FromBefore, Nothing, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";

/** A field of a run's report as a number. */
function fieldOf(report: Json, name: string): number | null {
  if (report === null || typeof report !== "object" || Array.isArray(report)) return null;
  const value = report[name];
  return typeof value === "number" ? value : null;
}

function outcome(run: Run): string {
  if (run.error !== null) return run.error;
  if (run.state !== "succeeded") return "";
  const published = fieldOf(run.report, "published");
  return published === null ? "nothing new" : `version ${published}`;
}

export function Runs(): JSX.Element {
  const [started, setStarted] = useState(0);
  const fetched = useFetched<{ runs: Run[] }>("/v1/batch/runs", { everyMs: 2_000, tick: started });
  const { data, failed, retry } = fetched;
  const [said, setSaid] = useState("");
  const [asking, setAsking] = useState(false);
  const runs = data?.runs ?? [];
  const active = runs.find((run) => run.state === "running" || run.state === "queued");

  const start = (): void => {
    setAsking(true);
    request<Run>("/v1/batch/runs", { method: "POST" })
      .then(
        (run) => setSaid(`Run ${run.id} is ${run.state}.`),
        (error: unknown) => setSaid(messageOf(error)),
      )
      .finally(() => {
        setAsking(false);
        setStarted((n) => n + 1);
      });
  };

  const none = failed?.kind === "no-batch-layer";
  return (
    <Panel
      title="Batch runs"
      note={active ? `one is ${active.state}` : undefined}
      actions={
        none ? undefined : (
          <button type="button" class="primary" disabled={asking || active !== undefined} onClick={start}>
            Start a run
          </button>
        )
      }
    >
      <p class="said" role="status">
        {said}
      </p>
      {!none && <FromBefore fetched={fetched} />}
      {none ? (
        <Nothing>This process runs no batch layer: open the page of the one that does.</Nothing>
      ) : data === null ? (
        failed ? (
          <Failed failed={failed} retry={retry} />
        ) : (
          <Nothing>Asking…</Nothing>
        )
      ) : runs.length === 0 ? (
        <Nothing>No run since the process started.</Nothing>
      ) : (
        <Scroll label="Batch runs" height={260}>
          <DataTable
            caption="Batch runs, the newest first"
            columns={[{ name: "Started" }, { name: "State" }, { name: "Took", numeric: true }, { name: "Outcome" }]}
            rows={runs.slice(0, 30).map((run) => ({
              id: run.id,
              cells: [
                { show: <span title={run.id}>{moment(run.started_at)}</span> },
                {
                  show: (
                    <span
                      class={run.state === "failed" ? "negative" : run.state === "succeeded" ? "positive" : "speed"}
                    >
                      {run.state}
                    </span>
                  ),
                },
                run.finished_at === null ? "" : span(Date.parse(run.finished_at) - Date.parse(run.started_at)),
                outcome(run),
              ],
            }))}
          />
          {runs.length > 30 && <p class="note">The newest 30 of {number(runs.length)}.</p>}
        </Scroll>
      )}
    </Panel>
  );
}
