/** Addresses of lists. Pure. */

/** The cursor of the next page in a Link header, or null on the last page. */
export function cursorIn(link: string | null): string | null {
  for (const part of (link ?? "").split(/,(?=\s*<)/)) {
    const found = /^\s*<([^>]*)>\s*;(.*)$/.exec(part);
    if (found?.[2] && /\brel="?next"?/.test(found[2])) return new URLSearchParams((found[1] ?? "").split("?")[1] ?? "").get("cursor");
  }
  return null;
}

/** A path with a query; what is undefined is left out. */
export function withQuery(path: string, query: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(query).filter((pair): pair is [string, string | number] => pair[1] !== undefined);
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text === "" ? path : `${path}?${text}`;
}
