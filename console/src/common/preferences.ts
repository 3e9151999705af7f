import { useSyncExternalStore } from "react";
import type { Zone } from "./times";

/** What a reader prefers, kept in this browser. */
export interface Preferences {
  theme: "system" | "light" | "dark";
  density: "comfortable" | "compact";
  zone: Zone;
  shortcuts: boolean;
}

const KEY = "whence.preferences";
const DEFAULTS: Preferences = { theme: "system", density: "comfortable", zone: "utc", shortcuts: true };

let current: Preferences = read();
const listeners = new Set<() => void>();

function read(): Preferences {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>) };
  } catch {
    return DEFAULTS;
  }
}

/** Writes the preferences onto <html>, where the tokens read them. */
export function applyPreferences(): void {
  const root = document.documentElement;
  const dark = current.theme === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : current.theme === "dark";
  root.dataset.theme = dark ? "dark" : "light";
  const touch = matchMedia("(pointer: coarse)").matches || innerWidth < 720;
  root.dataset.density = touch ? "touch" : current.density;
}

export function setPreferences(changed: Partial<Preferences>): void {
  current = { ...current, ...changed };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // A browser that keeps nothing still shows the choice until the page is left.
  }
  applyPreferences();
  for (const listener of listeners) listener();
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}

/** Follows the system's theme and the width of the window. Call once. */
export function watchPreferences(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyPreferences);
  addEventListener("resize", applyPreferences);
  applyPreferences();
}
