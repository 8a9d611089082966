/** Light or dark: the system's, until one is chosen; the choice is remembered. `public/theme.js` applies it early. */

export type Theme = "light" | "dark";

/** The part of `Storage` that is used. */
export type Memory = Pick<Storage, "getItem" | "setItem" | "removeItem">;

const KEY = "tideline.theme";

/** The remembered choice. */
export function remembered(memory: Memory | null): Theme | null {
  try {
    const value = memory?.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}

/** Remembers a choice; one that is the system's own is forgotten, so that the page follows the system again. */
export function remember(memory: Memory | null, theme: Theme, system: Theme): void {
  try {
    if (theme === system) memory?.removeItem(KEY);
    else memory?.setItem(KEY, theme);
  } catch {
    // No storage: it is chosen for this visit.
  }
}

const dark = (): MediaQueryList => matchMedia("(prefers-color-scheme: dark)");

export function systemTheme(): Theme {
  return dark().matches ? "dark" : "light";
}

function storage(): Memory | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

const listeners = new Set<() => void>();

export function currentTheme(): Theme {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : systemTheme();
}

export function chooseTheme(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
  remember(storage(), theme, systemTheme());
  for (const listener of listeners) listener();
}

/** `listener` is called when colours have changed; answers how to end it. */
export function onTheme(listener: () => void): () => void {
  if (listeners.size === 0) dark().addEventListener("change", followSystem);
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function followSystem(): void {
  const chosen = remembered(storage());
  if (chosen === null) delete document.documentElement.dataset.theme;
  for (const listener of listeners) listener();
}
