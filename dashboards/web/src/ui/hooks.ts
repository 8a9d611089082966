/** State that follows the live data, and what is fetched beside it. */

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { messageOf, request, RequestFailed, withQuery } from "../api/client";
import { SESSION, type Session } from "../api/session";
import type { Json, Row, RowsAnswer } from "../api/types";
import { readPalette, type Palette } from "../charts/palette";
import { ageOf, isStale } from "../data/freshness";
import { History, tailFrom } from "../data/history";
import { spanMs, timeText } from "../data/spans";
import { pauseMs } from "../live/backoff";
import { ALERTS_KEPT } from "../live/alerts";
import type { ConnectionState } from "../live/connection";
import { alertsOf, type AlertRecord } from "../live/frames";
import type { Hub } from "../live/hub";
import { keyText, type Message, type ViewState } from "../live/store";
import { currentTheme, onTheme, type Theme } from "../theme";
import { usePage } from "./context";

/** A value of something that gives notice, read anew with every notice; the same value renders nothing. */
function useNoticed<S extends { subscribe(listener: () => void): () => void }, T>(
  source: S,
  read: (source: S) => T,
): T {
  const [value, setValue] = useState<T>(() => read(source));
  const latest = useRef(read);
  latest.current = read;
  useLayoutEffect(() => {
    const look = (): void => {
      const next = latest.current(source);
      setValue(() => next);
    };
    look();
    return source.subscribe(look);
  }, [source]);
  return value;
}

/** A value of the hub, read anew with every notice. */
export function useHub<T>(read: (hub: Hub) => T): T {
  return useNoticed(usePage().hub, read);
}

export function useView(name: string): ViewState {
  return useHub((hub) => hub.store.view(name));
}

export function useMessages(output: string): readonly Message[] {
  return useHub((hub) => hub.store.messages(output));
}

export function useConnection(): ConnectionState {
  return useHub((hub) => hub.state);
}

/**
 * What is chosen, or as long as nothing is, the first that there was: it does not change with whatever is first by now,
 * so that nobody has it taken away while reading.
 */
export function useChosen(item: string | null, first: string | null): string | null {
  const pinned = useRef<string | null>(null);
  pinned.current ??= first;
  return item ?? pinned.current;
}

/** What is said of a view instead of its rows, where it has none: `text` only when it is known that it has none. */
export function useEmpty(view: string, text: string): string {
  const { catalog } = usePage();
  const problem = useHub((hub) => hub.store.problemOf(view));
  const isKnown = useHub((hub) => hub.store.view(view).version > 0);
  if (!catalog.views.has(view)) return `This server has no view ${view}.`;
  if (problem !== null) return `It cannot be read now: ${problem}`;
  return isKnown ? text : "Waiting for the first window.";
}

/** The time in milliseconds, anew each second. */
export function useNow(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

export interface Age {
  ms: number;
  isStale: boolean;
}

/** How old the newest record of a view is; null as long as that is not known. */
export function useAge(view: string | null): Age | null {
  const { catalog } = usePage();
  const freshness = useHub((hub) => (view === null ? null : hub.store.freshness(view)));
  const now = useNow();
  if (view === null || freshness === null) return null;
  const ms = ageOf(freshness, now);
  return { ms, isStale: isStale(ms, spanMs(catalog.views.get(view)?.slide ?? "")) };
}

/** Where no socket brings them, alerts are asked for. */
const ALERTS_EVERY_MS = 5_000;

export interface AlertsKnown {
  alerts: AlertRecord[];
  /** Whether the server has said which ones it remembers. */
  loaded: boolean;
  failed: RequestFailed | null;
  retry(): void;
}

export function useAlerts(name: string): AlertsKnown {
  const { alerts } = usePage();
  const { kind } = useConnection();
  // Those that fired before, while there was no connection, and while there were too many of them.
  const tick = useHub(({ store }) => `${store.generation} ${store.missed}`);
  const path = kind === "down" ? null : withQuery("/v1/alerts", { alert: name, limit: ALERTS_KEPT });
  const options = kind === "fetching" ? { everyMs: ALERTS_EVERY_MS, tick } : { tick };
  const { data, failed, retry } = useFetched<{ alerts?: Json }>(path, options);
  useMemo(() => alerts.addAll(alertsOf(data?.alerts)), [alerts, data]);
  useHub(() => alerts.version);
  const known = useMemo(() => alerts.of(name), [alerts, name, alerts.version]);
  return { alerts: known, loaded: data !== null, failed, retry };
}

/** Rows of a view, in an order. */
export function sortedRows(view: ViewState, by: (row: Row) => number | null): Row[] {
  const value = (row: Row): number => by(row) ?? -Infinity;
  return [...view.rows.values()].sort((a, b) => value(b) - value(a) || keyText(a.key).localeCompare(keyText(b.key)));
}

/** What the session is, read anew when a token is wanted or given. */
export function useSession<T>(read: (session: Session) => T): T {
  return useNoticed(SESSION, read);
}

export function useTheme(): Theme {
  const [theme, setTheme] = useState(currentTheme);
  useLayoutEffect(() => onTheme(() => setTheme(currentTheme())), []);
  return theme;
}

export function usePalette(): Palette {
  const theme = useTheme();
  return useMemo(readPalette, [theme]);
}

export interface Fetched<T> {
  /** The newest answer; the one before stays while the next is on its way, and after it failed. */
  data: T | null;
  /** When that came, in milliseconds. */
  at: number;
  /** Why there is no newer one. */
  failed: RequestFailed | null;
  retry(): void;
}

/** When a refused request is tried again: a report may be published, a definition changed. */
const REFUSED_MS = 15_000;

/** Shortest time between two requests of the same kind. */
const SOONEST_MS = 1_000;

/**
 * What a path answers: fetched when it is new, every `everyMs` while the page is seen, and when `tick` changes. A request
 * that fails is tried again with growing pauses. Nothing is asked for while `path` is null. `keep`: the answer of another
 * path stays until there is one of this.
 */
export function useFetched<T>(
  path: string | null,
  options: { everyMs?: number; tick?: unknown; keep?: boolean } = {},
): Fetched<T> {
  const [state, setState] = useState<{
    path: string | null;
    data: T | null;
    at: number;
    failed: RequestFailed | null;
  }>({ path, data: null, at: 0, failed: null });
  const ask = useRef<() => void>(() => undefined);
  const { everyMs, keep = false } = options;

  useEffect(() => {
    if (path === null) return undefined;
    let [timer, failures, lastAt, busy, again]: [number | undefined, number, number, boolean, boolean] = [
      undefined,
      0,
      0,
      false,
      false,
    ];
    const ended = new AbortController();
    const plan = (ms: number): void => {
      clearTimeout(timer);
      timer = window.setTimeout(run, ms);
    };
    const run = (): void => {
      clearTimeout(timer);
      if (document.hidden && lastAt > 0) {
        again = true;
        return;
      }
      busy = true;
      again = false;
      lastAt = Date.now();
      request<T>(path, { signal: ended.signal }).then(
        (data) => {
          failures = 0;
          setState({ path, data, at: Date.now(), failed: null });
          busy = false;
          if (again) plan(SOONEST_MS);
          else if (everyMs !== undefined) plan(everyMs);
        },
        (error: unknown) => {
          if (ended.signal.aborted) return;
          busy = false;
          failures += 1;
          const failed = error instanceof RequestFailed ? error : new RequestFailed("internal", messageOf(error), 0);
          setState(({ path: of, data, at }) => ({ path, data: of === path || keep ? data : null, at, failed }));
          const final = failed.status >= 400 && failed.status < 500;
          plan(final ? Math.max(everyMs ?? 0, REFUSED_MS) : Math.max(SOONEST_MS, pauseMs(failures, Math.random())));
        },
      );
    };
    ask.current = () => {
      if (busy) again = true;
      else plan(Math.max(0, lastAt + SOONEST_MS - Date.now()));
    };
    const seen = (): void => {
      if (!document.hidden && again && !busy) run();
    };
    document.addEventListener("visibilitychange", seen);
    run();
    return () => {
      ended.abort();
      clearTimeout(timer);
      ask.current = () => undefined;
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path, everyMs]);

  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else ask.current();
  }, [options.tick]);

  const retry = useCallback(() => ask.current(), []);
  const current = state.path === path;
  return {
    data: current || (keep && path !== null) ? state.data : null,
    at: state.at,
    failed: current ? state.failed : null,
    retry,
  };
}

export interface HistoryWanted {
  view: string;
  /** Only this key. */
  key?: Record<string, Json> | undefined;
  columns: readonly string[];
  /** Those of the columns that are 0 in a window without a record. */
  counts: readonly string[];
  /** How far back from the newest window. */
  spanMs: number;
  /** Points of a key at most. */
  limit?: number;
}

export interface HistoryState {
  history: History;
  /** Changes with the history. */
  version: number;
  /** Where batch ends, in milliseconds. */
  tideline: number | null;
  loaded: boolean;
  failed: string | null;
}

/** Rows that one request asks for. */
const HISTORY_ROWS = 20_000;

/** How often the newest windows are asked for again at most: with each new window, if that is less often. */
const TAIL_EVERY_MS = 5_000;

/**
 * Windows of a view over time: fetched back from the newest one, then followed live. With each new window those before it
 * are asked for again, as late records have changed them, and so is what a page in the background has not seen.
 */
export function useHistory(wanted: HistoryWanted): HistoryState {
  const { hub, catalog } = usePage();
  const view = useView(wanted.view);
  const generation = useHub((hub) => hub.store.generation);
  const only = wanted.key === undefined ? null : keyText(wanted.key);
  const limit = wanted.limit ?? 1_500;
  const info = catalog.views.get(wanted.view);
  const identity = [wanted.view, only ?? "", wanted.columns.join(","), wanted.spanMs, info?.slide ?? ""].join(" ");
  const history = useMemo(() => {
    const { columns, counts } = wanted;
    return new History({ columns, counts, limit, only, slideMs: spanMs(info?.slide ?? "") });
  }, [identity, limit]);
  const known = view.windowEnd !== null;
  const [fetched, setFetched] = useState<{
    history: History | null;
    loaded: boolean;
    tideline: number | null;
    failed: string | null;
  }>({ history: null, loaded: false, tideline: null, failed: null });
  /** Called when there is another window, or the page is seen again. */
  const moved = useRef<() => void>(() => undefined);

  useEffect(() => {
    if (!known) return undefined;
    const ended = new AbortController();
    let [timer, failures, lastAt, busy, due, fetchedEnd]: [
      number | undefined,
      number,
      number,
      boolean,
      boolean,
      number | null,
    ] = [undefined, 0, 0, false, false, null];
    const key = Object.fromEntries(
      Object.entries(wanted.key ?? {}).map(([name, value]) => [`key.${name}`, value === null ? "\\N" : String(value)]),
    );
    const plan = (ms: number): void => {
      clearTimeout(timer);
      timer = window.setTimeout(run, ms);
    };
    const run = (): void => {
      // What the store has: a page that is not seen renders nothing.
      const { windowStart, windowEnd } = hub.store.view(wanted.view);
      if (windowStart === null || windowEnd === null) return;
      if (document.hidden && fetchedEnd !== null) {
        due = true;
        return;
      }
      [busy, due, lastAt] = [true, false, Date.now()];
      const [start, end] = [Date.parse(windowStart), Date.parse(windowEnd)];
      const from =
        fetchedEnd === null
          ? end - wanted.spanMs
          : tailFrom({ end, fetchedEnd, sizeMs: end - start, spanMs: wanted.spanMs });
      // The rows of windows that end after the newest one are of windows that have only begun.
      const path = withQuery(`/v1/views/${encodeURIComponent(wanted.view)}/rows`, {
        ...key,
        from: timeText(from),
        to: timeText(start + 1),
        limit: HISTORY_ROWS,
      });
      request<RowsAnswer>(path, { signal: ended.signal }).then(
        (answer) => {
          [busy, failures, fetchedEnd] = [false, 0, end];
          history.putAll(answer.rows);
          history.fetched(start, answer.provenance.missing.length === 0);
          // What has come in meanwhile is newer than the answer.
          history.putLive(hub.store.view(wanted.view));
          const { through } = answer.provenance;
          const tideline = through === null ? null : Date.parse(through);
          setFetched({ history, loaded: true, tideline, failed: null });
          if (due) plan(TAIL_EVERY_MS);
        },
        (error: unknown) => {
          if (ended.signal.aborted) return;
          busy = false;
          failures += 1;
          const loaded = fetchedEnd !== null;
          setFetched(({ tideline }) => ({ history, loaded, tideline, failed: messageOf(error) }));
          plan(Math.max(fetchedEnd === null ? 0 : TAIL_EVERY_MS, pauseMs(failures, Math.random())));
        },
      );
    };
    moved.current = () => {
      if (busy || document.hidden) due = true;
      else if (fetchedEnd !== null) plan(Math.max(0, lastAt + TAIL_EVERY_MS - Date.now()));
    };
    const seen = (): void => {
      if (!document.hidden) moved.current();
    };
    document.addEventListener("visibilitychange", seen);
    run();
    return () => {
      ended.abort();
      clearTimeout(timer);
      moved.current = () => undefined;
      document.removeEventListener("visibilitychange", seen);
    };
    // The end moves with each window; only its being known begins anew.
  }, [history, hub, known, generation]);

  const windows = useRef(view.windows);
  useEffect(() => {
    if (windows.current !== view.windows) moved.current();
    windows.current = view.windows;
  }, [view.windows]);

  // Before the picture is drawn, so that it has what has just come in, and nothing from before its span.
  useMemo(() => {
    history.putLive(view);
    if (view.windowEnd !== null) history.keepFrom(Date.parse(view.windowEnd) - wanted.spanMs);
  }, [history, view]);
  const problem = useHub((hub) => hub.store.problemOf(wanted.view));
  return {
    history,
    version: history.version,
    tideline: fetched.tideline,
    // A view without a window has no history to be asked for.
    loaded: (fetched.history === history && fetched.loaded) || (view.version > 0 && !known),
    failed: (fetched.history === history ? fetched.failed : null) ?? problem,
  };
}
