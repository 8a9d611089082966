/** Symbols: what is said about a stock, beside its price. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { keyOf, numberOf } from "../../api/types";
import { change, count, number, signed } from "../../format";
import { hrefOf } from "../../route";
import { Alerts } from "../../ui/alerts";
import { ViewHead } from "../../ui/head";
import { sortedRows, useChosen, useView } from "../../ui/hooks";
import { SentimentMark, ShareMark } from "../../ui/marks";
import { NoRows, Panel, Scroll } from "../../ui/panel";
import { DataTable, type TableRow } from "../../ui/table";
import { Stock } from "./stock";
import { Tweets } from "./tweets";

const VIEW = "symbol_sentiment";

export function Symbols({ item }: { item: string | null }): JSX.Element {
  const view = useView(VIEW);
  const rows = useMemo(() => sortedRows(view, (row) => numberOf(row, "mentions")), [view]);
  const chosen = useChosen(item, rows[0] ? keyOf(rows[0], "symbol") : null);
  const most = numberOf(rows[0], "mentions") ?? 0;

  const table: TableRow[] = rows.map((row) => {
    const symbol = keyOf(row, "symbol");
    const [mentions, moved] = [numberOf(row, "mentions"), numberOf(row, "price_change")];
    return {
      id: symbol,
      chosen: symbol === chosen,
      choose: () => {
        location.hash = hrefOf("symbols", symbol);
      },
      cells: [
        { show: symbol, by: symbol },
        { show: <ShareMark share={(mentions ?? 0) / (most || 1)} text={number(mentions)} />, by: mentions },
        { show: <SentimentMark value={numberOf(row, "sentiment")} />, by: numberOf(row, "sentiment") },
        { show: number(numberOf(row, "close"), 2), by: numberOf(row, "close") },
        { show: <span class={tone(moved)}>{change(moved)}</span>, by: moved },
        { show: count(numberOf(row, "volume")), by: numberOf(row, "volume") },
      ],
    };
  });

  return (
    <>
      <ViewHead title="Symbols" view={VIEW} />
      <div class="grid wide-right">
        <div class="stack">
          <Panel title="Most mentioned" note={rows.length > 0 ? `${rows.length} symbols in this window` : undefined}>
            {rows.length === 0 ? (
              <NoRows view={VIEW}>No symbol has a window yet.</NoRows>
            ) : (
              <Scroll label="Most mentioned" height={430}>
                <DataTable
                  caption="Symbols by mentions in the newest window"
                  sortable
                  columns={[
                    { name: "Symbol" },
                    { name: "Mentions", numeric: true },
                    { name: "Sentiment", numeric: true },
                    { name: "Price", numeric: true },
                    { name: "Change", numeric: true },
                    { name: "Volume", numeric: true },
                  ]}
                  rows={table}
                />
              </Scroll>
            )}
          </Panel>
          <Alerts
            title="Alerts"
            alert="crash"
            rule="One fires when sentiment falls below −0.5 while the price loses more than 2 %."
            describe={(alert) =>
              `sentiment ${signed(numberOf(alert.columns, "sentiment"))}, price ${change(numberOf(alert.columns, "price_change"))}, ${number(numberOf(alert.columns, "mentions"))} mentions`
            }
          />
        </div>
        <div class="stack">
          {chosen !== null && <Stock key={chosen} symbol={chosen} view={VIEW} />}
          {chosen !== null && <Tweets key={`tweets ${chosen}`} symbol={chosen} view={VIEW} />}
        </div>
      </div>
    </>
  );
}

function tone(value: number | null): string {
  return value === null || value === 0 ? "" : value > 0 ? "positive" : "negative";
}
