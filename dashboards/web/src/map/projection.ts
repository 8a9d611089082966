/** Equal Earth (Šavrič, Patterson and Jenny, 2018): areas on the map are to each other as they are on the globe. */

const [A1, A2, A3, A4] = [1.340264, -0.081106, 0.000893, 0.003796];
const M = Math.sqrt(3) / 2;

/** Degrees east and north to x and y, y upwards. */
export function project(longitude: number, latitude: number): [number, number] {
  const theta = Math.asin(M * Math.sin((latitude * Math.PI) / 180));
  const [t2, t6] = [theta ** 2, theta ** 6];
  const x = (((longitude * Math.PI) / 180) * Math.cos(theta)) / (M * (A1 + 3 * A2 * t2 + t6 * (7 * A3 + 9 * A4 * t2)));
  const y = theta * (A1 + A2 * t2 + t6 * (A3 + A4 * t2));
  return [x, y];
}

/** A part of the world, laid into a picture of `width`. */
export class MapFrame {
  readonly height: number;
  readonly #scale: number;
  readonly #left: number;
  readonly #top: number;

  constructor(
    readonly width: number,
    /** Degrees north of the lower and the upper edge. */
    south: number,
    north: number,
  ) {
    const [right] = project(180, 0);
    this.#left = -right;
    this.#top = project(0, north)[1];
    this.#scale = width / (2 * right);
    this.height = (this.#top - project(0, south)[1]) * this.#scale;
  }

  /** Where a place is in the picture, from its upper left corner. */
  place(longitude: number, latitude: number): [number, number] {
    const [x, y] = project(longitude, latitude);
    return [(x - this.#left) * this.#scale, (this.#top - y) * this.#scale];
  }

  /** A closed line as the path of a picture. */
  path(ring: readonly (readonly number[])[]): string {
    const points = ring.map(([longitude = 0, latitude = 0]) => {
      const [x, y] = this.place(longitude, latitude);
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    return points.length === 0 ? "" : `M${points.join("L")}Z`;
  }
}
