import { describe, expect, it } from "vitest";
import { alertsOf, frameOf } from "../../src/live/frames";

const frame = (event: string, data: unknown): unknown => frameOf(JSON.stringify({ event, data }));

describe("a frame", () => {
  it("of metrics has the windows of its views", () => {
    const view = {
      window_start: "2014-01-02T09:30:00Z",
      window_end: "2014-01-02T09:35:00Z",
      rows: [{ key: { symbol: "TSLA" }, mentions: 3 }],
      freshness_ms: 140,
      partial: true,
    };
    expect(frame("metrics:initial", { at: "2014-01-02T09:30:00Z", views: { symbol_sentiment: view } })).toEqual({
      event: "metrics",
      initial: true,
      views: { symbol_sentiment: view },
    });
    expect(frame("metrics:update", { views: {} })).toEqual({ event: "metrics", initial: false, views: {} });
  });

  it("keeps what can be trusted of a view, and nothing else", () => {
    const views = {
      a: { window_start: "soon", rows: [{ key: {}, n: 1 }, { n: 2 }, null, 7, [1]], freshness_ms: "x" },
      b: 7,
      c: null,
    };
    expect(frame("metrics:update", { views })).toEqual({
      event: "metrics",
      initial: false,
      views: {
        a: { window_start: null, window_end: null, rows: [{ key: {}, n: 1 }], freshness_ms: null, partial: false },
      },
    });
  });

  it("of messages has its records, and how many others came", () => {
    expect(frame("message:new", { output: "processed", topic: "t", messages: [{ id: "1" }, 3], skipped: 4 })).toEqual({
      event: "messages",
      output: "processed",
      messages: [{ id: "1" }],
      skipped: 4,
    });
  });

  it("of an alert has an id, or is none", () => {
    const alert = {
      id: "3f",
      alert: "crash",
      view: "v",
      on: "closed",
      key: { symbol: "A" },
      window_start: "x",
      window_end: "y",
      columns: { n: 1 },
      fired_at: "z",
    };
    expect(frame("alert:crash", alert)).toEqual({ event: "alert", alert: { ...alert, previous: null } });
    expect(frame("alert:crash", { alert: "crash" })).toBeNull();
    expect(alertsOf([alert, null, {}, 7] as never)).toEqual([{ ...alert, previous: null }]);
    expect(alertsOf(undefined)).toEqual([]);
  });

  it("of a problem says it, and of another kind is known by its name", () => {
    expect(frame("problem", { title: "Not available now", detail: "a store is down", status: 503 })).toEqual({
      event: "problem",
      title: "Not available now",
      detail: "a store is down",
      view: null,
    });
    expect(frame("problem", { title: "No", detail: "it is down", view: "movie_trends" })).toMatchObject({
      view: "movie_trends",
    });
    expect(frame("metrics:other", {})).toEqual({ event: "other", name: "metrics:other" });
  });

  it("of a heartbeat says how old the newest record of each view is", () => {
    const views = { a: { freshness_ms: 97 }, b: { freshness_ms: null }, c: 5, d: { freshness_ms: "soon" } };
    expect(frame("heartbeat", { time: "2026-01-01T00:00:00Z", views })).toEqual({
      event: "heartbeat",
      freshness: { a: 97, b: null, d: null },
    });
    expect(frame("heartbeat", {})).toEqual({ event: "heartbeat", freshness: {} });
    expect(frame("alerts:missed", { missed: 3 })).toEqual({ event: "alerts-missed" });
  });

  it("that is none is none", () => {
    for (const text of [
      "",
      "{",
      "null",
      "[]",
      "7",
      '{"event":1,"data":{}}',
      '{"event":"problem"}',
      '{"event":"metrics:update","data":{"views":[]}}',
      new ArrayBuffer(2),
    ]) {
      expect(frameOf(text)).toBeNull();
    }
  });
});
