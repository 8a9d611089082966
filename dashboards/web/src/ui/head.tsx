/** The head of a view: its name, the window that it shows, and how old that is. */

import type { ComponentChildren, JSX } from "preact";
import { interval, span } from "../format";
import { useAge, useEmpty, useView } from "./hooks";

export function ViewHead({
  title,
  view,
  children,
}: {
  title: string;
  view: string;
  children?: ComponentChildren;
}): JSX.Element {
  const { windowStart, windowEnd, partial } = useView(view);
  const empty = useEmpty(view, "There is no window yet.");
  return (
    <header class="view-head">
      <h1 tabIndex={-1}>{title}</h1>
      <p>
        {windowStart === null ? (
          empty
        ) : (
          <>
            Window <time dateTime={windowStart}>{interval(windowStart, windowEnd)}</time> UTC
            <AsOf view={view} />
            {partial && <strong class="warning"> · a part is missing: a layer cannot be read</strong>}
          </>
        )}
      </p>
      {children}
    </header>
  );
}

/** How old the newest record is: it goes on while nothing comes. */
function AsOf({ view }: { view: string }): JSX.Element | null {
  const age = useAge(view);
  if (age === null) return null;
  return age.isStale ? (
    <strong class="warning"> · nothing new for {span(age.ms)}</strong>
  ) : (
    <> · as of {span(age.ms)} ago</>
  );
}
