/** The newest messages: first those that the server keeps, then as they come in. */

import { Component, type JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { request, withQuery } from "../../api/client";
import { keyOf, numberOf, textOf, type Json, type LookupAnswer } from "../../api/types";
import { label, moment, number } from "../../format";
import { usePage } from "../../ui/context";
import { sortedRows, useConnection, useHub, useMessages, useView } from "../../ui/hooks";
import { SentimentMark } from "../../ui/marks";
import { Nothing, Panel, Scroll } from "../../ui/panel";

export const OUTPUT = "processed";
const LOOKUP = "messages_by_product";
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
  const kept = useKept();
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
      {messages.length === 0 ? (
        <Nothing>Waiting for the first message.</Nothing>
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

/** Both together, each message once: what came in stays above what was kept. */
export function newest(live: readonly Message[], kept: readonly Message[]): Message[] {
  const seen = new Set<string>();
  const all: Message[] = [];
  for (const message of [...live, ...kept]) {
    const id = textOf(message, "id");
    if (id === "" || seen.has(id)) continue;
    seen.add(id);
    all.push(message);
  }
  return all.slice(0, SHOWN);
}

/** Messages that the server keeps, of the products that people speak of now. */
function useKept(): Message[] {
  const { catalog } = usePage();
  const view = useView("sentiment_by_product");
  const fetching = useConnection().kind === "fetching";
  const [kept, setKept] = useState<Message[]>([]);
  const [round, setRound] = useState(0);
  const known = view.windowStart !== null && catalog.lookups.has(LOOKUP);

  useEffect(() => {
    if (!known) return undefined;
    const ended = new AbortController();
    const products = sortedRows(view, (row) => numberOf(row, "messages"))
      .map((row) => keyOf(row, "product"))
      .filter((product) => product !== "")
      .slice(0, PRODUCTS);
    const ask = products.map((product) =>
      request<LookupAnswer>(withQuery(`/v1/lookups/${LOOKUP}`, { key: product, limit: EACH }), {
        signal: ended.signal,
      }).then(
        (answer) => answer.rows,
        (): Message[] => [],
      ),
    );
    void Promise.all(ask).then((rows) => {
      if (ended.signal.aborted) return;
      setKept(rows.flat().sort((a, b) => textOf(b, "event_time").localeCompare(textOf(a, "event_time"))));
    });
    return () => ended.abort();
    // The products of the first window will do: what comes in later comes by itself.
  }, [known, catalog, round]);

  useEffect(() => {
    if (!fetching) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) setRound((n) => n + 1);
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [fetching]);
  return kept;
}
