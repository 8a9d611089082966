/** The outline of the land, from Natural Earth (public domain) as the package world-atlas has it. */

import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import atlas from "world-atlas/land-110m.json";
import { MapFrame } from "./projection";

/** South of it is only Antarctica. */
const SOUTH = -56;
const NORTH = 76;

export const WORLD = new MapFrame(1_000, SOUTH, NORTH);

/** One path for all of the land. */
export function landPath(): string {
  const topology = atlas as unknown as Topology<{ land: GeometryCollection }>;
  const land = feature(topology, topology.objects.land);
  const rings: (readonly number[])[][] = [];
  for (const { geometry } of land.features) {
    if (geometry.type === "Polygon") rings.push(...geometry.coordinates);
    if (geometry.type === "MultiPolygon") for (const polygon of geometry.coordinates) rings.push(...polygon);
  }
  const shown = rings.filter((ring) => ring.some(([, latitude = 0]) => latitude > SOUTH)).flatMap(withinEdges);
  return shown.map((ring) => WORLD.path(ring)).join("");
}

/** A ring that goes over the antimeridian, as one piece at either edge of the map; any other as it is. */
export function withinEdges(ring: readonly (readonly number[])[]): (readonly number[])[][] {
  // Longitudes that go on beyond 180 degrees instead of jumping to the other side.
  let before: number | null = null;
  const whole = ring.map(([longitude = 0, latitude = 0]): readonly number[] => {
    const turns: number = before === null ? 0 : Math.round((before - longitude) / 360);
    before = longitude + 360 * turns;
    return [before, latitude];
  });
  return [-360, 0, 360]
    .map((shift) => whole.map(([longitude = 0, latitude = 0]): readonly number[] => [longitude + shift, latitude]))
    .map((moved) => cut(cut(moved, -180, 1), 180, -1))
    .filter((piece) => piece.length > 2);
}

/** The part of a ring that is east (`side` 1) or west (-1) of a meridian. */
function cut(ring: readonly (readonly number[])[], meridian: number, side: 1 | -1): (readonly number[])[] {
  return ring.flatMap((point, at) => {
    const [longitude = 0, latitude = 0] = point;
    const [lastLongitude = 0, lastLatitude = 0] = ring.at(at - 1) ?? point;
    const [here, there] = [side * (longitude - meridian), side * (lastLongitude - meridian)];
    const share = here === there ? 0 : there / (there - here);
    const crossing = [meridian, lastLatitude + share * (latitude - lastLatitude)];
    if (here >= 0) return there < 0 ? [crossing, point] : [point];
    return there > 0 ? [crossing] : [];
  });
}
