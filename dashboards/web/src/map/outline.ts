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
  const shown = rings.filter((ring) => ring.some(([, latitude = 0]) => latitude > SOUTH));
  return shown.map((ring) => WORLD.path(ring)).join("");
}
