import { useEffect, useRef, useSyncExternalStore } from "react";
import { tinykeys } from "tinykeys";
import { usePreferences } from "./preferences";

/** A shortcut: its key in tinykeys' notation ("j", "g e", "$mod+k", "?"), and what it does in a few words. */
export interface Shortcut {
  keys: string;
  does: string;
  run: (event: KeyboardEvent) => void;
  /** Also while a field has the focus; only for those with a modifier, such as ⌘K. */
  inFields?: boolean;
}

export interface ShortcutGroup {
  title: string;
  shortcuts: readonly Shortcut[];
}

let groups: readonly ShortcutGroup[] = [];
const listeners = new Set<() => void>();

function change(next: readonly ShortcutGroup[]): void {
  groups = next;
  for (const listener of listeners) listener();
}

/** The shortcuts in force, for the sheet on `?`. */
export function useShortcutGroups(): readonly ShortcutGroup[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => groups,
  );
}

/** Listens for these shortcuts as long as the component is shown, unless the reader has switched shortcuts off. */
export function useShortcuts(title: string, shortcuts: readonly Shortcut[]): void {
  const { shortcuts: on } = usePreferences();
  const latest = useRef(shortcuts);
  latest.current = shortcuts;
  const signature = shortcuts.map((shortcut) => `${shortcut.keys} ${shortcut.does}`).join("\n");
  useEffect(() => {
    const group: ShortcutGroup = { title, shortcuts: latest.current };
    change([...groups, group]);
    const bindings = Object.fromEntries(
      latest.current.map(({ keys, inFields }) => [
        keys,
        (event: KeyboardEvent) => {
          if (!inFields && (!on || isField(event.target) || hasDialog())) return;
          latest.current.find((shortcut) => shortcut.keys === keys)?.run(event);
        },
      ]),
    );
    const stop = tinykeys(window, bindings);
    return () => {
      stop();
      change(groups.filter((other) => other !== group));
    };
  }, [title, signature, on]);
}

function isField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

function hasDialog(): boolean {
  return document.querySelector("[role=dialog][aria-modal=true]") !== null;
}
