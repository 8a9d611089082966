import { describe, expect, it } from "vitest";
import { AlertLog, ALERTS_KEPT } from "../../src/live/alerts";
import type { AlertRecord, Frame, ViewFrame } from "../../src/live/frames";
import { LiveStore, MESSAGES_KEPT, keyText } from "../../src/live/store";

const START = "2014-01-02T09:30:00Z";
const NEXT = "2014-01-02T09:31:00Z";

function metrics(start: string, rows: Record<string, number>, initial = false): Frame {
  const view: ViewFrame = {
    window_start: start,
    window_end: start,
    rows: Object.entries(rows).map(([symbol, n]) => ({ key: { symbol }, n })),
    freshness_ms: 5,
    partial: false,
  };
  return { event: "metrics", initial, views: { v: view } };
}

/** When all of this happens. */
const NOW = 1_000_000;

const counts = (store: LiveStore): unknown[] =>
  [...store.view("v").rows.values()].map((row) => [row.key.symbol, row.n]);

describe("the store", () => {
  it("puts changed rows beside those that stay", () => {
    const store = new LiveStore();
    store.apply(metrics(START, { A: 1, B: 2 }, true), NOW);
    store.apply(metrics(START, { B: 3, C: 1 }), NOW);
    expect(counts(store)).toEqual([
      ["A", 1],
      ["B", 3],
      ["C", 1],
    ]);
  });

  it("begins a new window empty, and one that was sent anew too", () => {
    const store = new LiveStore();
    store.apply(metrics(START, { A: 1, B: 2 }, true), NOW);
    store.apply(metrics(NEXT, { B: 1 }), NOW);
    expect(counts(store)).toEqual([["B", 1]]);
    expect(store.view("v").windows).toBe(2);
    store.apply(metrics(NEXT, { C: 1 }, true), NOW);
    expect(counts(store)).toEqual([["C", 1]]);
    expect(store.generation).toBe(2);
  });

  it("gives the same object until a view changes", () => {
    const store = new LiveStore();
    store.apply(metrics(START, { A: 1 }, true), NOW);
    const before = store.view("v");
    store.apply({ event: "messages", output: "o", messages: [], skipped: 0 }, NOW);
    expect(store.view("v")).toBe(before);
    store.apply(metrics(START, { A: 1 }), NOW);
    expect(store.view("v")).not.toBe(before);
    expect(store.view("other").rows.size).toBe(0);
  });

  it("keeps the newest messages, the newest first, and counts what was skipped", () => {
    const store = new LiveStore();
    const say = (ids: number[], skipped = 0): null => {
      store.apply({ event: "messages", output: "o", messages: ids.map((id) => ({ id })), skipped }, NOW);
      return null;
    };
    say([1, 2]);
    say([3], 5);
    expect(store.messages("o").map((message) => message.record.id)).toEqual([3, 2, 1]);
    expect(store.skipped).toBe(5);
    say(Array.from({ length: 200 }, (_, n) => n));
    expect(store.messages("o").length).toBe(MESSAGES_KEPT);
    expect(store.messages("o")[0]?.record.id).toBe(199);
    expect(store.messages("other")).toEqual([]);
  });

  it("remembers what cannot be read, view by view, until it is read again", () => {
    const store = new LiveStore();
    const problem = (view: string | null, detail: string): Frame => ({ event: "problem", title: "No", detail, view });
    expect([store.view("v").version, store.problemOf("v")]).toEqual([0, null]);
    store.apply(problem("other", "a store is down"), NOW);
    store.apply(problem("v", ""), NOW);
    expect([store.problem, store.problemOf("v"), store.problemOf("w")]).toEqual(["a store is down No", "No", null]);
    store.apply(metrics(START, {}), NOW);
    expect([store.problem, store.problemOf("v"), store.problemOf("other")]).toEqual([
      "a store is down",
      null,
      "a store is down",
    ]);
    expect(store.view("v").version).toBe(1);
    // A server that sends everything anew tells anew what it cannot read.
    store.apply(metrics(START, {}, true), NOW);
    expect(store.problem).toBeNull();
  });

  it("remembers a problem of no view in particular until metrics come again", () => {
    const store = new LiveStore();
    store.apply({ event: "problem", title: "Not available now", detail: "", view: null }, NOW);
    expect([store.problem, store.problemOf("v")]).toEqual(["Not available now", "Not available now"]);
    store.apply(metrics(START, {}), NOW);
    expect([store.problem, store.problemOf("v")]).toEqual([null, null]);
  });

  it("knows how old a view's newest record is, and when that was told, also without rows", () => {
    const store = new LiveStore();
    expect(store.freshness("v")).toBeNull();
    store.apply(metrics(START, { A: 1 }), NOW);
    expect(store.freshness("v")).toEqual({ ms: 5, at: NOW });
    const view = store.view("v");
    store.apply({ event: "heartbeat", freshness: { v: 5_005, w: null } }, NOW + 5_000);
    expect(store.freshness("v")).toEqual({ ms: 5_005, at: NOW + 5_000 });
    expect(store.freshness("w")).toBeNull();
    // Nothing of it is painted anew.
    expect(store.view("v")).toBe(view);
  });

  it("counts when alerts were missed", () => {
    const store = new LiveStore();
    store.apply({ event: "alerts-missed" }, NOW);
    expect(store.missed).toBe(1);
  });

  it("tells keys apart", () => {
    expect(keyText({ a: "1" })).not.toBe(keyText({ a: 1 }));
    expect(keyText({ a: "x", b: "y" })).not.toBe(keyText({ a: 'x","y' }));
    expect(keyText({ a: null })).not.toBe(keyText({ a: "null" }));
  });
});

describe("alerts", () => {
  const alert = (id: string, name = "crash"): AlertRecord => ({
    id,
    alert: name,
    view: "v",
    on: "closed",
    key: {},
    window_start: "",
    window_end: "",
    columns: {},
    previous: null,
    fired_at: "",
  });

  it("are listed once each, by name, the newest first, and not without end", () => {
    const log = new AlertLog();
    expect([log.add(alert("1")), log.add(alert("2", "churn")), log.add(alert("1")), log.add(alert("3"))]).toEqual([
      true,
      true,
      false,
      true,
    ]);
    expect(log.of("crash").map((each) => each.id)).toEqual(["3", "1"]);
    expect(log.version).toBe(3);
    // Those that the server remembers go where they belong.
    log.addAll([alert("1"), { ...alert("0"), fired_at: "2014" }, { ...alert("9"), fired_at: "2026" }]);
    expect(log.of("crash").map((each) => each.id)).toEqual(["9", "0", "3", "1"]);
    for (let n = 0; n < 2 * ALERTS_KEPT; n += 1) log.add(alert(`n${n}`));
    expect(log.of("crash").length).toBe(ALERTS_KEPT);
    // What fires often does not push out what fires seldom.
    expect(log.of("churn").map((each) => each.id)).toEqual(["2"]);
  });
});
