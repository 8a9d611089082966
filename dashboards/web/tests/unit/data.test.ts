import { describe, expect, it } from "vitest";
import { directionOf } from "../../src/data/direction";
import { ageOf, isStale } from "../../src/data/freshness";
import { History, tailFrom, timesOf } from "../../src/data/history";
import { filled, Series } from "../../src/data/series";
import { spanMs, spanText, timeText } from "../../src/data/spans";
import { keyText } from "../../src/live/store";
import { agesOf } from "../../src/views/platform/freshness";
import { PaintTimes } from "../../src/live/paint";

describe("a direction", () => {
  it("is against the window before", () => {
    expect(directionOf(2, 1)).toBe("up");
    expect(directionOf(1, 2)).toBe("down");
    expect(directionOf(-2, -1)).toBe("down");
    expect(directionOf(1, undefined)).toBe("new");
    expect(directionOf(1, null)).toBe("new");
    expect(directionOf(null, 1)).toBe("same");
  });

  it("is none for what only rounding changes", () => {
    expect(directionOf(0.1 + 0.2, 0.3)).toBe("same");
    expect(directionOf(0, 0)).toBe("same");
    expect(directionOf(237.462, 237.463)).toBe("down");
  });
});

describe("a series", () => {
  const at = (time: number, n: number | null = time) => ({ at: time, values: { n } });

  it("is in order, with each window once, whatever order they come in", () => {
    const series = new Series(10);
    for (const point of [at(3), at(1), at(2), at(3, 30), at(5), at(4)]) series.put(point);
    expect(series.points.map((point) => [point.at, point.values.n])).toEqual([
      [1, 1],
      [2, 2],
      [3, 30],
      [4, 4],
      [5, 5],
    ]);
  });

  it("drops the oldest beyond its limit", () => {
    const series = new Series(3);
    for (let n = 0; n < 10; n += 1) series.put(at(n));
    expect(series.points.map((point) => point.at)).toEqual([7, 8, 9]);
    series.put(at(1));
    expect(series.points.map((point) => point.at)).toEqual([7, 8, 9]);
    expect([series.drop(8), series.drop(8)]).toEqual([true, false]);
    expect(series.points.map((point) => point.at)).toEqual([8, 9]);
    series.drop(100);
    expect(series.points).toEqual([]);
  });
});

describe("windows without a row", () => {
  const point = (at: number, n: number) => ({ at, values: { n, average: n / 10 } });
  const filling = { slideMs: 10, counts: ["n"], through: 60, limit: 100 };

  it("have counts of 0 and no averages, and are not known after what was asked for", () => {
    const all = filled([point(10, 5), point(40, 6), point(80, 7)], ["n", "average"], filling);
    expect(all.map(({ at, values }) => [at, values.n, values.average])).toEqual([
      [10, 5, 0.5],
      [20, 0, null],
      [30, 0, null],
      [40, 6, 0.6],
      [50, 0, null],
      [60, 0, null],
      [70, null, null],
      [80, 7, 0.7],
    ]);
  });

  it("follow the last one as far as was asked, and none is there without a first one", () => {
    expect(filled([point(40, 6)], ["n"], filling).map(({ at, values }) => [at, values.n])).toEqual([
      [40, 6],
      [50, 0],
      [60, 0],
    ]);
    expect(filled([], ["n"], filling)).toEqual([]);
  });

  it("are bounded, however far the points are apart", () => {
    const all = filled([point(0, 1), point(1e12, 2)], ["n"], { ...filling, through: 1e12, limit: 5 });
    expect(all.map(({ at }) => at - 1e12)).toEqual([-40, -30, -20, -10, 0]);
  });
});

describe("what is asked for again", () => {
  it("begins before what may have changed since, and within the span", () => {
    const minute = 60_000;
    const known = { end: 100 * minute, fetchedEnd: 99 * minute, sizeMs: 5 * minute, spanMs: 60 * minute };
    expect(tailFrom(known) / minute).toBe(87);
    expect(tailFrom({ ...known, fetchedEnd: 0 }) / minute).toBe(40);
    // Batch may have taken the newest window back.
    expect(tailFrom({ ...known, fetchedEnd: 120 * minute }) / minute).toBe(88);
  });
});

describe("a history", () => {
  const row = (symbol: string, n: number, window_start: string) => ({ key: { symbol }, n, window_start });
  const view = (start: string, n: number) => ({
    windowStart: start,
    windowEnd: start,
    rows: new Map([["k", { key: { symbol: "A" }, n }]]),
    partial: false,
    version: 1,
    windows: 1,
  });

  it("goes on live where what was fetched ends", () => {
    const history = new History({ columns: ["n"], limit: 100 });
    history.putAll([
      row("A", 1, "2014-01-02T09:30:00Z"),
      row("A", 2, "2014-01-02T09:31:00Z"),
      row("B", 9, "2014-01-02T09:31:00Z"),
    ]);
    history.putLive(view("2014-01-02T09:31:00Z", 3));
    history.putLive(view("2014-01-02T09:32:00Z", 4));
    expect(history.points(keyText({ symbol: "A" })).map((point) => point.values.n)).toEqual([1, 3, 4]);
    expect(history.points(keyText({ symbol: "B" })).length).toBe(1);
    expect(history.points("nobody")).toEqual([]);
    expect(timesOf(history.keys.map((key) => history.points(key))).length).toBe(3);
  });

  it("of one key takes no other, and no row without a window", () => {
    const history = new History({ columns: ["n"], limit: 100, only: keyText({ symbol: "A" }) });
    history.put(row("B", 1, ""), "2014-01-02T09:30:00Z");
    history.put(row("A", 1, ""), null);
    history.put(row("A", 1, ""), "soon");
    expect(history.version).toBe(0);
    history.put({ key: { symbol: "A" }, n: "text" }, "2014-01-02T09:30:00Z");
    expect(history.points(keyText({ symbol: "A" }))).toEqual([
      { at: Date.UTC(2014, 0, 2, 9, 30), values: { n: null } },
    ]);
  });

  it("has each window once it was asked for, and none from before its span", () => {
    const history = new History({ columns: ["n"], limit: 100, slideMs: 60_000, counts: ["n"] });
    const [first, third] = ["2014-01-02T09:30:00Z", "2014-01-02T09:32:00Z"];
    const values = (): unknown[] => history.points(keyText({ symbol: "A" })).map((point) => point.values.n);
    history.putAll([row("A", 1, first), row("A", 3, third)]);
    expect(values()).toEqual([1, null, 3]);
    history.fetched(Date.parse(third), true);
    expect(values()).toEqual([1, 0, 3]);
    // A layer that cannot be read may have had rows.
    history.fetched(Date.parse(third), false);
    expect(values()).toEqual([1, null, 3]);
    const before = history.version;
    history.keepFrom(Date.parse(first));
    expect(history.version).toBe(before);
    history.keepFrom(Date.parse(first) + 1);
    expect(values()).toEqual([3]);
    history.keepFrom(Date.parse(third) + 1);
    expect([values(), history.keys]).toEqual([[], []]);
    history.putAll([row("A", 1, first)]);
    expect(values().length).toBe(3);
  });

  it("is bounded in keys", () => {
    const history = new History({ columns: ["n"], limit: 5 });
    for (let n = 0; n < 500; n += 1) history.put(row(`S${n}`, n, ""), "2014-01-02T09:30:00Z");
    expect(history.keys.length).toBe(200);
  });
});

describe("freshness", () => {
  it("goes on while nothing comes, whatever the clock does", () => {
    expect([ageOf({ ms: 97, at: 1_000 }, 1_000), ageOf({ ms: 97, at: 1_000 }, 4_000)]).toEqual([97, 3_097]);
    expect(ageOf({ ms: 97, at: 1_000 }, 0)).toBe(97);
  });

  it("is none after a minute, or two windows where they are longer", () => {
    expect([isStale(60_000, 10_000), isStale(60_001, 10_000), isStale(60_001, null)]).toEqual([false, true, true]);
    expect([isStale(7_200_000, 3_600_000), isStale(7_200_001, 3_600_000)]).toEqual([false, true]);
  });

  it("of several views is listed from the oldest: one that gets data hides none that gets none", () => {
    const views = ["live", "dead", "unknown", "hourly"].map((name) => ({
      name,
      slide: name === "hourly" ? "1h" : "1m",
    }));
    const known: Record<string, { ms: number; at: number }> = {
      live: { ms: 90, at: 10_000 },
      dead: { ms: 200_000, at: 10_000 },
      hourly: { ms: 199_000, at: 10_000 },
    };
    const ages = agesOf(views, (view) => known[view] ?? null, 12_000);
    expect(ages.map((age) => [age.view, age.ms, age.isStale])).toEqual([
      ["dead", 202_000, true],
      ["hourly", 201_000, false],
      ["live", 2_090, false],
      ["unknown", null, false],
    ]);
  });
});

describe("spans", () => {
  it("are read as definitions write them", () => {
    expect(["10s", "5m", "1h30m", "250ms", "1d", "x", "", "5", "1h 3m"].map(spanMs)).toEqual([
      10_000,
      300_000,
      5_400_000,
      250,
      86_400_000,
      null,
      null,
      null,
      null,
    ]);
    expect(spanText(300_000)).toBe("300s");
    expect(timeText(0)).toBe("1970-01-01T00:00:00.000Z");
  });
});

describe("paint times", () => {
  it("are summed up, over the newest only", () => {
    const times = new PaintTimes();
    expect(times.summary()).toEqual({ count: 0, lastMs: null, medianMs: null, p95Ms: null, mostMs: null });
    for (let n = 1; n <= 100; n += 1) times.add(n);
    expect(times.summary()).toEqual({ count: 100, lastMs: 100, medianMs: 51, p95Ms: 96, mostMs: 100 });
    for (let n = 0; n < 600; n += 1) times.add(1);
    expect(times.summary()).toMatchObject({ count: 700, mostMs: 1 });
    expect(times.recent.length).toBe(512);
  });
});
