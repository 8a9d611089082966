/** Customers: how they feel, where, about what, on which channel, and who is about to leave. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { countsOf, keyOf, numberOf, textOf, type Row } from "../../api/types";
import { EMOTIONS } from "../../charts/palette";
import { label, number, percent, sentimentName, signed } from "../../format";
import { Alerts } from "../../ui/alerts";
import { BarChart } from "../../ui/bars";
import { Gauge } from "../../ui/gauge";
import { ViewHead } from "../../ui/head";
import { sortedRows, useEmpty, useView } from "../../ui/hooks";
import { PartsMark, SentimentMark, ShareMark } from "../../ui/marks";
import { Fact, Facts, NoRows, Panel, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";
import { Cities } from "./cities";
import { Messages } from "./messages";
import { Mood } from "./mood";

/** Each part follows what it shows, and is rendered for nothing else. */
export function Customers(): JSX.Element {
  return (
    <>
      <ViewHead title="Customers" view="sentiment_overall" />
      <div class="grid gauge-row">
        <Now />
        <Cities />
      </div>
      <div class="grid halves">
        <Mood />
        <Emotions />
      </div>
      <div class="grid halves">
        <Products />
        <Channels />
      </div>
      <div class="grid wide-left">
        <Messages />
        <div class="stack">
          <Alerts
            title="Churn alerts"
            alert="churn"
            rule="One fires while somebody says that they leave."
            height={190}
            describe={(alert) => (
              <>
                {textOf(alert.columns, "last_product")} · risk {number(numberOf(alert.columns, "churn_risk"), 2)}
                {textOf(alert.columns, "last_text") !== "" && <q dir="auto">{textOf(alert.columns, "last_text")}</q>}
              </>
            )}
          />
          <AtRisk />
        </div>
      </div>
    </>
  );
}

/** Everybody together. */
function useOverall(): Row | undefined {
  const overall = useView("sentiment_overall");
  return [...overall.rows.values()][0];
}

function Now(): JSX.Element {
  const all = useOverall();
  const sentiment = numberOf(all, "avg_sentiment");
  const messages = numberOf(all, "messages");
  return (
    <Panel title="Sentiment now" class="gauge-panel">
      <Gauge value={sentiment} label="Average sentiment of the newest window" />
      <PartsMark
        label={`${number(numberOf(all, "positive"))} positive, ${number(numberOf(all, "neutral"))} neutral, ${number(numberOf(all, "negative"))} negative`}
        parts={[
          { name: "negative", value: numberOf(all, "negative") ?? 0, tone: "negative" },
          { name: "neutral", value: numberOf(all, "neutral") ?? 0, tone: "neutral" },
          { name: "positive", value: numberOf(all, "positive") ?? 0, tone: "positive" },
        ]}
      />
      <Facts>
        <Fact name="Messages" value={number(messages)} />
        <Fact
          name="Likely to leave"
          value={number(numberOf(all, "high_churn"))}
          note={`risk ${number(numberOf(all, "avg_churn_risk"), 2)}`}
        />
        <Fact name="Toxicity" value={percent(numberOf(all, "avg_toxicity"), 1)} />
      </Facts>
    </Panel>
  );
}

function Emotions(): JSX.Element {
  const row = useOverall();
  const empty = useEmpty("sentiment_overall", "No message in the newest window.");
  const counts = useMemo(() => countsOf(row, "emotions"), [row]);
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  return (
    <BarChart
      title="Emotions"
      note={total > 0 ? `${number(total)} messages of this window` : undefined}
      summary={`Messages by emotion: ${EMOTIONS.map((name) => `${name} ${counts[name] ?? 0}`).join(", ")}.`}
      height={240}
      empty={total > 0 ? null : empty}
      names={EMOTIONS.map(label)}
      series={[
        {
          name: "messages",
          values: EMOTIONS.map((name) => counts[name] ?? 0),
          colours: EMOTIONS.map((name) => `var(--emotion-${name})`),
        },
      ]}
      table={() => ({
        columns: [{ name: "Emotion" }, { name: "Messages", numeric: true }, { name: "Share", numeric: true }],
        rows: EMOTIONS.map((name) => ({
          id: name,
          cells: [label(name), number(counts[name] ?? 0), percent(total > 0 ? (counts[name] ?? 0) / total : null, 1)],
        })),
      })}
    />
  );
}

function Products(): JSX.Element {
  const view = useView("sentiment_by_product");
  const empty = useEmpty("sentiment_by_product", "No product in the newest window.");
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, "messages")), [view]);
  const name = (row: Row): string => keyOf(row, "product") || "none named";
  return (
    <BarChart
      title="Products compared"
      note="average sentiment"
      summary={`Average sentiment by product: ${rows.map((row) => `${name(row)} ${signed(numberOf(row, "avg_sentiment"))}`).join(", ")}.`}
      height={250}
      empty={rows.length > 0 ? null : empty}
      names={rows.map(name)}
      digits={2}
      series={[
        {
          name: "average sentiment",
          values: rows.map((row) => numberOf(row, "avg_sentiment")),
          colours: rows.map((row) => {
            const tone = sentimentName(numberOf(row, "avg_sentiment"));
            return `var(--${tone === "unknown" ? "neutral" : tone})`;
          }),
        },
      ]}
      table={() => ({
        columns: [
          { name: "Product" },
          { name: "Messages", numeric: true },
          { name: "Sentiment", numeric: true },
          { name: "Likely to leave", numeric: true },
          { name: "Toxicity", numeric: true },
        ],
        rows: rows.map((row) => ({
          id: name(row),
          cells: [
            name(row),
            number(numberOf(row, "messages")),
            signed(numberOf(row, "avg_sentiment")),
            number(numberOf(row, "high_churn")),
            percent(numberOf(row, "avg_toxicity"), 1),
          ],
        })),
      })}
    />
  );
}

function Channels(): JSX.Element {
  const view = useView("sentiment_by_channel");
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, "messages")), [view]);
  const most = numberOf(rows[0], "messages") ?? 0;
  return (
    <Panel title="Channels" note="this window">
      {rows.length === 0 ? (
        <NoRows view="sentiment_by_channel">No channel in the newest window.</NoRows>
      ) : (
        <Scroll label="Channels" height={260}>
          <DataTable
            caption="How each channel performs"
            sortable
            columns={[
              { name: "Channel" },
              { name: "Messages", numeric: true },
              { name: "Sentiment", numeric: true },
              { name: "Labels" },
              { name: "Leaving", numeric: true },
              { name: "Toxicity", numeric: true },
            ]}
            rows={rows.map((row) => {
              const [negative, neutral, positive] = [
                numberOf(row, "negative") ?? 0,
                numberOf(row, "neutral") ?? 0,
                numberOf(row, "positive") ?? 0,
              ];
              return {
                id: keyOf(row, "channel"),
                cells: [
                  { show: label(keyOf(row, "channel")), by: keyOf(row, "channel") },
                  {
                    show: (
                      <ShareMark
                        share={(numberOf(row, "messages") ?? 0) / (most || 1)}
                        text={number(numberOf(row, "messages"))}
                      />
                    ),
                    by: numberOf(row, "messages"),
                  },
                  {
                    show: <SentimentMark value={numberOf(row, "avg_sentiment")} />,
                    by: numberOf(row, "avg_sentiment"),
                  },
                  {
                    show: (
                      <PartsMark
                        label={`${positive} positive, ${neutral} neutral, ${negative} negative`}
                        parts={[
                          { name: "negative", value: negative, tone: "negative" },
                          { name: "neutral", value: neutral, tone: "neutral" },
                          { name: "positive", value: positive, tone: "positive" },
                        ]}
                      />
                    ),
                    by: positive - negative,
                  },
                  { show: number(numberOf(row, "high_churn")), by: numberOf(row, "high_churn") },
                  { show: percent(numberOf(row, "avg_toxicity"), 1), by: numberOf(row, "avg_toxicity") },
                ],
              };
            })}
          />
        </Scroll>
      )}
    </Panel>
  );
}

/** Customers of the newest window who may be about to leave. */
function AtRisk(): JSX.Element {
  const view = useView("customers_at_risk");
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, "churn_risk")), [view]);
  return (
    <Panel title="At risk now" note={rows.length > 0 ? `${rows.length}` : undefined}>
      {rows.length === 0 ? (
        <NoRows view="customers_at_risk">Nobody in the newest window.</NoRows>
      ) : (
        <Scroll label="At risk now" height={190}>
          <DataTable
            caption="Customers of the newest window who may leave"
            columns={[{ name: "Customer" }, { name: "Risk", numeric: true }, { name: "What they say" }]}
            rows={rows.map((row) => ({
              id: keyOf(row, "author"),
              cells: [
                keyOf(row, "author"),
                { show: number(numberOf(row, "churn_risk"), 2), by: numberOf(row, "churn_risk") },
                { show: <span dir="auto">{textOf(row, "last_text")}</span> },
              ],
            }))}
          />
        </Scroll>
      )}
    </Panel>
  );
}
