/** The head of a view: its name, the window that it shows, and how old that is. */

import type { ComponentChildren, JSX } from "preact";
import { interval, span } from "../format";
import { useView } from "./hooks";

export function ViewHead({
  title,
  view,
  children,
}: {
  title: string;
  view: string;
  children?: ComponentChildren;
}): JSX.Element {
  const { windowStart, windowEnd, freshnessMs, partial } = useView(view);
  return (
    <header class="view-head">
      <h1 tabIndex={-1}>{title}</h1>
      <p>
        {windowStart === null ? (
          "Waiting for the first window."
        ) : (
          <>
            Window <time dateTime={windowStart}>{interval(windowStart, windowEnd)}</time> UTC
            {freshnessMs !== null && <> · as of {span(freshnessMs)} ago</>}
            {partial && <strong class="warning"> · a part is missing: a layer cannot be read</strong>}
          </>
        )}
      </p>
      {children}
    </header>
  );
}
