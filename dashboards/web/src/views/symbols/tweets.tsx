/** The latest tweets of a symbol. */

import type { JSX } from "preact";
import { withQuery } from "../../api/client";
import { numberOf, textOf, type LookupAnswer } from "../../api/types";
import { moment } from "../../format";
import { keyText } from "../../live/store";
import { usePage } from "../../ui/context";
import { useFetched, useHub } from "../../ui/hooks";
import { SentimentMark } from "../../ui/marks";
import { Failed, FromBefore, Nothing, Panel, Scroll } from "../../ui/panel";

const SHOWN = 40;

export function Tweets({ symbol, view }: { symbol: string; view: string }): JSX.Element {
  const { catalog } = usePage();
  // Asked for again when the symbol's window has changed.
  const row = useHub((hub) => hub.store.view(view).rows.get(keyText({ symbol })));
  const path = catalog.lookups.has("tweets") ? withQuery("/v1/lookups/tweets", { key: symbol, limit: SHOWN }) : null;
  const tweets = useFetched<LookupAnswer>(path, { tick: row });
  const { data, failed, retry } = tweets;
  return (
    <Panel title={`Latest tweets of $${symbol}`}>
      <FromBefore fetched={tweets} />
      {data === null ? (
        failed ? (
          <Failed failed={failed} retry={retry} />
        ) : (
          <Nothing>{path === null ? "This server keeps no tweets." : "Loading…"}</Nothing>
        )
      ) : data.rows.length === 0 ? (
        <Nothing>None is kept any more.</Nothing>
      ) : (
        <Scroll label={`Latest tweets of ${symbol}`} height={270}>
          <ol class="feed">
            {data.rows.map((tweet, at) => (
              <li key={`${textOf(tweet, "event_time")} ${textOf(tweet, "user_id")} ${at}`} class="with-mark">
                <SentimentMark value={numberOf(tweet, "sentiment")} />
                <span dir="auto">{textOf(tweet, "text")}</span>
                <small>
                  {moment(textOf(tweet, "event_time"))} · {textOf(tweet, "user_id")}
                </small>
              </li>
            ))}
          </ol>
        </Scroll>
      )}
    </Panel>
  );
}
