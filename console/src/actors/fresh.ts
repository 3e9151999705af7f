/** Which values are new in a period, by what the server lists of it and of the time before. Pure. */
import type { Facet } from "../explore/answers";

/** Values of a path whose first event is looked up. */
export const LOOKED_UP = 16;

/** The values that an actor had within a period and, as far as they are listed, not before it. */
export function newValues(within: Facet, before: Facet | null): { values: string[]; unknown: number } {
  const old = new Set(before?.values.map(({ value }) => value));
  const values = within.values.flatMap(({ value }) => (value === undefined || old.has(value) ? [] : [value]));
  return { values: values.slice(0, LOOKED_UP), unknown: within.more + Math.max(0, values.length - LOOKED_UP) };
}
