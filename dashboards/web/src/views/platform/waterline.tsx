/**
 * The tideline: below the water an answer comes from batch, above it from speed. Each view is a pier; how far it stands
 * out of the water is how much of event time batch has not taken in yet.
 */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Status, ViewInfo } from "../../api/types";
import { moment, span } from "../../format";
import { piersOf, type Pier } from "./tide";

export function Waterline({ status, views }: { status: Status; views: ReadonlyMap<string, ViewInfo> }): JSX.Element {
  const piers = useMemo(() => piersOf(status, views), [status, views]);
  return (
    <section class="panel tide" aria-labelledby="tide-title">
      <header class="panel-head">
        <h2 id="tide-title">The tideline</h2>
        <span class="note">
          how much of event time each view has only from speed; the height grows with its logarithm
        </span>
      </header>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="The tideline, view by view">
        <div class="sea">
          <div class="layer-names" aria-hidden="true">
            <span class="speed">speed</span>
            <span class="batch">batch</span>
          </div>
          <ul class="piers">
            {piers.map((pier) => (
              <PierItem key={pier.view} pier={pier} />
            ))}
          </ul>
          <svg class="water" viewBox="0 0 1200 40" preserveAspectRatio="none" aria-hidden="true">
            <path d={WAVE} />
          </svg>
        </div>
      </div>
    </section>
  );
}

/** One line of waves. */
const WAVE = `M0 8${"q15 -7 30 0t30 0".repeat(40)}V40H0Z`;

function PierItem({ pier }: { pier: Pier }): JSX.Element {
  const { view, through, newest, aheadMs, above } = pier;
  const ahead =
    newest === null ? "no data yet" : aheadMs === null ? "all of it" : aheadMs === 0 ? "level" : span(aheadMs);
  return (
    <li>
      <div class="above">
        <span class="reading">{ahead}</span>
        <span class="bar" style={{ height: `${Math.round(above * 100)}%` }} />
      </div>
      <div class={through === null ? "below none" : "below"}>
        <span class="bar" />
        <span class="reading">
          {through === null ? (
            "nothing published"
          ) : (
            <>
              through
              <br />
              {moment(through).slice(0, 10)}
              <br />
              {moment(through).slice(11)}
            </>
          )}
        </span>
      </div>
      <span class="pier-name">
        {view.split("_").map((part, at) => (
          <>
            {at > 0 && (
              <>
                _<wbr />
              </>
            )}
            {part}
          </>
        ))}
      </span>
    </li>
  );
}
