/** The filters of webhooks and alert rules, as a form and as words. Pure. */

export const FILTER_NAMES = ["eventType", "outcome", "resourceType", "actorType", "actorId", "resourceId", "correlationId", "causationId"] as const;
export type FilterName = (typeof FILTER_NAMES)[number];

/** What a body carries: each filter is a text, or several that are alternatives. */
export type Filters = Partial<Record<FilterName, string | string[]>>;

/** The same in a form: one text a filter, one alternative a line. */
export type FilterFields = Record<FilterName, string>;

/** Filters whose values have no blanks, so that blanks and commas part them too. */
const WORDS: ReadonlySet<FilterName> = new Set(["eventType", "outcome", "resourceType", "actorType", "resourceId", "causationId"]);

export const NO_FILTERS: FilterFields = {
  eventType: "",
  outcome: "",
  resourceType: "",
  actorType: "",
  actorId: "",
  resourceId: "",
  correlationId: "",
  causationId: "",
};

export function fieldsOf(filters: object): FilterFields {
  const fields = { ...NO_FILTERS };
  for (const name of FILTER_NAMES) {
    const value = (filters as Filters)[name];
    if (value !== undefined) fields[name] = Array.isArray(value) ? value.join("\n") : String(value);
  }
  return fields;
}

export function filtersOf(fields: FilterFields): Filters {
  const filters: Filters = {};
  for (const name of FILTER_NAMES) {
    const values = fields[name]
      .split(WORDS.has(name) ? /[\s,]+/ : /\n/)
      .map((value) => value.trim())
      .filter(Boolean);
    const [first] = values;
    if (first !== undefined) filters[name] = values.length === 1 ? first : values;
  }
  return filters;
}

const TERM: Record<FilterName, string> = {
  eventType: "type",
  outcome: "outcome",
  resourceType: "resource type",
  actorType: "actor type",
  actorId: "actor",
  resourceId: "resource",
  correlationId: "flow",
  causationId: "cause",
};

/** Each filter as a name and its alternatives, in the order of the form. */
export function filterWords(filters: object): { name: string; values: string[] }[] {
  return FILTER_NAMES.flatMap((name) => {
    const value = (filters as Filters)[name];
    return value === undefined ? [] : [{ name: TERM[name], values: Array.isArray(value) ? value : [value] }];
  });
}
