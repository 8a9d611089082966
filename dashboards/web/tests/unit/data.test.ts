import { describe, expect, it } from "vitest";
import { directionOf } from "../../src/data/direction";
import { History, timesOf } from "../../src/data/history";
import { Series } from "../../src/data/series";
import { spanMs, spanText, timeText } from "../../src/data/spans";
import { keyText } from "../../src/live/store";
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
    series.clear();
    expect(series.points).toEqual([]);
  });
});

describe("a history", () => {
  const row = (symbol: string, n: number, window_start: string) => ({ key: { symbol }, n, window_start });
  const view = (start: string, n: number) => ({
    windowStart: start,
    windowEnd: start,
    rows: new Map([["k", { key: { symbol: "A" }, n }]]),
    freshnessMs: null,
    partial: false,
    version: 1,
    windows: 1,
  });

  it("goes on live where what was fetched ends", () => {
    const history = new History(["n"], 100);
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
    const history = new History(["n"], 100, keyText({ symbol: "A" }));
    history.put(row("B", 1, ""), "2014-01-02T09:30:00Z");
    history.put(row("A", 1, ""), null);
    history.put(row("A", 1, ""), "soon");
    expect(history.version).toBe(0);
    history.put({ key: { symbol: "A" }, n: "text" }, "2014-01-02T09:30:00Z");
    expect(history.points(keyText({ symbol: "A" }))).toEqual([
      { at: Date.UTC(2014, 0, 2, 9, 30), values: { n: null } },
    ]);
  });

  it("is bounded in keys", () => {
    const history = new History(["n"], 5);
    for (let n = 0; n < 500; n += 1) history.put(row(`S${n}`, n, ""), "2014-01-02T09:30:00Z");
    expect(history.keys.length).toBe(200);
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
