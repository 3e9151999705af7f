/** What a recorded export or read asked for, in words, and the same in the explorer. Pure. */
import { scanTerms, termText } from "../explore/terms";
import type { Search } from "../common/search";

/** The payload of `whence.exported` and `whence.events_read`. The texts are from a request, and untrusted. */
export interface Asked {
  path: string;
  query: string;
  asOf: number | null;
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

export function askedOf(payload: Record<string, unknown>): Asked {
  return { path: textOf(payload.path), query: textOf(payload.query), asOf: typeof payload.asOf === "number" ? payload.asOf : null };
}

/** Routes by how their path ends after `/api/v1/`, and what they are called. */
const ROUTES: readonly (readonly [RegExp, string])[] = [
  [/^events$/, "events"],
  [/^events\/export$/, "an export of events"],
  [/^events\/(stream|feed)$/, "events as they arrive"],
  [/^events\/(histogram|facets|aggregate)$|^events\/stats\//, "counts of events"],
  [/^events\/suggest$/, "words for the query bar"],
  [/^events\/[0-9a-f-]{36}$|^references\//, "one event"],
  [/^events\/([0-9a-f-]{36}\/trace|reach)$/, "causes and effects"],
  [/^log\/entries$/, "the log, to verify it"],
  [/^events\/[0-9a-f-]{36}\/proof$|^log\//, "the log and its proofs"],
  [/^events\/resource\/|^resources\//, "a resource"],
  [/^events\/correlation\/|^flows(\/|$)/, "flows"],
  [/^actors(\/|$)/, "actors"],
  [/^search$/, "a search"],
  [/^views(\/|$)/, "saved views"],
];

/** What was asked for; null for a path that has no words here. */
export function routeWords(path: string): string | null {
  const end = /\/api\/v1\/(.*)$/.exec(path)?.[1];
  return end === undefined ? null : (ROUTES.find(([pattern]) => pattern.test(end))?.[1] ?? null);
}

/** Parameters that say how an answer looks, not what it is about. */
const FORM = new Set(["include", "limit", "cursor", "order", "format", "offset", "total", "interval", "by", "top", "as_of", "complete"]);

/** What the answer was about: the terms of the query language, then the other parameters. */
export function filtersOf(query: string): string[] {
  const parameters = [...new URLSearchParams(query)].filter(([name]) => !FORM.has(name));
  return parameters.flatMap(([name, value]) => (name === "q" ? scanTerms(value).map((term) => (term.name === "" ? term.value : termText(term))) : [`${name} ${value}`]));
}

/** The same question in the explorer, if its filters are those that an address of the explorer has. */
export function exploredAs({ path, query }: Asked): Search | null {
  if (!/\/api\/v1\/events(\/export)?$/.test(path)) return null;
  const search: Search = {};
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === "q" || name === "from" || name === "to") search[name] = value;
    else if (!FORM.has(name)) return null;
  }
  return search;
}
