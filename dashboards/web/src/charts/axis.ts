/** How the axes of charts over time are labelled, whatever draws them. */

import { clock, day, number } from "../format";

export const FONT = "'IBM Plex Sans Variable', system-ui, sans-serif";

/** A value in few characters: 0.42, 950, 12.4 k. */
export function short(value: number, digits = 0): string {
  const size = Math.abs(value);
  const [unit, name] = size >= 1_000_000 ? [1_000_000, " M"] : size >= 10_000 ? [1_000, " k"] : [1, ""];
  const text = unit === 1 ? number(size, digits) : `${number(size / unit, size % unit === 0 ? 0 : 1)}${name}`;
  return value < 0 ? `−${text}` : text;
}

/** A time: the day at midnight, else the time of day. */
export function tick(value: number): string {
  if (value % 86_400_000 === 0) return day(value).slice(5);
  return clock(value, value % 60_000 !== 0);
}
