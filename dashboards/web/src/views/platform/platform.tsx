/** Platform: Tideline itself. What is batch and what is speed, how fresh it is, and what it could not take in. */

import type { JSX } from "preact";
import type { Readiness, Status } from "../../api/types";
import { count, moment, number, span } from "../../format";
import { paints } from "../../live/paint";
import { usePage } from "../../ui/context";
import { useFetched, useHub, useNow } from "../../ui/hooks";
import { Fact, Facts, Failed, FromBefore, Nothing, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";
import { AgreementPanel } from "./agreement";
import { FreshnessPanel, useAges } from "./freshness";
import { Runs } from "./runs";
import { Sources } from "./sources";
import { Waterline } from "./waterline";

export function Platform(): JSX.Element {
  const status = useFetched<Status>("/v1/status", { everyMs: 2_000 });
  const { data, failed } = status;
  const { catalog } = usePage();
  const now = useNow();
  const ages = useAges();
  const oldest = ages.find((each) => each.ms !== null);
  const sum = (field: "lag" | "records" | "late" | "duplicates" | "rejected"): number | null =>
    data?.shards?.reduce((total, shard) => total + (shard[field] ?? 0), 0) ?? null;
  return (
    <>
      <header class="view-head">
        <h1 tabIndex={-1}>Platform</h1>
        <p>
          {data ? (
            <>
              {data.pipeline} · Tideline {data.version} · <time dateTime={data.now}>{moment(data.now)}</time> UTC
            </>
          ) : (
            "Asking the server…"
          )}
        </p>
      </header>
      {data === null && failed !== null && <Failed failed={failed} retry={status.retry} />}
      <FromBefore fetched={status} />
      <Facts>
        <Fact
          name="Freshness"
          value={span(oldest?.ms)}
          note={oldest ? `since the newest record of ${oldest.view}, the oldest` : "since the newest record"}
          tone={oldest?.isStale === true ? "warning" : "speed"}
        />
        <Fact name="Records taken in" value={count(sum("records"))} tone="speed" />
        <Fact name="Lag" value={count(sum("lag"))} note="records that wait" />
        <Fact name="Late" value={count(sum("late"))} note="left to batch" />
        <Fact name="Duplicates" value={count(sum("duplicates"))} />
        <Fact name="Dead letters" value={count(sum("rejected"))} tone={(sum("rejected") ?? 0) > 0 ? "warning" : ""} />
        <Fact
          name="Batch"
          value={data?.manifest ? `version ${data.manifest.version}` : "–"}
          note={data?.manifest ? `published ${moment(data.manifest.published_at)}` : "not published yet"}
          tone="batch"
        />
      </Facts>
      {data && <Waterline status={data} views={catalog.views} />}
      <div class="grid halves">
        <Runs />
        <AgreementPanel last={data?.process.agreement ?? null} />
      </div>
      <div class="grid wide-left">
        <Sources
          shards={data?.shards ?? null}
          known={data !== null}
          now={data === null ? null : Date.parse(data.now) + Math.max(0, now - status.at)}
        />
        <div class="stack">
          <FreshnessPanel ages={ages} />
          <PaintPanel />
          <ReadinessPanel />
        </div>
      </div>
    </>
  );
}

/** How long this page takes from a message of the socket to its picture. */
function PaintPanel(): JSX.Element {
  const painted = useHub(() => paints.summary().count);
  const summary = paints.summary();
  return (
    <Panel title="This page" note="from a message's arrival until it is painted">
      {painted === 0 ? (
        <Nothing>No update has come in over the socket yet.</Nothing>
      ) : (
        <Facts>
          <Fact name="Median" value={`${number(summary.medianMs, 1)} ms`} />
          <Fact name="95 of 100 below" value={`${number(summary.p95Ms, 1)} ms`} />
          <Fact
            name="Longest"
            value={`${number(summary.mostMs, 1)} ms`}
            note={`of the last ${Math.min(summary.count, 512)}`}
          />
          <Fact name="Updates" value={count(summary.count)} />
        </Facts>
      )}
    </Panel>
  );
}

function ReadinessPanel(): JSX.Element {
  const readiness = useFetched<Readiness>("/readyz", { everyMs: 5_000 });
  const { data, failed, retry } = readiness;
  return (
    <Panel title="Readiness" note={data ? (data.ready ? "ready" : "not ready") : undefined}>
      <FromBefore fetched={readiness} />
      {data === null ? (
        failed ? (
          <Failed failed={failed} retry={retry} />
        ) : (
          <Nothing>Asking…</Nothing>
        )
      ) : (
        <Scroll label="Readiness" height={230}>
          <DataTable
            caption="What the process needs, and whether it works"
            columns={[{ name: "Check" }, { name: "State" }, { name: "Since" }]}
            rows={data.checks.map((check) => ({
              id: check.name,
              cells: [
                check.name,
                {
                  show: (
                    <span class={check.ok ? "positive" : check.needed ? "negative" : "warning"}>
                      {check.ok ? "works" : (check.detail ?? "does not work")}
                    </span>
                  ),
                },
                check.since === null ? "" : moment(check.since),
              ],
            }))}
          />
        </Scroll>
      )}
    </Panel>
  );
}
