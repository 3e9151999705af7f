/**
 * The terms of a query as they stand in its text, and texts with a term more or less. What a term means is for the
 * server to say; this reads as much as the chips need. Pure.
 */

/** The text of a term is `text.slice(start, end)`. `name` is empty if it has no colon, and `value` is then the whole. */
export interface Term {
  start: number;
  end: number;
  isExcluded: boolean;
  name: string;
  value: string;
}

/** What a term may name, in the order in which it is offered. */
export const NAMES = ["type", "actor", "outcome", "resource", "flow", "cause", "since", "until"] as const;

const BEGIN = /(-?)(payload\.[^\s:="\\]+|[A-Za-z_][A-Za-z_.]*):/y;
const QUOTED = /"((?:[^"\\]|\\[^])*)"?/y;
const WORD = /[^ \t\r\n]*/y;
const BLANKS = /[ \t\r\n]*/y;

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

export function scanTerms(text: string): Term[] {
  const terms: Term[] = [];
  for (;;) {
    const start = (terms.at(-1)?.end ?? 0) + (match(BLANKS, text, terms.at(-1)?.end ?? 0)?.[0].length ?? 0);
    if (start >= text.length) return terms;
    terms.push(termAt(text, start));
  }
}

function termAt(text: string, start: number): Term {
  const begin = match(BEGIN, text, start);
  if (begin === null) {
    const value = match(WORD, text, start)?.[0] ?? "";
    return { start, end: start + value.length, isExcluded: false, name: "", value };
  }
  const [head, sign = "", name = ""] = begin;
  const after = start + head.length;
  const quoted = match(QUOTED, text, after);
  const afterQuoted = after + (quoted?.[0].length ?? 0);
  const rest = match(WORD, text, afterQuoted)?.[0] ?? "";
  const value = quoted === null ? rest : (quoted[1] ?? "").replace(/\\([^])/g, "$1");
  return { start, end: afterQuoted + rest.length, isExcluded: sign === "-", name, value };
}

/** A term as text, with its value in quotes if it needs them. */
export function termText({ name, value, isExcluded = false }: { name: string; value: string; isExcluded?: boolean }): string {
  const plain = value !== "" && !/[\s"\\]/.test(value);
  const written = plain ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
  return `${isExcluded ? "-" : ""}${name}:${written}`;
}

const isSame = (term: Term, name: string, value: string) => term.name === name && term.value === value;

/** Whether the query asks for this value, or excludes it. */
export function asks(text: string, name: string, value: string, isExcluded = false): boolean {
  return scanTerms(text).some((term) => isSame(term, name, value) && term.isExcluded === isExcluded);
}

/** The query with this term, in place of its opposite if that is there. */
export function withTerm(text: string, name: string, value: string, isExcluded = false): string {
  if (asks(text, name, value, isExcluded)) return tidy(text);
  const kept = removed(text, (term) => isSame(term, name, value));
  return tidy(`${kept} ${termText({ name, value, isExcluded })}`);
}

export function withoutTerm(text: string, name: string, value: string): string {
  return removed(text, (term) => isSame(term, name, value));
}

export function withoutTermAt(text: string, index: number): string {
  return removed(text, (_, at) => at === index);
}

/** Without the terms of these names. */
export function withoutNames(text: string, names: readonly string[]): string {
  return removed(text, (term) => names.includes(term.name));
}

/** The same term, excluded instead of asked for, or the other way round. */
export function invertedAt(text: string, index: number): string {
  const terms = scanTerms(text);
  const parts = terms.map((term, at) => {
    const written = text.slice(term.start, term.end);
    if (at !== index || term.name === "") return written;
    return term.isExcluded ? written.slice(1) : `-${written}`;
  });
  return parts.join(" ");
}

/** The terms with one blank between them. */
export function tidy(text: string): string {
  return removed(text, () => false);
}

function removed(text: string, isGone: (term: Term, index: number) => boolean): string {
  return scanTerms(text)
    .filter((term, index) => !isGone(term, index))
    .map((term) => text.slice(term.start, term.end))
    .join(" ");
}

/** The known name that is nearest to this one, if it is near at all. */
export function nearestName(name: string, names: readonly string[] = NAMES): string | null {
  const near = names.map((known) => [distance(name, known), known] as const).sort(([one], [other]) => one - other)[0];
  return near !== undefined && near[0] <= 2 && near[0] < near[1].length ? near[1] : null;
}

function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++)
      next[j] = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1));
    row = next;
  }
  return row[other.length] ?? 0;
}
