/** Links into the explorer: the query bar's terms, and a period. Pure. */
import type { Search } from "./search";

/** A term of the query bar. What the grammar would split is quoted. */
export function term(name: string, value: string): string {
  return /[\s"]/.test(value) || value === "" ? `${name}:"${value.replace(/["\\]/g, "\\$&")}"` : `${name}:${value}`;
}

/** The search of the explorer for terms and a period. */
export function exploring(terms: readonly string[], period: { from?: string | undefined; to?: string | undefined } = {}): Search {
  const search: Search = {};
  if (terms.length > 0) search.q = terms.join(" ");
  if (period.from) search.from = period.from;
  if (period.to) search.to = period.to;
  return search;
}
