/** Tables: numbers on the right, sorted by a click on a column's head. */

import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";

export interface Column {
  name: string;
  /** Numbers stand on the right, and sort by size. */
  numeric?: boolean;
  /** How wide, as CSS says it. */
  width?: string;
}

export interface Cell {
  /** What is shown. */
  show: ComponentChildren;
  /** What sorts; a text is its own. */
  by?: number | string | null;
}

export type TableCell = string | Cell;

export interface TableRow {
  id: string;
  cells: TableCell[];
  chosen?: boolean;
  choose?: (() => void) | undefined;
}

export interface TableData {
  columns: Column[];
  rows: TableRow[];
}

function sortValue(cell: TableCell | undefined): number | string | null {
  if (cell === undefined) return null;
  if (typeof cell === "string") return cell;
  return cell.by ?? (typeof cell.show === "string" ? cell.show : null);
}

/** Nulls last, whatever the direction. */
export function compareCells(a: TableCell | undefined, b: TableCell | undefined, descending: boolean): number {
  const [left, right] = [sortValue(a), sortValue(b)];
  if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
  const order =
    typeof left === "number" && typeof right === "number" ? left - right : `${left}`.localeCompare(`${right}`);
  return descending ? -order : order;
}

interface TableProps extends TableData {
  caption: string;
  sortable?: boolean;
}

export function DataTable({ caption, columns, rows, sortable = false }: TableProps): JSX.Element {
  const [sort, setSort] = useState<{ column: number; descending: boolean } | null>(null);
  const shown =
    sort === null
      ? rows
      : [...rows].sort((a, b) => compareCells(a.cells[sort.column], b.cells[sort.column], sort.descending));
  const turn = (column: number): void => {
    if (sort?.column !== column) setSort({ column, descending: columns[column]?.numeric === true });
    else
      setSort(
        sort.descending === (columns[column]?.numeric === true) ? { column, descending: !sort.descending } : null,
      );
  };
  return (
    <table>
      <caption class="unseen">{caption}</caption>
      <thead>
        <tr>
          {columns.map((column, place) => (
            <th
              key={column.name}
              scope="col"
              class={column.numeric === true ? "numeric" : undefined}
              style={column.width === undefined ? undefined : { width: column.width }}
              aria-sort={sort?.column !== place ? undefined : sort.descending ? "descending" : "ascending"}
            >
              {sortable ? (
                <button type="button" class="sort" onClick={() => turn(place)}>
                  {column.name}
                  <span aria-hidden="true">{sort?.column !== place ? "" : sort.descending ? " ↓" : " ↑"}</span>
                </button>
              ) : (
                column.name
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {shown.map((row) => (
          <tr key={row.id} class={row.chosen === true ? "chosen" : undefined}>
            {row.cells.map((cell, place) => {
              const show = typeof cell === "string" ? cell : cell.show;
              const numeric = columns[place]?.numeric === true ? "numeric" : undefined;
              if (place === 0 && row.choose) {
                return (
                  <th key={place} scope="row" class={numeric}>
                    <button type="button" class="choose" aria-pressed={row.chosen === true} onClick={row.choose}>
                      {show}
                    </button>
                  </th>
                );
              }
              return (
                <td key={place} class={numeric}>
                  {show}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
