import { useRef, type RefObject } from "react";
import { useShortcuts } from "./shortcuts";

/** `j` and `k` move the focus over the links of a table's rows; Enter follows one, as always. */
export function useRowKeys<Element extends HTMLElement>(title: string): RefObject<Element | null> {
  const area = useRef<Element>(null);
  function move(by: number) {
    const links = [...(area.current?.querySelectorAll<HTMLElement>(".row-link") ?? [])];
    if (links.length === 0) return;
    const at = links.indexOf(document.activeElement as HTMLElement);
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.max(0, Math.min(links.length - 1, at + by));
    links[next]?.focus();
    links[next]?.scrollIntoView({ block: "nearest" });
  }
  useShortcuts(title, [
    { keys: "j", does: "Next row", run: () => move(1) },
    { keys: "k", does: "Row before", run: () => move(-1) },
  ]);
  return area;
}
