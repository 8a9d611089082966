/** What is around every chart: its title, and the same numbers as a table for whoever prefers or needs them. */

import type { ComponentChildren, JSX } from "preact";
import { useId, useState } from "preact/hooks";
import { number } from "../format";
import { DataTable, type TableData } from "./table";

/** Rows of a chart's table at most: it is read, not scanned. */
const TABLE_ROWS = 200;

export interface ChartFrameProps {
  title: string;
  /** What it shows, in a sentence, for whoever does not see it. */
  summary: string;
  /** The same numbers. */
  table(): TableData;
  height?: number;
  /** Said instead of the chart, when there is nothing to draw. */
  empty?: string | null;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  /** The picture. */
  children: ComponentChildren;
}

/** A picture with its head, or the table instead of it. */
export function ChartFrame(props: ChartFrameProps): JSX.Element {
  const [asTable, setAsTable] = useState(false);
  const title = useId();
  const height = props.height ?? 240;
  const nothing = props.empty ?? null;
  return (
    <figure class="panel chart" aria-labelledby={title}>
      <figcaption class="panel-head">
        <h2 id={title}>{props.title}</h2>
        {props.note !== undefined && <span class="note">{props.note}</span>}
        <span class="actions">
          {props.actions}
          <button
            type="button"
            class="quiet"
            aria-pressed={asTable}
            aria-label={`${props.title} as a table`}
            onClick={() => setAsTable(!asTable)}
          >
            Table
          </button>
        </span>
      </figcaption>
      {nothing !== null ? (
        <p class="nothing" style={{ minHeight: `${height}px` }}>
          {nothing}
        </p>
      ) : asTable ? (
        <ChartTable title={props.title} table={props.table} height={height} />
      ) : (
        props.children
      )}
    </figure>
  );
}

function ChartTable({ title, table, height }: { title: string; table(): TableData; height: number }): JSX.Element {
  const { columns, rows } = table();
  return (
    <div class="scroll" style={{ maxHeight: `${height}px` }} tabIndex={0} role="group" aria-label={`${title}, table`}>
      <DataTable caption={title} columns={columns} rows={rows.slice(0, TABLE_ROWS)} />
      {rows.length > TABLE_ROWS && (
        <p class="note">
          The first {number(TABLE_ROWS)} of {number(rows.length)} rows.
        </p>
      )}
    </div>
  );
}
