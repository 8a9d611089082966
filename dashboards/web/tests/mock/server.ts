/**
 * A server as the page sees one: the HTTP API, the live socket and the built page with the headers of the real one. It
 * knows nothing of Tideline's inside; what it answers is fixed by the names alone, so a test can say what must be seen.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { WebSocketServer, type WebSocket } from "ws";
import type { AlertRecord } from "../../src/live/frames";
import type { Agreement, Json, Row, Run } from "../../src/api/types";
import { ViewModel, time, type Columns } from "./model";
import { policyOfServer } from "./policy";
import * as systems from "./systems";

export type Pipeline = "trendscope" | "movie-viewing" | "stock-sentiment" | "customer-sentiment";
export const PIPELINES: readonly Pipeline[] = ["trendscope", "movie-viewing", "stock-sentiment", "customer-sentiment"];

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

interface Client {
  socket: WebSocket;
  views: Set<string>;
  outputs: Set<string>;
  rows: number;
}

export interface MockOptions {
  /** Folder of the built page. */
  page: string;
  pipelines?: readonly Pipeline[];
  /** Whether batch has published. */
  published?: boolean;
}

/** How often a heartbeat is sent. */
const BEAT_MS = 5_000;

class Refused extends Error {
  constructor(
    readonly kind: string,
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

export class MockServer {
  readonly views = new Map<string, ViewModel>();
  /** Whether the live socket is refused, as a proxy that knows no WebSocket would. */
  socketRefused = false;
  readonly reports = systems.viewingReports();
  /** Paths that are answered with a problem of 503. */
  readonly failing = new Set<string>();
  /** Views that no frame of the socket has until it can be read. */
  readonly unread = new Set<string>();
  /** Whether heartbeats are sent; a server of before sends none. */
  beats = true;
  /** Messages that the lookup has beside its usual ones, newest first. */
  kept: Columns[] = [];
  /** How old the newest record of a view is, where it is not 120 ms. */
  readonly freshness = new Map<string, number | null>();
  published: boolean;
  /** The token that whoever asks must have; none where it is null. */
  token: string | null = null;
  /** What the token allows. */
  scopes = ["read"];
  /** Why another token is not accepted. */
  refusal = "its signature does not hold";
  runs: Run[] = [];
  agreement: Agreement | null = null;
  /** What was asked for. */
  readonly asked: string[] = [];
  /** Addresses of the sockets that were opened. */
  readonly opened: string[] = [];
  readonly #pipelines: ReadonlySet<string>;
  readonly #clients = new Set<Client>();
  #server: Server | null = null;
  #beating: NodeJS.Timeout | undefined;
  #port = 0;
  #message = 0;
  #alert = 0;
  #alerts: AlertRecord[] = [];

  constructor(private readonly options: MockOptions) {
    this.#pipelines = new Set(options.pipelines ?? PIPELINES);
    this.published = options.published ?? true;
    const all = [
      systems.movieTrends(),
      systems.predictionQuality(),
      ...systems.viewingStreams(),
      systems.symbolSentiment(),
      ...systems.customerViews(),
    ];
    for (const view of all) if (this.#pipelines.has(view.parts.pipeline)) this.views.set(view.name, view);
    if (this.published) this.#compare();
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Listens; again at the same port after a stop. */
  async start(port = this.#port): Promise<void> {
    const server = createServer((request, response) => void this.#answer(request, response));
    const sockets = new WebSocketServer({ noServer: true });
    server.on("upgrade", (request, socket, head) => {
      const url = new URL(request.url ?? "/", "http://mock");
      const wanted = this.#wanted(url);
      if (this.token !== null && url.searchParams.get("access_token") !== this.token) {
        socket.end("HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return;
      }
      if (this.socketRefused || url.pathname !== "/v1/live" || wanted === null) {
        socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return;
      }
      this.opened.push(request.url ?? "");
      sockets.handleUpgrade(request, socket, head, (opened) => this.#open(opened, wanted));
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no address");
    this.#port = address.port;
    this.#server = server;
    this.#beating = setInterval(() => {
      if (this.beats) this.beat();
    }, BEAT_MS);
  }

  /** Goes away: sockets are closed as a server that stops closes them. */
  async stop(): Promise<void> {
    clearInterval(this.#beating);
    for (const { socket } of this.#clients) socket.close(1001);
    this.#clients.clear();
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  view(name: string): ViewModel {
    const view = this.views.get(name);
    if (!view) throw new Error(`no view ${name}`);
    return view;
  }

  /** Changes rows of the newest window, and tells whoever listens. */
  change(view: string, rows: { key: Columns; columns: Columns }[]): void {
    const model = this.view(view);
    const changed = rows.map(({ key, columns }) => {
      const before = model.row(key, model.newest);
      return model.set(key, { ...before, ...columns });
    });
    this.#tell({ [view]: changed });
  }

  /** Begins the next window of views. */
  advance(...names: string[]): void {
    const views: Record<string, Row[]> = {};
    for (const name of names) {
      this.view(name).advance();
      views[name] = this.view(name).window();
    }
    this.#tell(views);
  }

  /** Sends messages of the output `processed`. */
  say(messages: number, skipped = 0, records?: Columns[]): void {
    const made = records ?? Array.from({ length: messages }, () => systems.message((this.#message += 1)));
    const data = { output: "processed", topic: "sentiment.processed", messages: made, skipped };
    for (const client of this.#clients) if (client.outputs.has("processed")) send(client.socket, "message:new", data);
  }

  alert(name: string, view: string, key: Columns, columns: Columns, previous: Columns | null = null): AlertRecord {
    const model = this.view(view);
    const alert: AlertRecord = {
      id: `alert-${(this.#alert += 1)}`,
      alert: name,
      view,
      on: "closed",
      key,
      window_start: time(model.newest),
      window_end: time(model.newest + model.sizeMs),
      columns,
      previous,
      fired_at: time(model.newest + model.sizeMs + 900),
    };
    this.#alerts = [alert, ...this.#alerts];
    for (const { socket } of this.#clients) send(socket, `alert:${name}`, alert);
    return alert;
  }

  /** Says that something cannot be read: of a view, where the server says so. */
  problem(detail: string, view?: string): void {
    for (const { socket } of this.#clients) send(socket, "problem", problemOf(detail, view));
  }

  /** Tells everybody how old the newest records are. */
  beat(): void {
    for (const { socket, views } of this.#clients) {
      const ages = [...views].map((name) => [name, { freshness_ms: this.#age(name) }]);
      send(socket, "heartbeat", { time: time(Date.now()), views: Object.fromEntries(ages) as Json });
    }
  }

  /** Remembers an alert, but tells only that there was one. */
  missAlert(...alert: Parameters<MockServer["alert"]>): void {
    const clients = [...this.#clients];
    this.#clients.clear();
    this.alert(...alert);
    for (const client of clients) this.#clients.add(client);
    for (const { socket } of clients) send(socket, "alerts:missed", { missed: 1 });
  }

  #age(view: string): number | null {
    const age = this.freshness.get(view);
    return age === undefined ? 120 : age;
  }

  /** The token is accepted no more: streams end with it. */
  expire(next: string): void {
    this.token = next;
    this.refusal = "it has expired (`exp`)";
    for (const { socket } of this.#clients) socket.close(1008);
  }

  #admit(request: IncomingMessage, path: string): void {
    if (this.token === null || !path.startsWith("/v1/")) return;
    const { authorization } = request.headers;
    if (authorization === undefined)
      throw new Refused("token-missing", 401, "send `Authorization: Bearer` and a token");
    if (authorization !== `Bearer ${this.token}`) throw new Refused("token-invalid", 401, this.refusal);
    const need = request.method === "GET" ? "read" : "admin";
    if (!this.scopes.includes(need))
      throw new Refused("scope-missing", 403, `this needs a token with the scope \`${need}\``);
  }

  /** Something that is no frame. */
  noise(text: string): void {
    for (const { socket } of this.#clients) socket.send(text);
  }

  #wanted(url: URL): Omit<Client, "socket"> | null {
    const names = (kind: string, all: string[]): string[] => {
      const given = url.searchParams.getAll(kind);
      return given.length === 0 ? all : given.filter((name) => name !== "none");
    };
    const views = names("view", [...this.views.keys()]);
    const outputs = names("output", this.#pipelines.has("customer-sentiment") ? ["processed"] : []);
    if (views.some((name) => !this.views.has(name))) return null;
    if (outputs.some((name) => name !== "processed" || !this.#pipelines.has("customer-sentiment"))) return null;
    return { views: new Set(views), outputs: new Set(outputs), rows: Number(url.searchParams.get("rows") ?? 100) };
  }

  #open(socket: WebSocket, wanted: Omit<Client, "socket">): void {
    const client = { socket, ...wanted };
    this.#clients.add(client);
    socket.on("close", () => this.#clients.delete(client));
    const views = Object.fromEntries(
      [...client.views]
        .filter((name) => !this.unread.has(name))
        .map((name) => [name, this.#frame(name, this.view(name).window().slice(0, client.rows))]),
    );
    send(socket, "metrics:initial", { at: time(Date.now()), views });
    for (const name of this.unread)
      if (client.views.has(name)) send(socket, "problem", problemOf("a store cannot be read now", name));
  }

  #frame(name: string, rows: Row[]): Columns {
    const view = this.view(name);
    return {
      window_start: time(view.newest),
      window_end: time(view.newest + view.sizeMs),
      rows: rows.map(({ key, ...columns }) => ({ key, ...columns })),
      freshness_ms: this.#age(name),
    };
  }

  #tell(views: Record<string, Row[]>): void {
    for (const client of this.#clients) {
      const frames = Object.entries(views)
        .filter(([name]) => client.views.has(name))
        .map(([name, rows]) => [name, this.#frame(name, rows.slice(0, client.rows))] as const);
      if (frames.length > 0)
        send(client.socket, "metrics:update", { at: time(Date.now()), views: Object.fromEntries(frames) });
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://mock");
    this.asked.push(`${request.method ?? ""} ${url.pathname}${url.search}`);
    try {
      this.#admit(request, url.pathname);
      if (this.failing.has(url.pathname)) throw new Refused("unavailable", 503, "a store cannot be read now");
      const json = this.#json(request.method ?? "GET", url);
      const drift = /^\/v1\/predictions\/(\w+)\/drift$/.exec(url.pathname)?.[1];
      if (drift !== undefined) {
        response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
        response.end(`<!doctype html><title>Drift of ${drift}</title>`);
      } else if (json === undefined) await this.#file(url.pathname, response);
      else reply(response, json.status, json.body);
    } catch (error) {
      const refused = error instanceof Refused ? error : new Refused("internal", 500, String(error));
      const body = {
        type: `urn:tideline:problem:${refused.kind}`,
        title: refused.kind,
        status: refused.status,
        detail: refused.message,
      };
      reply(response, refused.status, body as unknown as Json, "application/problem+json");
    }
  }

  #json(method: string, url: URL): { status: number; body: Json } | undefined {
    const parts = url.pathname
      .split("/")
      .filter((part) => part !== "")
      .map(decodeURIComponent);
    const ok = (body: unknown): { status: number; body: Json } => ({ status: 200, body: body as Json });
    const [first, second, third, fourth] = parts;
    if (url.pathname === "/healthz") return ok("ok");
    if (url.pathname === "/readyz") return ok(this.#readiness());
    if (first !== "v1") return undefined;
    if (second === "views" && third === undefined)
      return ok({ views: [...this.views.values()].map((view) => view.info()) });
    if (second === "views" && third !== undefined) return ok(this.#query(third, fourth ?? "", url));
    if (second === "lookups" && third === undefined) return ok({ lookups: this.#lookups() });
    if (second === "lookups" && third !== undefined)
      return ok({ lookup: third, rows: this.#lookup(third, url), provenance: this.#provenance(null) });
    if (second === "reports" && third === undefined) {
      const names = this.#pipelines.has("movie-viewing") ? Object.keys(this.reports) : [];
      const rows = (name: string): number | null => (this.published ? (this.reports[name]?.rows.length ?? null) : null);
      return ok({ reports: names.map((name) => ({ name, columns: null, rows: rows(name) })) });
    }
    if (second === "reports" && third !== undefined) return ok(this.#report(third, url));
    if (second === "predictions") {
      if (!this.#pipelines.has("trendscope"))
        throw new Refused("unknown-path", 404, "there is nothing at `/v1/predictions`");
      return ok(systems.LEARNERS);
    }
    if (second === "alerts") {
      const [alert, limit] = [url.searchParams.get("alert"), Number(url.searchParams.get("limit") ?? 50)];
      const those = this.#alerts.filter((each) => alert === null || each.alert === alert);
      return ok({ alerts: those.slice(0, limit) });
    }
    if (second === "status") return ok(this.#status());
    if (second === "agreement") {
      this.#compare();
      return ok(this.agreement);
    }
    if (second === "batch" && third === "runs")
      return method === "POST" ? { status: 202, body: this.#run() as unknown as Json } : ok({ runs: this.runs });
    throw new Refused("unknown-path", 404, `there is nothing at \`${url.pathname}\``);
  }

  #query(name: string, what: string, url: URL): Json {
    const view = this.views.get(name);
    if (!view) throw new Refused("unknown-view", 404, `there is no view \`${name}\``);
    const limit = Number(url.searchParams.get("limit") ?? 1_000);
    if (what === "top") {
      const at = url.searchParams.get("at");
      const start = at === null ? view.newest : Date.parse(at) - view.sizeMs;
      const by = url.searchParams.get("by") ?? view.parts.top[0] ?? "";
      const compares = url.searchParams.get("previous") === "true";
      const rows = view
        .window(start, by)
        .slice(0, limit)
        .map((row, rank) => {
          const previous = view.row(row.key, start - view.slideMs)?.[by] ?? null;
          return { rank: rank + 1, ...row, ...(compares ? { previous, direction: compare(row[by], previous) } : {}) };
        });
      return {
        view: name,
        by,
        window_start: time(start),
        window_end: time(start + view.sizeMs),
        rows,
        provenance: this.#provenance(view),
      } as unknown as Json;
    }
    if (what === "rows") {
      const key = Object.fromEntries(
        [...url.searchParams]
          .filter(([at]) => at.startsWith("key."))
          .map(([at, value]) => [at.slice(4), value === "\\N" ? null : value]),
      );
      const [from, to] = [url.searchParams.get("from"), url.searchParams.get("to")];
      const rows = view.rows(
        from === null ? -Infinity : Date.parse(from),
        to === null ? Infinity : Date.parse(to),
        Object.keys(key).length > 0 ? key : null,
      );
      return {
        view: name,
        window: view.parts.window,
        slide: view.parts.slide,
        rows: rows.slice(0, limit),
        cursor: null,
        provenance: this.#provenance(view),
      } as unknown as Json;
    }
    throw new Refused("unknown-path", 404, `there is nothing at \`${url.pathname}\``);
  }

  #lookups(): Json {
    return systems.LOOKUPS.filter(([pipeline]) => this.#pipelines.has(pipeline)).map(([, name, key]) => ({
      name,
      key: [{ name: key, type: "string" }],
      limit: 6_000,
    }));
  }

  #lookup(name: string, url: URL): Columns[] {
    const key = url.searchParams.get("key") ?? "";
    const limit = Number(url.searchParams.get("limit") ?? 100);
    if (name === "tweets") return systems.tweets(key, limit);
    if (name === "predictions") return systems.predictions(key, limit);
    if (name === "messages_by_product")
      return [
        ...this.kept.filter((message) => message.product === key),
        ...Array.from({ length: Math.min(limit, 12) }, (_, n) => systems.message(n, key)),
      ].slice(0, limit);
    throw new Refused("unknown-lookup", 404, `there is no lookup \`${name}\``);
  }

  #report(name: string, url: URL): Json {
    const report = this.reports[name];
    if (!report || !this.#pipelines.has("movie-viewing"))
      throw new Refused("unknown-report", 404, `there is no report \`${name}\``);
    if (!this.published)
      throw new Refused("not-published", 404, `report \`${name}\` is published by the next batch run`);
    const [offset, limit] = [
      Number(url.searchParams.get("offset") ?? 0),
      Number(url.searchParams.get("limit") ?? 1_000),
    ];
    const more = offset + limit < report.rows.length;
    return {
      report: name,
      columns: report.columns,
      rows: report.rows.slice(offset, offset + limit),
      cursor: more ? "next" : null,
      provenance: { layer: "batch", manifest: this.#manifest() },
    } as unknown as Json;
  }

  #manifest(): Json {
    return this.published
      ? { version: 6 + this.runs.length, run: "01J0RUN", published_at: "2026-06-14T12:00:04Z" }
      : null;
  }

  /** Where batch ends: some panes before the newest window. */
  #through(view: ViewModel): string | null {
    return this.published ? time(Math.floor((view.newest - 4 * view.slideMs) / view.slideMs) * view.slideMs) : null;
  }

  #provenance(view: ViewModel | null): Json {
    return {
      layer: "merged",
      through: view && this.#through(view),
      manifest: this.#manifest(),
      freshness_ms: view && this.#age(view.name),
      missing: [],
    };
  }

  #status(): Json {
    const shards = [...this.#pipelines].flatMap((pipeline, at) =>
      [0, 1].map((partition) => ({
        source: pipeline.split("-")[0] ?? pipeline,
        partition,
        position: 40_000 + 1_000 * at,
        lag: partition * 3,
        records: 48_211 + 977 * at + partition,
        rejected: partition * 4,
        duplicates: 12 * at,
        late: 7 * at + partition,
        highest_event_time: "2026-06-14T12:03:41Z",
        last_appended: "2026-06-14T12:03:41Z",
        written_at: "2026-06-14T12:03:41Z",
      })),
    );
    const views = Object.fromEntries(
      [...this.views.values()].map((view) => [
        view.name,
        { through: this.#through(view), newest_pane: time(view.newest) },
      ]),
    );
    return {
      pipeline: [...this.#pipelines].join(", "),
      version: "0.1.0",
      now: "2026-06-14T12:03:42Z",
      shards,
      manifest: this.#manifest(),
      views,
      rankings: {},
      process: { agreement: this.#agreementOfStatus(), connectors: [] },
    };
  }

  /** In the status, reasons are a sum. */
  #agreementOfStatus(): Json {
    if (this.agreement === null) return null;
    const { version, at, unexplained, views } = this.agreement;
    const short = Object.entries(views).map(([name, { through, compared, equal, late = 0, unexplained: open }]) => [
      name,
      { through, compared, equal, explained: late, unexplained: open },
    ]);
    return { version, at, unexplained, failed_at: null, views: Object.fromEntries(short) as Json };
  }

  #readiness(): Json {
    const check = (name: string, needed: boolean): Json => ({ name, ok: true, detail: null, since: null, needed });
    return {
      ready: true,
      checks: [check("speed_views", true), check("analytics", true), check("log", false), check("lake", false)],
    };
  }

  #compare(): void {
    const one = {
      through: "2026-06-14T12:00:00Z",
      skipped: null,
      compared: 5_120,
      equal: 5_118,
      late: 2,
      expired: 0,
      duplicate: 0,
      not_yet: 0,
      unexplained: 0,
    };
    this.agreement = {
      version: 6,
      at: time(Date.now()),
      unexplained: 0,
      views: Object.fromEntries([...this.views.keys()].map((name) => [name, one])),
    };
  }

  #run(): Run {
    const id = `01J0RUN${this.runs.length}`;
    const running: Run = {
      id,
      state: "running",
      started_at: time(Date.now()),
      finished_at: null,
      report: null,
      error: null,
    };
    this.runs = [running, ...this.runs];
    setTimeout(() => {
      this.published = true;
      const done: Run = {
        ...running,
        state: "succeeded",
        finished_at: time(Date.now()),
        report: { published: 6 + this.runs.length, version: 6 + this.runs.length, warnings: [] },
      };
      this.runs = this.runs.map((run) => (run.id === id ? done : run));
    }, 600);
    return running;
  }

  async #file(path: string, response: ServerResponse): Promise<void> {
    const name = normalize(path === "/" ? "/index.html" : path);
    const bytes = await readFile(join(this.options.page, name)).catch(() => null);
    if (bytes === null) throw new Refused("unknown-path", 404, `there is nothing at \`${path}\``);
    response.writeHead(200, {
      "content-type": TYPES[extname(name)] ?? "application/octet-stream",
      "cache-control": name.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
      ...(name === "/index.html" ? { "content-security-policy": await policyOfServer() } : {}),
    });
    response.end(bytes);
  }
}

function problemOf(detail: string, view?: string): Json {
  const problem = { type: "urn:tideline:problem:unavailable", title: "Not available now", status: 503, detail };
  return view === undefined ? problem : { ...problem, view };
}

function compare(now: Json | undefined, previous: Json): string {
  if (typeof now !== "number" || typeof previous !== "number") return "new";
  return now > previous ? "up" : now < previous ? "down" : "same";
}

function send(socket: WebSocket, event: string, data: unknown): void {
  socket.send(JSON.stringify({ event, data }));
}

function reply(response: ServerResponse, status: number, body: Json, type = "application/json"): void {
  response.writeHead(status, { "content-type": type });
  response.end(JSON.stringify(body));
}
