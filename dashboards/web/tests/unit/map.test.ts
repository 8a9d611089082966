import { describe, expect, it } from "vitest";
import { CITIES, placeOf } from "../../src/map/cities";
import { sentimentColour, sentimentShade } from "../../src/map/colour";
import { landPath, withinEdges, WORLD } from "../../src/map/outline";
import { MapFrame, project } from "../../src/map/projection";

describe("the projection", () => {
  it("has the shape that its paper gives: 2.05 times as wide as high, the pole 0.59 of the equator", () => {
    const [equator, zero] = project(180, 0);
    const [pole, height] = project(180, 90);
    expect(zero).toBeCloseTo(0);
    expect(project(0, 0)[0]).toBe(0);
    expect(equator / height).toBeCloseTo(2.05, 2);
    expect(pole / equator).toBeCloseTo(0.59, 2);
  });

  it("is the same on both sides of the equator and of Greenwich", () => {
    const [x, y] = project(37, 51);
    expect(project(-37, -51)).toEqual([-x, -y]);
  });

  it("keeps areas", () => {
    // Two fields of a degree: on the globe their areas are to each other as the cosines of their latitudes.
    const area = (longitude: number, latitude: number): number => {
      const corners = [
        [0, 0],
        [1, 0],
        [1, 1],
        [0, 1],
      ].map(([dx = 0, dy = 0]) => project(longitude + dx, latitude + dy));
      return (
        Math.abs(
          corners.reduce((sum, [x, y], at) => {
            const [nx, ny] = corners[(at + 1) % 4] ?? [0, 0];
            return sum + x * ny - nx * y;
          }, 0),
        ) / 2
      );
    };
    const globe = (latitude: number): number =>
      Math.sin(((latitude + 1) * Math.PI) / 180) - Math.sin((latitude * Math.PI) / 180);
    for (const latitude of [-50, 20, 45, 70]) {
      expect(area(100, latitude) / area(5, 0)).toBeCloseTo(globe(latitude) / globe(0), 3);
    }
  });
});

describe("the map", () => {
  it("has the places within the picture, east on the right and north above", () => {
    const frame = new MapFrame(1_000, -56, 76);
    for (const [name, place] of Object.entries(CITIES)) {
      const [x, y] = frame.place(...place);
      expect(x > 0 && x < 1_000 && y > 0 && y < frame.height, name).toBe(true);
    }
    const [tokyo, newYork, sydney] = (["Tokyo", "New York", "Sydney"] as const).map((name) =>
      frame.place(...(CITIES[name] ?? [0, 0])),
    );
    expect((tokyo?.[0] ?? 0) > (newYork?.[0] ?? 0)).toBe(true);
    expect((tokyo?.[1] ?? 0) < (sydney?.[1] ?? 0)).toBe(true);
    expect(frame.path([])).toBe("");
    expect(
      frame.path([
        [0, 0],
        [10, 0],
        [10, 10],
      ]),
    ).toMatch(/^M[\d.]+ [\d.]+L[\d.]+ [\d.]+L[\d.]+ [\d.]+Z$/);
  });

  it("has land, and no Antarctica", () => {
    const path = landPath();
    expect(path.split("M").length).toBeGreaterThan(80);
    const lowest = Math.max(...[...path.matchAll(/ ([\d.]+)/g)].map((found) => Number(found[1])));
    expect(lowest).toBeLessThan(WORLD.height + 5);
  });

  it("has what lies on both sides of the antimeridian at both edges, and no line across", () => {
    const pieces = withinEdges([
      [170, 10],
      [-170, 10],
      [-170, 20],
      [170, 20],
    ]);
    expect(pieces.map((piece) => piece.map(([longitude]) => longitude))).toEqual([
      [-180, -170, -170, -180],
      [170, 180, 180, 170],
    ]);
    const lines = landPath()
      .split("M")
      .map((line) => [...line.matchAll(/([\d.-]+) [\d.-]+/g)].map((found) => Number(found[1])));
    for (const line of lines)
      for (const [at, x] of line.entries()) expect(Math.abs(x - (line[at - 1] ?? x))).toBeLessThan(WORLD.width / 4);
  });

  it("knows every city of the generator, however it is written", () => {
    const generated = [
      "New York",
      "Los Angeles",
      "Chicago",
      "Toronto",
      "Mexico City",
      "São Paulo",
      "Buenos Aires",
      "London",
      "Manchester",
      "Dublin",
      "Paris",
      "Lyon",
      "Madrid",
      "Barcelona",
      "Berlin",
      "Munich",
      "Amsterdam",
      "Rome",
      "Warsaw",
      "Istanbul",
      "Dubai",
      "Mumbai",
      "Bengaluru",
      "Singapore",
      "Tokyo",
      "Sydney",
    ];
    for (const city of generated) expect(placeOf(city), city).not.toBeNull();
    expect(placeOf("sao paulo ")).toEqual(placeOf("São Paulo"));
    expect(placeOf("Atlantis")).toBeNull();
  });

  it("has the colour of what people feel", () => {
    expect(sentimentShade(0.125)).toEqual({ end: "positive", share: 0.5 });
    // Averages as they usually are can be told apart.
    expect(sentimentShade(0.2).share - sentimentShade(0.1).share).toBeCloseTo(0.4);
    expect(sentimentShade(-2)).toEqual({ end: "negative", share: 1 });
    expect(sentimentColour(null)).toBe("var(--neutral)");
    expect(sentimentColour(-0.4)).toContain("var(--negative) 100%");
  });
});
