/** How numbers, times and spans are written. All times are UTC: they are times of the data, not of the reader. */

const NONE = "–";

/** Formats by their number of decimals: making one takes far longer than using it. */
const FORMATS = new Map<number, Intl.NumberFormat>();

function formatOf(digits: number): Intl.NumberFormat {
  let format = FORMATS.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    FORMATS.set(digits, format);
  }
  return format;
}

/** A number with at most `digits` decimals; a dash where there is none. */
export function number(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return formatOf(digits).format(value);
}

/** A count in few characters: 950, 12.4 k, 3.1 M. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  // What would be rounded to 1,000 of a unit belongs to the next one.
  const steps: [number, string][] = [
    [999_950_000, "G"],
    [999_950, "M"],
    [10_000, "k"],
  ];
  const size = Math.abs(value);
  for (const [from, unit] of steps) {
    if (size >= from) {
      const scale = unit === "G" ? 1e9 : unit === "M" ? 1e6 : 1e3;
      return `${number(value / scale, 1)} ${unit}`;
    }
  }
  return number(value, 0);
}

/** A number with its sign: +0.42, −0.10, 0.00. */
export function signed(value: number | null | undefined, digits = 2): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const text = number(Math.abs(value), digits);
  const isZero = Number(Math.abs(value).toFixed(digits)) === 0;
  return isZero ? text : `${value < 0 ? "−" : "+"}${text}`;
}

/** A share of one as percent. */
export function percent(value: number | null | undefined, digits = 0): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : `${number(value * 100, digits)} %`;
}

/** A change in percent with its sign. */
export function change(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : `${signed(value * 100, digits)} %`;
}

function at(value: string | number | null | undefined): Date | null {
  if (value === null || value === undefined || value === "") return null;
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** 2014-01-02 */
export function day(value: string | number | null | undefined): string {
  return at(value)?.toISOString().slice(0, 10) ?? NONE;
}

/** 09:30, or 09:30:10 where the seconds matter. */
export function clock(value: string | number | null | undefined, seconds = false): string {
  return (
    at(value)
      ?.toISOString()
      .slice(11, seconds ? 19 : 16) ?? NONE
  );
}

/** 2014-01-02 09:30:10 */
export function moment(value: string | number | null | undefined): string {
  return at(value) === null ? NONE : `${day(value)} ${clock(value, true)}`;
}

/** A window: 2014-01-02 09:30–09:35, with seconds where it does not lie on whole minutes. */
export function interval(from: string | null | undefined, to: string | null | undefined): string {
  const [begin, end] = [at(from), at(to)];
  if (begin === null || end === null) return NONE;
  const seconds = begin.getTime() % 60_000 !== 0 || end.getTime() % 60_000 !== 0;
  const until = day(from) === day(to) ? clock(to, seconds) : `${day(to)} ${clock(to, seconds)}`;
  return `${day(from)} ${clock(from, seconds)}–${until}`;
}

/** A length of time in one unit, or two where the first is small: 140 ms, 2.4 s, 5 min, 3 h 20 min, 12 d. */
export function span(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NONE;
  const size = Math.abs(ms);
  const sign = ms < 0 ? "−" : "";
  if (size < 1_000) return `${sign}${Math.round(size)} ms`;
  if (size < 59_950) return `${sign}${number(size / 1_000, size < 9_950 ? 1 : 0)} s`;
  const minutes = Math.round(size / 60_000);
  if (minutes < 60) return `${sign}${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${sign}${hours} h` : `${sign}${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  if (days < 10 && hours % 24 !== 0) return `${sign}${days} d ${hours % 24} h`;
  return `${sign}${number(days)} d`;
}

/** Bytes: 512 B, 12 KiB, 3.4 MiB. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1_024 && unit < units.length - 1) {
    size /= 1_024;
    unit += 1;
  }
  return `${number(size, unit === 0 || size >= 10 ? 0 : 1)} ${units[unit]}`;
}

/** What a sentiment from −1 to 1 is called, by VADER's thresholds. */
export function sentimentName(value: number | null | undefined): "positive" | "neutral" | "negative" | "unknown" {
  if (value === null || value === undefined || !Number.isFinite(value)) return "unknown";
  return value >= 0.05 ? "positive" : value <= -0.05 ? "negative" : "neutral";
}

/** A name as a reader expects it: `app_store` is App store. */
export function label(name: string): string {
  const text = name.replaceAll("_", " ").trim();
  return text === "" ? NONE : text.charAt(0).toUpperCase() + text.slice(1);
}
