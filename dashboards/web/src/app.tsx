/** The frame around every view: where you are, how the server is, and the view itself. */

import type { ComponentType, JSX } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { fetchCatalog, type Catalog } from "./api/catalog";
import { messageOf } from "./api/client";
import { SESSION } from "./api/session";
import { AlertLog } from "./live/alerts";
import { pauseMs } from "./live/backoff";
import { Hub } from "./live/hub";
import { hrefOf, parseRoute, type Route } from "./route";
import { chooseTheme } from "./theme";
import { Absent } from "./ui/absent";
import { Connected, Outage } from "./ui/connected";
import { Page } from "./ui/context";
import { useSession, useTheme } from "./ui/hooks";
import { SignIn } from "./ui/sign-in";
import { SYSTEMS, type System } from "./views/systems";

export function App(): JSX.Element {
  const route = useRoute();
  const wanted = useSession((session) => session.wanted);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      {wanted === null ? (
        <Pages route={route} />
      ) : (
        <>
          <Banner route={route} />
          <main id="main" tabIndex={-1}>
            <SignIn why={wanted} />
          </main>
        </>
      )}
    </>
  );
}

/** Everything that the server is asked for. Of what one token could read nothing is left to the next. */
function Pages({ route }: { route: Route }): JSX.Element {
  const system = SYSTEMS.find((each) => each.name === route.view) ?? SYSTEMS[0];
  const alerts = useMemo(() => new AlertLog(), []);
  const { catalog, failed, refresh } = useCatalog();
  if (catalog !== null && system)
    return <PageView system={system} route={route} catalog={catalog} alerts={alerts} refresh={refresh} />;
  return (
    <>
      <Banner route={route} />
      <main id="main" tabIndex={-1}>
        <Starting failed={failed} retry={refresh} />
      </main>
    </>
  );
}

/** The hash is the route: the link may not change it. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function useRoute(): Route {
  const read = (): Route => parseRoute(location.hash) ?? { view: "movies", item: null };
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = (): void => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** What the server has: asked for until it answers, and again when a connection was made anew. */
function useCatalog(): { catalog: Catalog | null; failed: string | null; refresh(): void } {
  const [state, setState] = useState<{ catalog: Catalog | null; failed: string | null }>({
    catalog: null,
    failed: null,
  });
  const [round, setRound] = useState(0);
  const failures = useRef(0);
  useEffect(() => {
    const ended = new AbortController();
    let timer: number | undefined;
    fetchCatalog({ signal: ended.signal }).then(
      (catalog) => {
        failures.current = 0;
        // The same catalogue stays the same object: nothing is begun anew for it.
        setState((before) => ({
          catalog: before.catalog && same(before.catalog, catalog) ? before.catalog : catalog,
          failed: null,
        }));
      },
      (error: unknown) => {
        if (ended.signal.aborted) return;
        failures.current += 1;
        setState((before) => ({ ...before, failed: messageOf(error) }));
        timer = window.setTimeout(() => setRound((n) => n + 1), pauseMs(failures.current + 1, Math.random()));
      },
    );
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [round]);
  const refresh = useCallback(() => setRound((n) => n + 1), []);
  return { ...state, refresh };
}

function same(a: Catalog, b: Catalog): boolean {
  const text = (catalog: Catalog): string =>
    JSON.stringify([[...catalog.views.values()], [...catalog.lookups.values()], [...catalog.reports]]);
  return text(a) === text(b);
}

function Starting({ failed, retry }: { failed: string | null; retry(): void }): JSX.Element {
  return (
    <section class="absent" aria-live="polite">
      {failed === null ? (
        <p>Asking the server what it has…</p>
      ) : (
        <>
          <h1 tabIndex={-1}>The server does not answer</h1>
          <p>{failed} It is asked again by itself.</p>
          <button type="button" class="primary" onClick={retry}>
            Ask now
          </button>
        </>
      )}
    </section>
  );
}

interface PageViewProps {
  system: System;
  route: Route;
  catalog: Catalog;
  alerts: AlertLog;
  refresh(): void;
}

/** One view with its own connection. The banner stays when another is opened, and with it what has the focus there. */
function PageView({ system, route, catalog, alerts, refresh }: PageViewProps): JSX.Element {
  const there = system.needs.every((view) => catalog.views.has(view));
  const hub = useMemo(
    () =>
      new Hub(
        there ? system.wants(catalog) : { views: [], outputs: [], rows: 1, messages: 1, interval: "1s" },
        (alert) => void alerts.add(alert),
      ),
    [system, catalog, alerts, there],
  );
  useEffect(() => {
    hub.start();
    const again = (): void => hub.retryNow();
    const seen = (): void => {
      if (!document.hidden) again();
    };
    addEventListener("online", again);
    document.addEventListener("visibilitychange", seen);
    return () => {
      hub.stop();
      removeEventListener("online", again);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [hub]);
  useEffect(() => {
    document.title = `${system.title} · Tideline`;
  }, [system]);

  const context = useMemo(() => ({ hub, catalog, alerts }), [hub, catalog, alerts]);
  const opened = useRef<System | null>(null);
  const navigated = useRef(false);
  if (opened.current !== system) {
    navigated.current = opened.current !== null;
    opened.current = system;
  }
  return (
    <Page.Provider value={context}>
      <Banner route={route}>
        <Connected key={system.name} main={system.needs[0] ?? null} refresh={refresh} />
      </Banner>
      <main id="main" tabIndex={-1}>
        <Content key={system.name} system={system} item={route.item} isThere={there} isNavigation={navigated.current} />
      </main>
    </Page.Provider>
  );
}

interface ContentProps {
  system: System;
  item: string | null;
  /** Whether the server has what the view needs. */
  isThere: boolean;
  /** Whether another view was open before. */
  isNavigation: boolean;
}

function Content({ system, item, isThere, isNavigation }: ContentProps): JSX.Element {
  const View = useLoaded(system);
  const isShown = !isThere || typeof View === "function";
  // Whoever follows a link is led to what it opened, by keyboard and by reader; the page itself takes nothing away.
  useLayoutEffect(() => {
    if (!isNavigation || !isShown) return;
    scrollTo(0, 0);
    document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
  }, [isShown]);
  return (
    <>
      <Outage />
      {!isThere ? (
        <Absent title={system.title} pipeline={system.pipeline ?? ""} views={[...system.needs]} />
      ) : View === null ? (
        <p class="nothing">Loading…</p>
      ) : typeof View === "string" ? (
        <p class="nothing">{View}</p>
      ) : (
        <View item={item} />
      )}
    </>
  );
}

/** The code of a view; a text when it cannot be loaded. */
function useLoaded(system: System): ComponentType<{ item: string | null }> | string | null {
  const [loaded, setLoaded] = useState<{ view: ComponentType<{ item: string | null }> | string | null }>({
    view: null,
  });
  useEffect(() => {
    let gone = false;
    system.load().then(
      (view) => {
        if (!gone) setLoaded({ view });
      },
      () => {
        if (!gone)
          setLoaded({
            view: "This part of the page could not be loaded: it may be of an older build. Reload the page.",
          });
      },
    );
    return () => {
      gone = true;
    };
  }, [system]);
  return loaded.view;
}

function Banner({ route, children }: { route: Route; children?: JSX.Element }): JSX.Element {
  const theme = useTheme();
  const other = theme === "dark" ? "light" : "dark";
  const isSignedIn = useSession((session) => session.token !== null);
  return (
    <header class="banner">
      <a class="brand" href={hrefOf("platform")} aria-label="Tideline, to the platform">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <circle cx="16" cy="13" r="7" class="sun" />
          <path class="sea" d="M0 17q4-3.4 8 0t8 0 8 0 8 0v15H0z" />
        </svg>
        <span>Tideline</span>
      </a>
      <nav aria-label="Views">
        <ul>
          {SYSTEMS.map((system) => (
            <li key={system.name}>
              <a href={hrefOf(system.name)} aria-current={system.name === route.view ? "page" : undefined}>
                {system.title}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="banner-end">
        {children}
        {isSignedIn && (
          <button type="button" class="quiet" onClick={() => SESSION.signOut()}>
            Sign out
          </button>
        )}
        <button type="button" class="quiet theme" aria-label={`Switch to ${other}`} onClick={() => chooseTheme(other)}>
          {theme === "dark" ? "Light" : "Dark"}
        </button>
      </div>
    </header>
  );
}
