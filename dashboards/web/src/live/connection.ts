/**
 * The connection of one page view to the server.
 *
 * A WebSocket while there is one. Without it what it would have sent is fetched every two seconds, and the socket is tried
 * again with growing pauses; when nothing answers at all the server is down, which is said, and tried again the same way.
 * A network that is gone says nothing by itself: a socket on which three heartbeats were missed is given up. Of a server
 * that sends none it is asked by a small request, after half a minute, whether it is there.
 */

import { request, withQuery, RequestFailed, type Fetch } from "../api/client";
import { SESSION } from "../api/session";
import type { TopAnswer } from "../api/types";
import { pauseMs } from "./backoff";
import { frameOf, type Frame, type ViewFrame } from "./frames";

/** What a page view wants to be told. */
export interface Wanted {
  views: readonly string[];
  /** These are all that there are: what the server cannot show live is its own to leave out. */
  allViews?: boolean;
  outputs: readonly string[];
  /** Rows per view at most. */
  rows: number;
  /** Messages per frame at most. */
  messages: number;
  /** How often the server looks for changes, as a span. */
  interval: string;
}

export type ConnectionState =
  | { kind: "connecting" }
  | { kind: "live" }
  /** No socket, but the server answers. */
  | { kind: "fetching" }
  /** Nothing answers; `retryAt` in milliseconds of {@link Surroundings.now}. */
  | { kind: "down"; since: number; retryAt: number };

/** The part of a WebSocket that is used. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  close(): void;
}

/** What the connection needs from the browser; a test brings its own. */
export interface Surroundings {
  open(url: string): Socket;
  fetch: Fetch;
  now(): number;
  random(): number;
  after(ms: number, run: () => void): () => void;
}

export interface Listener {
  state(state: ConnectionState): void;
  frame(frame: Frame): void;
}

/** How long a socket may take to open. */
const OPEN_MS = 5_000;
/** How often what is wanted is fetched without a socket. */
const FETCH_MS = 2_000;
/** How long one of these fetches may take. */
const FETCH_TIMEOUT_MS = 10_000;
/** After how long without a frame the server is asked whether it is there. */
const SILENCE_MS = 30_000;
/** After how long without a frame a socket is given up on which heartbeats come: three of them, each after 5 s. */
const MISSED_MS = 16_000;

/** The address of the live socket, with what is wanted. */
export function liveUrl(wanted: Wanted): string {
  const query = new URLSearchParams();
  const name = (kind: string, names: readonly string[]): void => {
    for (const each of names.length === 0 ? ["none"] : names) query.append(kind, each);
  };
  if (wanted.allViews !== true) name("view", wanted.views);
  name("output", wanted.outputs);
  query.set("interval", wanted.interval);
  query.set("rows", `${wanted.rows}`);
  query.set("messages", `${wanted.messages}`);
  return `/v1/live?${query.toString()}`;
}

export class Connection {
  #state: ConnectionState = { kind: "connecting" };
  #socket: Socket | null = null;
  #failures = 0;
  #heardAt = 0;
  /** Whether heartbeats come on this socket. */
  #beats = false;
  #stopped = false;
  /** Timers at work, by what they are for. */
  readonly #timers = new Map<"attempt" | "open" | "fetch" | "silence", () => void>();
  #fetching: AbortController | null = null;
  /** Views that the server turned out not to have. */
  readonly #gone = new Set<string>();

  constructor(
    private readonly wanted: Wanted,
    private readonly around: Surroundings,
    private readonly listener: Listener,
  ) {}

  get state(): ConnectionState {
    return this.#state;
  }

  start(): void {
    this.#attempt();
  }

  /** Ends it for good. */
  stop(): void {
    this.#stopped = true;
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    this.#fetching?.abort();
    this.#drop();
  }

  /** Tries again now, as somebody asked for it or the network came back. */
  retryNow(): void {
    if (this.#stopped || this.#state.kind === "live" || this.#socket !== null) return;
    this.#failures = 0;
    this.#attempt();
  }

  #attempt(): void {
    this.#cancel("attempt");
    this.#drop();
    let socket: Socket;
    try {
      socket = this.around.open(liveUrl(this.wanted));
    } catch {
      this.#lost();
      return;
    }
    this.#socket = socket;
    this.#later("open", OPEN_MS, () => this.#lost());
    socket.onopen = () => {
      this.#cancel("open");
      this.#cancel("fetch");
      this.#fetching?.abort();
      this.#failures = 0;
      this.#beats = false;
      this.#heard();
      this.#become({ kind: "live" });
    };
    socket.onmessage = (event) => {
      this.#heard();
      const frame = frameOf(event.data);
      if (frame?.event === "heartbeat" && !this.#beats) {
        this.#beats = true;
        this.#watch(MISSED_MS);
      }
      if (frame) this.listener.frame(frame);
    };
    socket.onerror = () => undefined;
    socket.onclose = () => this.#lost();
  }

  /** The socket is gone, or did not come. */
  #lost(): void {
    if (this.#stopped) return;
    this.#drop();
    this.#failures += 1;
    const pause = pauseMs(this.#failures, this.around.random());
    this.#later("attempt", pause, () => this.#attempt());
    // The first retry is soon: a server that restarts is not told to be down, nor asked for everything.
    if (this.#failures === 1 && this.#state.kind === "live") this.#become({ kind: "connecting" });
    else if (this.#state.kind !== "fetching") this.#fetchAll();
    if (this.#state.kind === "down") this.#become({ ...this.#state, retryAt: this.around.now() + pause });
  }

  /** Fetches what the socket would have sent, and says by it whether the server is there. */
  #fetchAll(): void {
    this.#fetching?.abort();
    const fetching = new AbortController();
    this.#fetching = fetching;
    this.#cancel("fetch");
    void this.#frames(fetching.signal).then(
      ({ views, problems }) => {
        if (fetching.signal.aborted) return;
        this.listener.frame({ event: "metrics", initial: this.#state.kind !== "fetching", views });
        // After the metrics: those that have been answered have no problem any more.
        for (const problem of problems) this.listener.frame(problem);
        this.#become({ kind: "fetching" });
        this.#later("fetch", FETCH_MS, () => this.#fetchAll());
      },
      () => {
        if (fetching.signal.aborted) return;
        const since = this.#state.kind === "down" ? this.#state.since : this.around.now();
        this.#become({ kind: "down", since, retryAt: this.around.now() + this.#untilAttempt() });
      },
    );
  }

  async #frames(signal: AbortSignal): Promise<{ views: Record<string, ViewFrame>; problems: Frame[] }> {
    const problems: Frame[] = [];
    const options = { signal, fetch: this.around.fetch, timeoutMs: FETCH_TIMEOUT_MS };
    const names = this.wanted.views.filter((name) => !this.#gone.has(name));
    if (names.length === 0) await request("/v1/views", options);
    const frames = names.map(async (name): Promise<[string, ViewFrame] | null> => {
      const path = withQuery(`/v1/views/${encodeURIComponent(name)}/top`, { limit: this.wanted.rows });
      try {
        const { window_start, window_end, rows, provenance } = await request<TopAnswer>(path, options);
        const partial = provenance.missing.length > 0;
        return [name, { window_start, window_end, rows, freshness_ms: provenance.freshness_ms, partial }];
      } catch (error) {
        if (!(error instanceof RequestFailed) || error.unreachable) throw error;
        // It answers, if not to this.
        if (error.kind === "unknown-view") this.#gone.add(name);
        else problems.push({ event: "problem", title: error.kind, detail: error.message, view: name });
        return null;
      }
    });
    const answered = await Promise.all(frames);
    return { views: Object.fromEntries(answered.filter((frame) => frame !== null)), problems };
  }

  #heard(): void {
    this.#heardAt = this.around.now();
    if (!this.#timers.has("silence")) this.#watch(this.#silenceMs);
  }

  get #silenceMs(): number {
    return this.#beats ? MISSED_MS : SILENCE_MS;
  }

  #watch(ms: number): void {
    this.#later("silence", ms, () => {
      const socket = this.#socket;
      const silent = this.around.now() - this.#heardAt;
      if (socket === null || this.#state.kind !== "live") return;
      if (silent < this.#silenceMs) {
        this.#watch(this.#silenceMs - silent);
        return;
      }
      // That another connection works does not mean that this one does.
      if (this.#beats) {
        this.#lost();
        return;
      }
      const options = { timeoutMs: OPEN_MS, fetch: this.around.fetch };
      void request("/readyz", options).then(
        () => this.#watch(SILENCE_MS),
        () => {
          if (this.#socket === socket) this.#lost();
        },
      );
    });
  }

  #attemptAt = 0;

  #untilAttempt(): number {
    return Math.max(0, this.#attemptAt - this.around.now());
  }

  #later(name: "attempt" | "open" | "fetch" | "silence", ms: number, run: () => void): void {
    this.#cancel(name);
    if (name === "attempt") this.#attemptAt = this.around.now() + ms;
    const cancel = this.around.after(ms, () => {
      this.#timers.delete(name);
      if (!this.#stopped) run();
    });
    this.#timers.set(name, cancel);
  }

  #cancel(name: "attempt" | "open" | "fetch" | "silence"): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#cancel("open");
    this.#cancel("silence");
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #become(state: ConnectionState): void {
    this.#state = state;
    if (!this.#stopped) this.listener.state(state);
  }
}

/** The browser's own. */
export const BROWSER: Surroundings = {
  open: (path) => {
    const url = new URL(path, location.href.replace(/^http/, "ws"));
    // A browser sets no header for it.
    if (SESSION.token !== null) url.searchParams.set("access_token", SESSION.token);
    return new WebSocket(url) as unknown as Socket;
  },
  fetch: (...args) => fetch(...args),
  now: () => Date.now(),
  random: () => Math.random(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
