/** Do both layers agree? */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { messageOf, request } from "../../api/client";
import type { Agreement, ViewAgreement } from "../../api/types";
import { moment, number } from "../../format";
import { Nothing, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";

/** A comparison reads all of Gold. */
const TIMEOUT_MS = 250_000;

export function AgreementPanel({ last }: { last: Agreement | null }): JSX.Element {
  const [asked, setAsked] = useState<Agreement | null>(null);
  const [said, setSaid] = useState("");
  const [asking, setAsking] = useState(false);
  // The newer of both: a run compares by itself.
  const shown = asked && (!last || asked.at >= last.at) ? asked : last;

  const compare = (): void => {
    setAsking(true);
    setSaid("Comparing…");
    request<Agreement>("/v1/agreement", { timeoutMs: TIMEOUT_MS })
      .then(
        (agreement) => {
          setAsked(agreement);
          setSaid(
            agreement.unexplained === 0
              ? "Both layers agree."
              : `${agreement.unexplained} differences have no explanation.`,
          );
        },
        (error: unknown) => setSaid(messageOf(error)),
      )
      .finally(() => setAsking(false));
  };

  return (
    <Panel
      title="Agreement of the layers"
      note={shown ? `version ${shown.version}, compared ${moment(shown.at)}` : undefined}
      actions={
        <button type="button" class="quiet" disabled={asking} onClick={compare}>
          Compare now
        </button>
      }
    >
      <p class="said" role="status">
        {said}
      </p>
      {shown === null ? (
        <Nothing>Not compared yet: it happens after each published version.</Nothing>
      ) : (
        <>
          <p class={shown.unexplained === 0 ? "verdict positive" : "verdict negative"}>
            {shown.unexplained === 0
              ? "Every difference is explained."
              : `${number(shown.unexplained)} panes differ, and nothing explains it.`}
          </p>
          <Scroll label="Agreement, view by view" height={230}>
            <DataTable
              caption="Panes of each view that both layers have"
              columns={[
                { name: "View" },
                { name: "Compared", numeric: true },
                { name: "Equal", numeric: true },
                { name: "Explained", numeric: true },
                { name: "Unexplained", numeric: true },
              ]}
              rows={Object.entries(shown.views).map(([name, view]) => ({
                id: name,
                cells: [
                  {
                    show: view.skipped ? <span title={view.skipped}>{name} (skipped)</span> : name,
                    by: name,
                  },
                  number(view.compared),
                  number(view.equal),
                  number(explainedOf(view)),
                  { show: <span class={view.unexplained > 0 ? "negative" : ""}>{number(view.unexplained)}</span> },
                ],
              }))}
            />
          </Scroll>
        </>
      )}
    </Panel>
  );
}

/** Panes that differ for a reason: records that came late, or twice, or have expired, or are not in batch yet. */
function explainedOf({ explained, late = 0, expired = 0, duplicate = 0, not_yet = 0 }: ViewAgreement): number {
  return explained ?? late + expired + duplicate + not_yet;
}
