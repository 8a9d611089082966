/** Points over event time: bounded, each time once, in order. */

export interface Point {
  /** Start of the window, in milliseconds. */
  at: number;
  values: Record<string, number | null>;
}

export class Series {
  #points: Point[] = [];

  /** `limit` newest points are kept. */
  constructor(private readonly limit: number) {}

  get points(): readonly Point[] {
    return this.#points;
  }

  /** Takes a window's values in; a window that is there already is replaced. */
  put(point: Point): void {
    const points = this.#points;
    const last = points.at(-1);
    if (last === undefined || last.at < point.at) {
      points.push(point);
    } else {
      const place = lowerBound(points, point.at);
      if (points[place]?.at === point.at) points[place] = point;
      else points.splice(place, 0, point);
    }
    if (points.length > this.limit) points.splice(0, points.length - this.limit);
  }

  /** Drops what is before `from`; answers whether there was some. */
  drop(from: number): boolean {
    const gone = lowerBound(this.#points, from);
    if (gone > 0) this.#points.splice(0, gone);
    return gone > 0;
  }
}

/** The first place whose time is not before `at`. */
function lowerBound(points: readonly Point[], at: number): number {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((points[middle]?.at ?? Infinity) < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How windows without a row are shown. */
export interface Filling {
  slideMs: number;
  /** Columns that are 0 in a window without a record. All others have no value there. */
  counts: readonly string[];
  /** Up to the window that begins here it is known which ones have a row: later ones may only not have come in. */
  through: number;
  /** Points at most. */
  limit: number;
}

/** The points with one for each slide between them, and on to `through`: what is drawn then goes down where nothing was. */
export function filled(points: readonly Point[], columns: readonly string[], filling: Filling): Point[] {
  const { slideMs, counts, through, limit } = filling;
  if (points.length === 0 || !(slideMs > 0)) return [...points];
  const values = (isKnown: boolean): Point["values"] =>
    Object.fromEntries(columns.map((column) => [column, isKnown && counts.includes(column) ? 0 : null]));
  const [empty, unknown] = [values(true), values(false)];
  const all: Point[] = [];
  const fill = (after: number, until: number): void => {
    const from = Math.max(after + slideMs, until - limit * slideMs);
    for (let at = from; at < until; at += slideMs) all.push({ at, values: at <= through ? empty : unknown });
  };
  let before: Point | undefined;
  for (const point of points) {
    if (before) fill(before.at, point.at);
    all.push(point);
    before = point;
  }
  if (before) fill(before.at, through + 1);
  return all.slice(-limit);
}
