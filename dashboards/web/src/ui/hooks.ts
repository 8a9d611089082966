/** State that follows the live data, and what is fetched beside it. */

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { messageOf, request, RequestFailed, withQuery } from "../api/client";
import type { Json, Row, RowsAnswer } from "../api/types";
import { readPalette, type Palette } from "../charts/palette";
import { History } from "../data/history";
import { timeText } from "../data/spans";
import { pauseMs } from "../live/backoff";
import { ALERTS_KEPT } from "../live/alerts";
import type { ConnectionState } from "../live/connection";
import { alertsOf, type AlertRecord } from "../live/frames";
import type { Hub } from "../live/hub";
import { keyText, type Message, type ViewState } from "../live/store";
import { currentTheme, onTheme, type Theme } from "../theme";
import { usePage } from "./context";

/** A value of the hub, read anew with every notice; the same value renders nothing. */
export function useHub<T>(read: (hub: Hub) => T): T {
  const { hub } = usePage();
  const [value, setValue] = useState<T>(() => read(hub));
  const latest = useRef(read);
  latest.current = read;
  useLayoutEffect(() => {
    const look = (): void => {
      const next = latest.current(hub);
      setValue(() => next);
    };
    look();
    return hub.subscribe(look);
  }, [hub]);
  return value;
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

/** Where no socket brings them, alerts are asked for. */
const ALERTS_EVERY_MS = 5_000;

export function useAlerts(name: string): AlertRecord[] {
  const { alerts } = usePage();
  const { kind } = useConnection();
  const generation = useHub((hub) => hub.store.generation);
  const path = kind === "down" ? null : withQuery("/v1/alerts", { alert: name, limit: ALERTS_KEPT });
  // Those that fired before, and while there was no connection.
  const options = kind === "fetching" ? { everyMs: ALERTS_EVERY_MS, tick: generation } : { tick: generation };
  const { data } = useFetched<{ alerts?: Json }>(path, options);
  useMemo(() => alerts.addAll(alertsOf(data?.alerts)), [alerts, data]);
  useHub(() => alerts.version);
  return useMemo(() => alerts.of(name), [alerts, name, alerts.version]);
}

/** Rows of a view, in an order. */
export function sortedRows(view: ViewState, by: (row: Row) => number | null): Row[] {
  const value = (row: Row): number => by(row) ?? -Infinity;
  return [...view.rows.values()].sort((a, b) => value(b) - value(a) || keyText(a.key).localeCompare(keyText(b.key)));
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
 * that fails is tried again with growing pauses. Nothing is asked for while `path` is null.
 */
export function useFetched<T>(path: string | null, options: { everyMs?: number; tick?: unknown } = {}): Fetched<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; failed: RequestFailed | null }>({
    path,
    data: null,
    failed: null,
  });
  const ask = useRef<() => void>(() => undefined);
  const { everyMs } = options;

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
          setState({ path, data, failed: null });
          busy = false;
          if (again) plan(SOONEST_MS);
          else if (everyMs !== undefined) plan(everyMs);
        },
        (error: unknown) => {
          if (ended.signal.aborted) return;
          busy = false;
          failures += 1;
          const failed = error instanceof RequestFailed ? error : new RequestFailed("internal", messageOf(error), 0);
          setState((before) => ({ path, data: before.path === path ? before.data : null, failed }));
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
  return { data: current ? state.data : null, failed: current ? state.failed : null, retry };
}

export interface HistoryWanted {
  view: string;
  /** Only this key. */
  key?: Record<string, Json> | undefined;
  columns: readonly string[];
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

/** Windows of a view over time: fetched back from the newest one, then followed live. */
export function useHistory(wanted: HistoryWanted): HistoryState {
  const { hub } = usePage();
  const view = useView(wanted.view);
  const generation = useHub((hub) => hub.store.generation);
  const only = wanted.key === undefined ? null : keyText(wanted.key);
  const limit = wanted.limit ?? 1_500;
  const columns = wanted.columns.join(",");
  const identity = `${wanted.view} ${only ?? ""} ${columns} ${wanted.spanMs}`;
  const history = useMemo(() => new History(wanted.columns, limit, only), [identity, limit]);
  const end = view.windowEnd === null ? null : Date.parse(view.windowEnd);
  const known = end !== null;
  const [fetched, setFetched] = useState<{ history: History | null; tideline: number | null; failed: string | null }>({
    history: null,
    tideline: null,
    failed: null,
  });
  const [attempt, setAttempt] = useState(0);
  const failures = useRef(0);

  useEffect(() => {
    if (end === null) return undefined;
    const ended = new AbortController();
    let timer: number | undefined;
    const key = Object.fromEntries(
      Object.entries(wanted.key ?? {}).map(([name, value]) => [`key.${name}`, value === null ? "\\N" : String(value)]),
    );
    const from = timeText(end - wanted.spanMs);
    const path = withQuery(`/v1/views/${encodeURIComponent(wanted.view)}/rows`, { ...key, from, limit: HISTORY_ROWS });
    request<RowsAnswer>(path, { signal: ended.signal }).then(
      (answer) => {
        failures.current = 0;
        history.putAll(answer.rows);
        // What has come in meanwhile is newer than the answer.
        history.putLive(hub.store.view(wanted.view));
        const { through } = answer.provenance;
        setFetched({ history, tideline: through === null ? null : Date.parse(through), failed: null });
      },
      (error: unknown) => {
        if (ended.signal.aborted) return;
        failures.current += 1;
        setFetched((before) => ({
          ...before,
          history: before.history === history ? history : null,
          failed: messageOf(error),
        }));
        timer = window.setTimeout(() => setAttempt((n) => n + 1), pauseMs(failures.current, Math.random()));
      },
    );
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
    // The end moves with each window; only its being known begins anew.
  }, [history, hub, known, generation, attempt]);

  // Before the picture is drawn, so that it has what has just come in.
  useMemo(() => history.putLive(view), [history, view]);
  return {
    history,
    version: history.version,
    tideline: fetched.tideline,
    loaded: fetched.history === history,
    failed: fetched.history === history ? null : fetched.failed,
  };
}
