/** How the connection is: a word in the banner, and a bar above the view while the server is down. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { clock, span } from "../format";
import { usePage } from "./context";
import { useAge, useConnection, useHub } from "./hooks";

/**
 * `main` is the view whose data the page view is about. `refresh` is called when a connection was made anew: definitions
 * may have changed.
 */
export function Connected({ main, refresh }: { main: string | null; refresh(): void }): JSX.Element {
  const { kind } = useConnection();
  const problem = useHub((hub) => hub.store.problem);
  const isStale = useAge(main)?.isStale ?? false;
  const before = useRef(kind);
  useEffect(() => {
    if (before.current === "down" && kind !== "down") refresh();
    before.current = kind;
  }, [kind, refresh]);
  const words = {
    connecting: "Connecting",
    live: problem !== null ? "Live, with a problem" : isStale ? "Live, nothing new" : "Live",
    fetching: problem !== null ? "Fetching every 2 s, with a problem" : "Fetching every 2 s",
    down: "No connection",
  };
  return (
    <span
      class={`connected ${(problem !== null || isStale) && kind === "live" ? "troubled" : kind}`}
      role="status"
      title={problem ?? undefined}
    >
      <span class="dot" aria-hidden="true" />
      {words[kind]}
    </span>
  );
}

export function Outage(): JSX.Element | null {
  const { hub } = usePage();
  const state = useConnection();
  const [, again] = useState(0);
  const isDown = state.kind === "down";
  useEffect(() => {
    if (!isDown) return undefined;
    const timer = setInterval(() => again((n) => n + 1), 1_000);
    return () => clearInterval(timer);
  }, [isDown]);
  if (state.kind !== "down") return null;
  const wait = Math.max(0, state.retryAt - Date.now());
  return (
    <div class="outage">
      <p role="alert">The server does not answer since {clock(state.since, true)} UTC. What you see is from before.</p>
      <p class="note">
        {wait < 500 ? "Trying again now." : `Trying again in ${span(Math.ceil(wait / 1_000) * 1_000)}.`}
      </p>
      <button type="button" class="quiet" onClick={() => hub.retryNow()}>
        Try now
      </button>
    </div>
  );
}
