import { describe, expect, it } from "vitest";
import type { Json } from "../../src/api/types";
import {
  Connection,
  liveUrl,
  type ConnectionState,
  type Socket,
  type Surroundings,
  type Wanted,
} from "../../src/live/connection";
import type { Frame } from "../../src/live/frames";
import { pauseMs, RECONNECT } from "../../src/live/backoff";

const WANTED: Wanted = { views: ["movie_trends"], outputs: [], rows: 10, messages: 1, interval: "100ms" };

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;

  constructor(readonly url: string) {}

  close(): void {
    this.closed = true;
  }
}

/** A browser whose time passes when it is told to. */
class World implements Surroundings {
  readonly sockets: FakeSocket[] = [];
  readonly states: ConnectionState[] = [];
  readonly frames: Frame[] = [];
  readonly asked: string[] = [];
  /** What the server answers: a body, or null where nothing answers. */
  answer: (path: string) => { status: number; body: Json } | null = () => null;
  #time = 1_000_000;
  #timers: { at: number; run: () => void }[] = [];

  readonly connection: Connection;

  constructor(wanted: Wanted = WANTED) {
    this.connection = new Connection(wanted, this, {
      state: (state) => this.states.push(state),
      frame: (frame) => this.frames.push(frame),
    });
  }

  open(url: string): Socket {
    const socket = new FakeSocket(url);
    this.sockets.push(socket);
    return socket;
  }

  readonly fetch = (async (path: string, init: RequestInit) => {
    this.asked.push(path);
    const answer = this.answer(path);
    if (init.signal?.aborted) throw new DOMException("", "AbortError");
    if (answer === null) throw new TypeError("fetch failed");
    return new Response(JSON.stringify(answer.body), { status: answer.status });
  }) as unknown as typeof fetch;

  now(): number {
    return this.#time;
  }

  random(): number {
    return 0;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#time + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  /** Lets time pass, and what is due happen, in order. */
  async pass(ms: number): Promise<void> {
    const end = this.#time + ms;
    for (;;) {
      await settled();
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#time = Math.max(this.#time, due.at);
      due.run();
    }
    this.#time = end;
  }

  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket");
    return socket;
  }

  get timers(): number {
    return this.#timers.length;
  }

  get kinds(): string[] {
    return this.states.map((state) => state.kind);
  }
}

async function settled(): Promise<void> {
  for (let n = 0; n < 20; n += 1) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}

const top = (mentions: number): { status: number; body: Json } => ({
  status: 200,
  body: {
    view: "movie_trends",
    by: "trend_score",
    window_start: "2024-05-06T19:55:00Z",
    window_end: "2024-05-06T20:00:00Z",
    rows: [{ key: { movie_title: "Dune" }, mentions }],
    provenance: { through: null, freshness_ms: 9, missing: [] },
  },
});

describe("the address of the socket", () => {
  it("names what is wanted, and what is not", () => {
    expect(liveUrl({ views: ["a", "b c"], outputs: [], rows: 7, messages: 3, interval: "100ms" })).toBe(
      "/v1/live?view=a&view=b+c&output=none&interval=100ms&rows=7&messages=3",
    );
    expect(liveUrl({ views: [], outputs: ["o"], rows: 1, messages: 1, interval: "1s" })).toContain(
      "view=none&output=o",
    );
    expect(liveUrl({ ...WANTED, allViews: true })).not.toContain("view=");
  });
});

describe("pauses", () => {
  it("double up to a bound, and chance makes them shorter, not longer", () => {
    expect([1, 2, 3, 4].map((n) => pauseMs(n, 0))).toEqual([300, 600, 1_200, 2_400]);
    expect(pauseMs(60, 0)).toBe(RECONNECT.mostMs);
    expect(pauseMs(60, 1)).toBe(RECONNECT.mostMs * 0.8);
    expect(pauseMs(0, 0)).toBe(300);
  });
});

describe("a connection", () => {
  it("is live with its socket, and passes on frames but not noise", async () => {
    const world = new World();
    world.connection.start();
    world.socket.onopen?.();
    world.socket.onmessage?.({ data: JSON.stringify({ event: "metrics:initial", data: { views: {} } }) });
    world.socket.onmessage?.({ data: "noise" });
    expect(world.kinds).toEqual(["live"]);
    expect(world.frames).toEqual([{ event: "metrics", initial: true, views: {} }]);
    expect(world.asked).toEqual([]);
  });

  it("comes back soon after a restart, without asking for everything", async () => {
    const world = new World();
    world.connection.start();
    world.socket.onopen?.();
    world.socket.onclose?.();
    await world.pass(299);
    expect(world.sockets.length).toBe(1);
    await world.pass(1);
    expect(world.sockets.length).toBe(2);
    world.socket.onopen?.();
    expect(world.kinds).toEqual(["live", "connecting", "live"]);
    expect(world.asked).toEqual([]);
  });

  it("fetches every two seconds where there is no socket, and stops when there is one", async () => {
    const world = new World();
    let mentions = 1;
    world.answer = () => top(mentions);
    world.connection.start();
    world.socket.onclose?.();
    await world.pass(0);
    expect(world.kinds).toEqual(["fetching"]);
    expect(world.asked).toEqual(["/v1/views/movie_trends/top?limit=10"]);
    mentions = 2;
    // Sockets that do not open are given up, and tried again with longer pauses.
    await world.pass(2_000);
    expect(world.asked.length).toBe(2);
    const rows = world.frames.map(
      (frame) => frame.event === "metrics" && [frame.initial, frame.views.movie_trends?.rows[0]?.mentions],
    );
    expect(rows).toEqual([
      [true, 1],
      [false, 2],
    ]);
    world.socket.onopen?.();
    await world.pass(20_000);
    expect(world.kinds.at(-1)).toBe("live");
    expect(world.asked.length).toBe(2);
  });

  it("gives up a socket that does not open", async () => {
    const world = new World();
    world.answer = () => top(1);
    world.connection.start();
    const first = world.socket;
    await world.pass(5_000);
    expect(first.closed).toBe(true);
    expect(world.kinds).toEqual(["fetching"]);
    await world.pass(300);
    expect(world.sockets.length).toBe(2);
    // What the first one still says is not heard.
    first.onmessage?.({ data: JSON.stringify({ event: "metrics:initial", data: { views: {} } }) });
    expect(world.frames.length).toBe(1);
  });

  it("says that the server is down, since when, and until when it waits, and recovers", async () => {
    const world = new World();
    world.connection.start();
    world.socket.onclose?.();
    await world.pass(0);
    expect(world.connection.state).toEqual({ kind: "down", since: 1_000_000, retryAt: 1_000_300 });
    for (let n = 0; n < 8; n += 1) {
      await world.pass(RECONNECT.mostMs);
      world.socket.onclose?.();
      await world.pass(0);
    }
    expect(world.connection.state).toEqual({ kind: "down", since: 1_000_000, retryAt: world.now() + RECONNECT.mostMs });
    world.connection.retryNow();
    world.socket.onopen?.();
    expect(world.connection.state).toEqual({ kind: "live" });
    // The pauses begin anew.
    world.socket.onclose?.();
    const sockets = world.sockets.length;
    await world.pass(300);
    expect(world.sockets.length).toBe(sockets + 1);
  });

  it("goes from fetching to down to fetching", async () => {
    const world = new World();
    world.answer = () => top(1);
    world.connection.start();
    world.socket.onclose?.();
    await world.pass(0);
    world.answer = () => null;
    await world.pass(2_000);
    expect(world.connection.state.kind).toBe("down");
    world.answer = () => top(1);
    world.socket.onclose?.();
    await world.pass(0);
    expect(world.connection.state.kind).toBe("fetching");
  });

  it("takes a problem for an answer, and asks no more for a view that is not there", async () => {
    const world = new World({ ...WANTED, views: ["movie_trends", "gone"] });
    world.answer = (path) =>
      path.includes("gone")
        ? { status: 404, body: { type: "urn:tideline:problem:unknown-view", detail: "there is no view `gone`" } }
        : { status: 503, body: { type: "urn:tideline:problem:unavailable", detail: "a store is down" } };
    world.connection.start();
    world.socket.onclose?.();
    await world.pass(0);
    expect(world.kinds).toEqual(["fetching"]);
    // After the metrics, which would take it away.
    expect(world.frames).toEqual([
      { event: "metrics", initial: true, views: {} },
      { event: "problem", title: "unavailable", detail: "a store is down", view: "movie_trends" },
    ]);
    world.asked.length = 0;
    await world.pass(2_000);
    expect(world.asked).toEqual(["/v1/views/movie_trends/top?limit=10"]);
  });

  it("asks whether a silent server is there, and leaves it when it is not", async () => {
    const world = new World();
    world.answer = (path) => (path === "/readyz" ? { status: 200, body: { ready: true, checks: [] } } : null);
    world.connection.start();
    world.socket.onopen?.();
    await world.pass(25_000);
    world.socket.onmessage?.({ data: JSON.stringify({ event: "metrics:update", data: { views: {} } }) });
    await world.pass(29_000);
    expect(world.asked).toEqual([]);
    await world.pass(1_000);
    expect(world.asked).toEqual(["/readyz"]);
    expect(world.connection.state.kind).toBe("live");
    world.answer = () => null;
    await world.pass(30_000);
    expect(world.connection.state.kind).not.toBe("live");
  });

  it("leaves a socket on which three heartbeats were missed, whatever else the server answers", async () => {
    const world = new World();
    world.answer = (path) => (path === "/readyz" ? { status: 200, body: { ready: true, checks: [] } } : null);
    const beat = JSON.stringify({ event: "heartbeat", data: { time: "2026-01-01T00:00:00Z", views: {} } });
    world.connection.start();
    world.socket.onopen?.();
    for (let n = 0; n < 20; n += 1) {
      await world.pass(5_000);
      world.socket.onmessage?.({ data: beat });
    }
    expect([world.kinds, world.sockets.length]).toEqual([["live"], 1]);
    await world.pass(15_900);
    expect(world.connection.state.kind).toBe("live");
    await world.pass(100);
    expect(world.connection.state.kind).toBe("connecting");
    await world.pass(300);
    expect(world.sockets.length).toBe(2);
    expect(world.asked).toEqual([]);
    // A server of before has been put in its place: it sends none, and is asked.
    world.socket.onopen?.();
    await world.pass(29_000);
    expect(world.connection.state.kind).toBe("live");
    await world.pass(1_000);
    expect([world.asked, world.connection.state.kind]).toEqual([["/readyz"], "live"]);
  });

  it("does nothing more after it was stopped", async () => {
    const world = new World();
    world.connection.start();
    const socket = world.socket;
    socket.onopen?.();
    world.connection.stop();
    expect(socket.closed).toBe(true);
    expect(socket.onmessage).toBeNull();
    world.connection.retryNow();
    await world.pass(60_000);
    expect([world.sockets.length, world.timers, world.asked.length]).toEqual([1, 0, 0]);
  });
});
