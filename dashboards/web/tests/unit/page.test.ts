import { describe, expect, it } from "vitest";
import { messageOf, request, RequestFailed, withQuery } from "../../src/api/client";
import { countsOf, numberOf, textOf } from "../../src/api/types";
import { scaleOf } from "../../src/charts/scale";
import { timeOption } from "../../src/charts/time";
import { alone, axisScale, dataOf, spanOf, tidelineOf, type TrendChart } from "../../src/charts/trend";
import type { Palette } from "../../src/charts/palette";
import { hrefOf, parseRoute } from "../../src/route";
import { remember, remembered } from "../../src/theme";
import { gaugePoint } from "../../src/ui/gauge";
import { compareCells } from "../../src/ui/table";
import { tabAfter } from "../../src/ui/tabs";
import { newest } from "../../src/views/customers/messages";
import { learnersOf, predictionsOf, settlingMs, waitingOf } from "../../src/views/movies/predictions";
import { heightOf, piersOf } from "../../src/views/platform/tide";
import { endOffset, reportNote } from "../../src/views/viewing/reports";
import { policyOfServer } from "../mock/policy";
import { memory } from "./memory";

describe("addresses", () => {
  it("say what they were made of", () => {
    for (const item of [null, "TSLA", "Dune: Part Two / 100 % #1", "Æon"]) {
      expect(parseRoute(hrefOf("movies", item))).toEqual({ view: "movies", item });
    }
    expect(parseRoute("#/viewing/batch")).toEqual({ view: "viewing", item: "batch" });
  });

  it("that are none lead nowhere, and a damaged item is none", () => {
    for (const hash of ["", "#", "#/", "#/nothing", "#/constructor"]) expect(parseRoute(hash)).toBeNull();
    expect(parseRoute("#/symbols/%E0%A4%A")).toEqual({ view: "symbols", item: null });
  });
});

describe("the theme", () => {
  it("is remembered when it is another than the system's, and forgotten when it is the same", () => {
    const kept = memory();
    remember(kept, "dark", "light");
    expect(remembered(kept)).toBe("dark");
    remember(kept, "light", "light");
    expect(kept.values.size).toBe(0);
    kept.values.set("tideline.theme", "purple");
    expect(remembered(kept)).toBeNull();
  });

  it("does without a memory, also one that refuses", () => {
    const refuses = {
      getItem: () => {
        throw new Error("no");
      },
      setItem: () => {
        throw new Error("no");
      },
      removeItem: () => undefined,
    };
    expect(remembered(refuses)).toBeNull();
    expect(() => remember(refuses, "dark", "light")).not.toThrow();
    expect(remembered(null)).toBeNull();
  });
});

describe("requests", () => {
  const answering = (status: number, body: string): typeof fetch =>
    (async () => new Response(body, { status })) as unknown as typeof fetch;

  it("give what was answered", async () => {
    await expect(request("/v1/views", { fetch: answering(200, '{"views":[]}') })).resolves.toEqual({ views: [] });
    await expect(request("/readyz", { fetch: answering(503, '{"ready":false,"checks":[]}') })).resolves.toEqual({
      ready: false,
      checks: [],
    });
  });

  it("fail with what the problem says", async () => {
    const problem =
      '{"type":"urn:tideline:problem:not-published","title":"Not published yet","status":404,"detail":"by the next run"}';
    const failed = await request("/v1/reports/x", { fetch: answering(404, problem) }).catch((error: unknown) => error);
    expect(failed).toMatchObject({
      kind: "not-published",
      message: "by the next run",
      status: 404,
      unreachable: false,
    });
  });

  it("fail as unreachable without a server, or with one that cannot reach it", async () => {
    const refused = (async () => Promise.reject(new TypeError("fetch failed"))) as unknown as typeof fetch;
    expect(await request("/v1/views", { fetch: refused }).catch((error: unknown) => error)).toMatchObject({
      kind: "unreachable",
      unreachable: true,
    });
    expect(
      await request("/v1/views", { fetch: answering(502, "<html>") }).catch((error: unknown) => error),
    ).toMatchObject({ kind: "unreadable", unreachable: true });
    expect(messageOf(new RequestFailed("x", "said", 1))).toBe("said");
  });

  it("that are aborted are not a failure of the server", async () => {
    const control = new AbortController();
    control.abort();
    const waits = (async (_: string, init: RequestInit) => {
      init.signal?.throwIfAborted();
    }) as unknown as typeof fetch;
    await expect(request("/v1/views", { fetch: waits, signal: control.signal })).rejects.not.toBeInstanceOf(
      RequestFailed,
    );
  });

  it("carry the parameters that are given", () => {
    expect(withQuery("/v1/x", { a: "1 & 2", b: null, c: undefined, d: 0 })).toBe("/v1/x?a=1+%26+2&d=0");
    expect(withQuery("/v1/x", {})).toBe("/v1/x");
  });
});

describe("columns", () => {
  it("are what they are expected to be, or nothing", () => {
    const row = { n: 1.5, text: "x", map: { a: 1, b: "no" }, list: [1], nan: NaN };
    expect([numberOf(row, "n"), numberOf(row, "text"), numberOf(row, "nan"), numberOf(undefined, "n")]).toEqual([
      1.5,
      null,
      null,
      null,
    ]);
    expect([textOf(row, "text"), textOf(row, "n"), textOf(row, "map"), textOf(row, "none")]).toEqual([
      "x",
      "1.5",
      "",
      "",
    ]);
    expect([countsOf(row, "map"), countsOf(row, "list"), countsOf(row, "none")]).toEqual([{ a: 1 }, {}, {}]);
  });
});

describe("tables", () => {
  it("sort numbers by size, texts by letters, and nothing last both ways", () => {
    const cells = [
      { show: "b", by: 10 },
      { show: "a", by: 9 },
      { show: null, by: null },
    ];
    const sorted = (descending: boolean) =>
      [...cells].sort((a, b) => compareCells(a, b, descending)).map((cell) => cell.by);
    expect(sorted(false)).toEqual([9, 10, null]);
    expect(sorted(true)).toEqual([10, 9, null]);
    expect(compareCells("a", "b", false)).toBeLessThan(0);
  });
});

describe("tabs", () => {
  it("are moved between by arrows, around the ends", () => {
    expect([
      tabAfter("ArrowRight", 2, 3),
      tabAfter("ArrowLeft", 0, 3),
      tabAfter("Home", 2, 3),
      tabAfter("End", 0, 3),
      tabAfter("x", 0, 3),
    ]).toEqual([0, 2, 0, 2, null]);
  });
});

describe("the gauge", () => {
  it("goes from the left over the top to the right, and not beyond", () => {
    expect(gaugePoint(-1, 50)[0]).toBeCloseTo(60);
    expect(gaugePoint(0, 50)[1]).toBeCloseTo(54);
    expect(gaugePoint(1, 50)[0]).toBeCloseTo(160);
    expect(gaugePoint(7, 50)).toEqual(gaugePoint(1, 50));
  });
});

describe("predictions", () => {
  const row = (timestamp: string, actual: number | null, version = "v1") => ({
    timestamp,
    movie_title: "Dune",
    actual_trend_score: actual,
    predicted_trend_score: 10,
    prediction_error: actual === null ? null : actual - 10,
    model_version: version,
    status: "",
  });

  it("are in order, one per window and model, settled where they are settled", () => {
    const rows = [
      row("2024-05-06T20:01:00Z", null),
      row("2024-05-06T20:00:00Z", 12),
      row("2024-05-06T20:00:00Z", null),
      row("2024-05-06T20:00:00Z", null, "v2"),
      row("never", 1),
    ];
    for (const each of [rows, [...rows].reverse()]) {
      expect(
        predictionsOf(each).map((p) => [new Date(p.at).toISOString().slice(11, 16), p.model, p.actual, p.error]),
      ).toEqual([
        ["20:00", "v1", 12, 2],
        ["20:00", "v2", null, null],
        ["20:01", "v1", null, null],
      ]);
    }
  });

  it("of the newest window wait to be settled, which takes as long as it took before", () => {
    const end = "2024-05-06T20:06:00Z";
    const rows = [
      { ...row("2024-05-06T20:01:00Z", null, "v2"), window_end: end },
      { ...row("2024-05-06T20:01:00Z", null), window_end: end },
      { ...row("2024-05-06T20:00:00Z", 12), window_end: "2024-05-06T20:05:00Z" },
    ];
    const predictions = predictionsOf(rows);
    expect(waitingOf(predictions).map((p) => p.model)).toEqual(["v1", "v2"]);
    expect(settlingMs(predictions, Date.parse("2024-05-06T20:08:00Z"))).toBe(180_000);
    expect(settlingMs(predictions, Date.parse("2024-05-06T20:00:00Z"))).toBe(0);
    expect([settlingMs(predictions, null), settlingMs([], 5), waitingOf([])]).toEqual([null, null, []]);
    // One that is settled does not wait.
    expect(waitingOf(predictions.filter((p) => p.actual !== null))).toEqual([]);
  });

  it("have models with their figures, and a reason when there are none", () => {
    const model = { version: "v1", features: [], predictions: 12, evaluated: 9, mae: 1, rmse: 2, r2: null };
    const answer = {
      predictions: [
        { name: "other", view: "another", models: [model], partitions: [] },
        {
          name: "p",
          view: "v",
          models: [model],
          partitions: [
            { drift: [], refused: null },
            { drift: ["2024-05-06T19"], refused: "its features have changed" },
          ],
        },
      ],
    };
    expect(learnersOf(answer, "v")).toEqual([
      {
        name: "p",
        models: [{ version: "v1", mae: 1, rmse: 2, r2: null, evaluated: 9 }],
        hasDrift: true,
        refused: "its features have changed",
      },
    ]);
    for (const nothing of [null, [], {}, { predictions: [{}] }, { predictions: 3 }])
      expect(learnersOf(nothing, "v")).toEqual([]);
  });
});

describe("reports", () => {
  it("are read from their end, which is not known before they are published", () => {
    const reports = [
      { name: "hours", columns: null, rows: 2_500 },
      { name: "few", columns: null, rows: 3 },
      { name: "none", columns: null, rows: null },
    ];
    expect(["hours", "few", "none", "unknown"].map((name) => endOffset(reports, name, 2_000))).toEqual([500, 0, 0, 0]);
  });

  it("that cannot be read any more say as of when they are", () => {
    const data = { report: "hours" } as never;
    const failed = new RequestFailed("unavailable", "a store is down", 503);
    const fetched = { data, at: Date.UTC(2026, 0, 1, 12, 0, 3), failed: null, retry: () => undefined };
    expect(reportNote(fetched, "version 7")).toBe("version 7");
    expect(reportNote({ ...fetched, failed }, "version 7")).toBe("version 7 · as of 12:00:03 UTC, cannot be read now");
    expect(reportNote({ ...fetched, data: null }, "version 7")).toBeUndefined();
  });
});

describe("messages", () => {
  it("are shown once each, the newest first, wherever they came from", () => {
    const at = (id: string, event_time: string) => ({ id, event_time });
    const live = [at("3", "2026-06-14T12:00:03Z"), at("2b", "2026-06-14T12:00:02Z"), at("2", "2026-06-14T12:00:02Z")];
    const kept = [at("4", "2026-06-14T12:00:03.5Z"), at("2", "2026-06-14T12:00:02Z"), at("1", ""), { text: "no id" }];
    expect(newest(live, kept).map((message) => message.id)).toEqual(["4", "3", "2b", "2", "1"]);
    expect(
      newest(
        Array.from({ length: 99 }, (_, n) => ({ id: `${n}` })),
        [],
      ).length,
    ).toBe(60);
  });
});

describe("the tideline", () => {
  it("is as high as speed is ahead", () => {
    expect([heightOf(-5), heightOf(0), heightOf(7 * 86_400_000), heightOf(1e15)]).toEqual([0, 0, 1, 1]);
    expect(heightOf(60_000)).toBeGreaterThan(heightOf(10_000));
  });

  it("has a pier for each view", () => {
    const status = {
      views: {
        a: { through: "2014-01-02T09:30:00Z", newest_pane: "2014-01-02T09:34:00Z" },
        b: { through: null, newest_pane: "2014-01-02T09:34:00Z" },
        c: { through: "2014-01-02T09:30:00Z", newest_pane: "2014-01-02T09:20:00Z" },
        d: { through: null, newest_pane: null },
      },
    };
    const info = { pane: "1m" };
    const views = new Map(["a", "b", "c", "d"].map((name) => [name, info]));
    const piers = piersOf(status as never, views as never);
    expect(piers.map((pier) => [pier.view, pier.aheadMs, pier.above > 0])).toEqual([
      ["a", 300_000, true],
      ["b", null, true],
      ["c", 0, false],
      ["d", null, false],
    ]);
  });
});

describe("charts over time", () => {
  const palette: Palette = {
    ink: "#000",
    quiet: "#000",
    line: "#000",
    panel: "#000",
    batch: "#000",
    speed: "#000",
    positive: "#000",
    neutral: "#000",
    negative: "#000",
    series: [],
  };
  const series = [
    {
      name: "n",
      kind: "line" as const,
      colour: "#000",
      points: [
        [0, 1],
        [100, 2],
      ] as [number, number][],
    },
  ];
  const lineOf = (tideline: number | null): unknown => {
    const option = timeOption(palette, { series, axes: [{ name: "n" }], tideline });
    return (option.series as { markLine?: { data: unknown } }[])[0]?.markLine?.data;
  };

  it("show the tideline where it is in the picture", () => {
    expect(lineOf(50)).toEqual([{ xAxis: 50 }]);
    for (const outside of [-1, 0, 100, 101, null]) expect(lineOf(outside)).toBeUndefined();
  });

  it("have a gap where there is no value, and a point for a value alone in it", () => {
    const points = [
      [0, 1],
      [10, 2],
      [20, null],
      [30, 4],
      [40, null],
    ] as [number, number | null][];
    const [line, bar] = [series, series.map((each) => ({ ...each, kind: "bar" as const }))].map((all) => {
      const option = timeOption(palette, { series: all.map((each) => ({ ...each, points })), axes: [{ name: "n" }] });
      return (option.series as { data: unknown[]; showSymbol?: boolean }[])[0];
    });
    expect(line?.showSymbol).toBe(true);
    expect(line?.data).toEqual([[0, 1], [10, 2], [20, null], { value: [30, 4], symbol: "circle" }, [40, null]]);
    expect(bar?.data).toEqual(points);
    const whole = (timeOption(palette, { series, axes: [{ name: "n" }] }).series as { showSymbol: boolean }[])[0];
    expect(whole?.showSymbol).toBe(false);
  });

  it("are in UTC, and do not move by themselves", () => {
    expect(timeOption(palette, { series: [], axes: [] })).toMatchObject({ useUTC: true, animation: false });
  });
});

describe("a trend", () => {
  const MINUTE = 60_000;
  const chart: TrendChart = {
    times: [0, MINUTE, 3 * MINUTE],
    series: [
      { name: "messages", kind: "bar", colour: "#000", values: [900, 1_150, 700], axis: 1 },
      { name: "sentiment", kind: "line", colour: "#000", values: [0.41, null, 0.48], axis: 0 },
    ],
    axes: [
      { name: "sentiment", hasZero: false, digits: 2 },
      { name: "messages", hasZero: true },
    ],
    tideline: MINUTE,
  };

  it("has the times, and the values of each series where there are some", () => {
    expect(dataOf(chart)).toEqual([
      [0, MINUTE, 3 * MINUTE],
      [900, 1_150, 700],
      [0.41, null, 0.48],
    ]);
  });

  it("has a point where a value has none beside it", () => {
    expect([alone([1, null, 2, 3, null, 4]), alone([5]), alone([null]), alone([1, 2])]).toEqual([[0, 5], [0], [], []]);
  });

  it("has room for half a bar on both sides, also where there is only one, or none", () => {
    expect(spanOf(chart.times)).toEqual([-MINUTE / 2, 3.5 * MINUTE]);
    for (const times of [[7], [7, 7]]) expect(spanOf(times)).toEqual([7 - MINUTE / 2, 7 + MINUTE / 2]);
    expect(spanOf([])).toEqual([-MINUTE / 2, MINUTE / 2]);
  });

  it("has a scale of its own on each side", () => {
    const [left, right] = [axisScale(chart, 0), axisScale(chart, 1)];
    expect([left.from, left.to, left.digits]).toEqual([expect.closeTo(0.4), expect.closeTo(0.48), 2]);
    expect(right).toMatchObject({ from: 0, to: 1_200, ticks: [0, 300, 600, 900, 1_200], digits: 0 });
    expect(axisScale({ ...chart, series: [] }, 0)).toMatchObject({ from: 0, to: 1 });
  });

  it("shows the tideline where it is in the picture", () => {
    expect(tidelineOf(chart)).toBe(MINUTE);
    for (const tideline of [null, -1, 0, 3 * MINUTE, 4 * MINUTE]) expect(tidelineOf({ ...chart, tideline })).toBeNull();
    expect(tidelineOf({ ...chart, times: [] })).toBeNull();
  });
});

describe("the policy of the server", () => {
  it("lets the page load its own files, and nothing else", async () => {
    const policy = await policyOfServer();
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; /);
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/https?:|unsafe-eval|\\/);
  });
});

describe("a scale", () => {
  it("goes in round steps from zero to beyond the longest", () => {
    expect(scaleOf([208, 85, 293])).toEqual({ from: 0, to: 300, ticks: [0, 100, 200, 300], digits: 0 });
    expect(scaleOf([45_800, 12])).toMatchObject({ to: 60_000, ticks: [0, 20_000, 40_000, 60_000] });
    const small = scaleOf([0.23, 0.48]);
    expect([small.from, small.digits]).toEqual([0, 1]);
    expect(small.to).toBeCloseTo(0.6);
  });

  it("has zero only where it must be", () => {
    expect(scaleOf([1_020, 1_180], { parts: 4, hasZero: false })).toMatchObject({ from: 1_000, to: 1_200 });
    expect(scaleOf([5, 5], { hasZero: false })).toMatchObject({ from: 5, to: 6 });
    expect(scaleOf([], { hasZero: false })).toMatchObject({ from: 0, to: 1 });
  });

  it("goes to both sides of zero, and is one where there is nothing", () => {
    const both = scaleOf([-0.3, 0.48]);
    expect(both.ticks.map((tick) => Number(tick.toFixed(6)))).toEqual([-0.3, 0, 0.3, 0.6]);
    expect(scaleOf([-3, -1]).to).toBe(0);
    for (const values of [[], [0], [0, 0]]) expect(scaleOf(values)).toMatchObject({ from: 0, to: 1 });
  });
});
