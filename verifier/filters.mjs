// The filters of exports: whether an event is one of those that a filter asks for, from its envelope alone. The fields are
// those of `filter.meaning` in a manifest, as docs/proof.md lists them.

import { NotProven } from "./verify.mjs";

const FILTER_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A filter. `since` and `until` are times with six digits of fraction, or null; `tests` are all to hold.
 * @typedef {{since: string | null, until: string | null, tests: ((envelope: Envelope) => boolean)[]}} Filter
 * @typedef {import("./verify.mjs").Envelope} Envelope */

/** The tests of a field, by its name. The values are alternatives.
 * @type {Record<string, (values: string[], envelope: Envelope) => boolean>} */
const FIELDS = {
  actor_ids: (values, { actorId }) => values.some((value) => isSame(value, actorId)),
  actor_types: (values, { actorType }) => values.includes(String(actorType)),
  actors: (values, { actorType, actorId }) => values.some((value) => isNamed(value, actorType, actorId)),
  causation_ids: (values, { causationId }) => causationId !== null && values.includes(String(causationId)),
  correlation_ids: (values, { correlationId }) => values.some((value) => isSame(value, correlationId)),
  outcomes: (values, { outcome }) => values.includes(String(outcome)),
  resource_ids: (values, { resourceId }) => values.includes(String(resourceId)),
  resource_types: (values, { resourceType }) => values.includes(String(resourceType)),
  resources: (values, { resourceType, resourceId }) => values.some((value) => isNamed(value, resourceType, resourceId)),
  type_patterns: (values, { eventType }) => values.some((value) => isOfType(value, String(eventType))),
};

/** What events must not be: the same tests, under these names. @type {Record<string, keyof typeof FIELDS>} */
const EXCLUDED = {
  excluded_actor_types: "actor_types",
  excluded_actors: "actors",
  excluded_causation_ids: "causation_ids",
  excluded_correlation_ids: "correlation_ids",
  excluded_event_types: "type_patterns",
  excluded_outcomes: "outcomes",
  excluded_resource_types: "resource_types",
  excluded_resources: "resources",
};

/** The filter of these fields. Throws NotProven for one that is not known here.
 * @param {Record<string, unknown>} meaning @returns {Filter} */
export function parseFilter(meaning) {
  const { since, until, event_types: types, event_type_prefixes: prefixes, ...others } = meaning ?? {};
  /** @type {Filter["tests"]} */
  const tests = [];
  if (types !== undefined || prefixes !== undefined) {
    const [names, beginnings] = [types === undefined ? [] : textsOf(types), prefixes === undefined ? [] : textsOf(prefixes)];
    tests.push(({ eventType }) => names.includes(String(eventType)) || beginnings.some((each) => String(eventType).startsWith(each)));
  }
  for (const [name, value] of Object.entries(others)) {
    const values = textsOf(value);
    const isExcluded = Object.hasOwn(EXCLUDED, name);
    const test = isExcluded ? FIELDS[EXCLUDED[name]] : Object.hasOwn(FIELDS, name) ? FIELDS[name] : null;
    if (test === null) throw new NotProven("The filter has a field that this verifier does not know. Use 'whence verify --export'.");
    tests.push((envelope) => test(values, envelope) !== isExcluded);
  }
  return { since: timeOf(since), until: timeOf(until), tests };
}

/** Whether an event is one of those that a filter asks for.
 * @param {Filter} filter @param {Envelope} envelope */
export function matchesFilter({ since, until, tests }, envelope) {
  const time = String(envelope.occurredAt); // times of this form are in the order of their texts
  return (since === null || since <= time) && (until === null || time < until) && tests.every((test) => test(envelope));
}

/** A time with six digits of fraction, in microseconds since 1970. @param {string} time @returns {bigint} */
export function microseconds(time) {
  return BigInt(Date.parse(`${time.slice(0, 19)}Z`)) * 1_000n + BigInt(time.slice(20, 26));
}

/** @param {unknown} value @returns {string | null} */
function timeOf(value) {
  if (value === undefined) return null;
  if (typeof value !== "string" || !FILTER_TIME.test(value)) throw new NotProven("A time of the filter cannot be read.");
  return value.length === 27 ? value : `${value.slice(0, 19)}.000000Z`;
}

/** @param {unknown} values @returns {string[]} */
function textsOf(values) {
  if (!Array.isArray(values) || !values.length || values.some((value) => typeof value !== "string")) throw new NotProven("The filter cannot be read.");
  return values;
}

/** Whether two texts are the same identity. A UUID is the same in lower case and in upper case, as earlier releases kept it.
 * @param {string} asked @param {unknown} value */
function isSame(asked, value) {
  return value === asked || (UUID.test(asked) && (value === asked.toLowerCase() || value === asked.toUpperCase()));
}

/** Whether an actor or resource has a name: `type/id`, `type/` for all of a type, or `*` for the type if it may be any.
 * @param {string} name @param {unknown} type @param {unknown} id */
function isNamed(name, type, id) {
  const at = name.indexOf("/");
  const [askedType, askedId] = at < 0 ? [name, ""] : [name.slice(0, at), name.slice(at + 1)];
  return (askedType === "*" || askedType === type) && (askedId === "" || isSame(askedId, id));
}

/** Whether an event type is this one, or begins or ends with the segments beside a `*`.
 * @param {string} pattern @param {string} type */
function isOfType(pattern, type) {
  if (pattern.endsWith(".*")) return type.startsWith(pattern.slice(0, -1));
  return pattern.startsWith("*.") ? type.endsWith(pattern.slice(1)) : type === pattern;
}
