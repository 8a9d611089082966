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

  clear(): void {
    this.#points = [];
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
