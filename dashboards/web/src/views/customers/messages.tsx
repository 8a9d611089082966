/** The newest messages: first those that the server keeps, then as they come in. */

import { Component, type JSX } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { messageOf, request, RequestFailed, withQuery } from "../../api/client";
import { keyOf, numberOf, textOf, type Json, type LookupAnswer } from "../../api/types";
import { label, moment, number } from "../../format";
import { usePage } from "../../ui/context";
import { sortedRows, useConnection, useHub, useMessages } from "../../ui/hooks";
import { SentimentMark } from "../../ui/marks";
import { Failed, Nothing, Panel, Scroll } from "../../ui/panel";

export const OUTPUT = "processed";
const LOOKUP = "messages_by_product";
const PRODUCTS_VIEW = "sentiment_by_product";
/** Products whose messages are asked for, and how many of each. */
const PRODUCTS = 6;
const EACH = 12;
/** How often they are asked for where nothing comes in by itself. */
const EVERY_MS = 5_000;
const SHOWN = 60;

/** A record of the output, or a row of the lookup: the same columns. */
type Message = Record<string, Json>;

export function Messages(): JSX.Element {
  const live = useMessages(OUTPUT);
  const skipped = useHub((hub) => hub.store.skipped);
  const { kept, loaded, failed, retry } = useKept();
  const messages = useMemo(
    () =>
      newest(
        live.map((message) => message.record),
        kept,
      ),
    [live, kept],
  );
  return (
    <Panel title="Newest messages" note={skipped > 0 ? `${number(skipped)} more came than are shown` : undefined}>
      {failed !== null && <Failed failed={failed} retry={retry} what="Those before cannot be read now:" />}
      {messages.length === 0 ? (
        failed === null && <Nothing>{loaded ? "Waiting for the first message." : "Loading…"}</Nothing>
      ) : (
        <Scroll label="Newest messages" height={452}>
          <ol class="feed">
            {messages.map((message) => (
              <Said key={textOf(message, "id")} message={message} />
            ))}
          </ol>
        </Scroll>
      )}
    </Panel>
  );
}

/** One message. What has been said does not change: it is not rendered again for each that comes after it. */
class Said extends Component<{ message: Message }> {
  override shouldComponentUpdate(next: { message: Message }): boolean {
    return next.message !== this.props.message;
  }

  override render({ message }: { message: Message }): JSX.Element {
    const risk = numberOf(message, "churn_risk");
    const parts = [
      moment(textOf(message, "event_time")).slice(11),
      textOf(message, "product"),
      label(textOf(message, "channel")),
      textOf(message, "city"),
      textOf(message, "emotion"),
      risk !== null && risk >= 0.7 ? `churn risk ${number(risk, 2)}` : "",
    ];
    return (
      <li class="with-mark">
        <SentimentMark value={numberOf(message, "sentiment")} />
        <span dir="auto">{textOf(message, "text")}</span>
        <small>{parts.filter((part) => part !== "" && part !== "–").join(" · ")}</small>
      </li>
    );
  }
}

/** Both together, each message once, the newest by its own time first: of the same time what came in last. */
export function newest(live: readonly Message[], kept: readonly Message[]): Message[] {
  const seen = new Set<string>();
  const all: { message: Message; at: number }[] = [];
  for (const message of [...live, ...kept]) {
    const id = textOf(message, "id");
    if (id === "" || seen.has(id)) continue;
    seen.add(id);
    const at = Date.parse(textOf(message, "event_time"));
    all.push({ message, at: Number.isNaN(at) ? -Infinity : at });
  }
  return all
    .sort((a, b) => (a.at === b.at ? 0 : b.at - a.at))
    .slice(0, SHOWN)
    .map(({ message }) => message);
}

interface Kept {
  kept: readonly Message[];
  /** Whether there is nothing more to be waited for. */
  loaded: boolean;
  failed: RequestFailed | null;
  retry(): void;
}

/** Messages that the server keeps, of the products that people speak of now. */
function useKept(): Kept {
  const { catalog, hub } = usePage();
  const fetching = useConnection().kind === "fetching";
  const hasLookup = catalog.lookups.has(LOOKUP);
  // What came while there was no connection did not come in by itself.
  const generation = useHub(({ store }) => store.generation);
  const known = useHub(({ store }) => store.view(PRODUCTS_VIEW).windowStart !== null) && hasLookup;
  const [state, setState] = useState<Omit<Kept, "retry">>({ kept: [], loaded: false, failed: null });
  const [round, setRound] = useState(0);
  const retry = useCallback(() => setRound((n) => n + 1), []);

  useEffect(() => {
    if (!known) return undefined;
    const ended = new AbortController();
    // The products of the first window will do: what comes in later comes by itself.
    const products = sortedRows(hub.store.view(PRODUCTS_VIEW), (row) => numberOf(row, "messages"))
      .map((row) => keyOf(row, "product"))
      .filter((product) => product !== "")
      .slice(0, PRODUCTS);
    const ask = products.map((product) =>
      request<LookupAnswer>(withQuery(`/v1/lookups/${LOOKUP}`, { key: product, limit: EACH }), {
        signal: ended.signal,
      }),
    );
    void Promise.allSettled(ask).then((answers) => {
      if (ended.signal.aborted) return;
      const rows = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value.rows : []));
      const failure = answers.find((answer) => answer.status === "rejected")?.reason as unknown;
      const failed =
        failure === undefined || failure instanceof RequestFailed
          ? (failure ?? null)
          : new RequestFailed("internal", messageOf(failure), 0);
      // Those of a product that cannot be read now stay.
      setState((before) => ({ kept: newest(rows, before.kept), loaded: true, failed }));
    });
    return () => ended.abort();
  }, [known, hub, round, generation]);

  useEffect(() => {
    if (!fetching) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) retry();
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [fetching]);
  return { ...state, loaded: state.loaded || !hasLookup, retry };
}
