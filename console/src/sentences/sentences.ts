/**
 * Says of an event who did what, to which object, and in which detail: the same answers as `src/whence/sentences.py`,
 * from the words of `GET /api/v1/sentences`. Pure. A sentence is untrusted text, to be shown as text alone.
 */
import { JsonNumber, parseJson, type Json, type JsonObject } from "../api/json";
import type { Sentence } from "./sentence";

/** The words in force, in the structure of `data/sentences.toml`. */
export interface Words {
  verbs: Record<string, string>;
  unquoted: Record<string, string>;
  unquoted_objects: Record<string, string>;
  object_texts: Record<string, string[]>;
  detail_texts: Record<string, string[]>;
  grammar: {
    past: string[];
    objects: string[];
    without_object: string[];
    quotes: string[];
    errors: string[];
    results: string[];
    arguments: string[];
    hidden: string[];
    kinds: string[];
  };
}

/** What a sentence needs of an event. */
export interface Described {
  eventType: string;
  outcome: string;
  actorId: string;
  resourceType: string;
  resourceId: string;
}

/** A sentence, with what only some readers of it need. */
export interface FullSentence extends Sentence {
  /** Whether a member of the payload names the object. */
  isNamed: boolean;
  /** What stands as the object where there is none and no detail either, as "a message" after "sent". */
  objectAlone: string;
}

const DETAIL_MAX = 400;
const LEAVES_MAX = 40;
const DEPTH_MAX = 8;

/** What Python calls white space. */
const S = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const BLANKS = new RegExp(`${S}+`, "u");
const BLANKS_AT_START = new RegExp(`^${S}+`, "u");
const BLANKS_AT_END = new RegExp(`${S}+$`, "u");
const CUT_LIST = new RegExp(`^\\[${S}*[\\[{"]`, "u");
const CUT_OBJECT = new RegExp(`^\\{${S}*"`, "u");
const TOKEN = new RegExp(
  `"((?:[^"\\\\]|\\\\[^\\n])*)"(${S}*:)?|(-?\\p{Nd}[\\p{Nd}.eE+-]*|true|false)(?=(?:${S}|[,\\]}]))`,
  "gu",
);

/** Where such a text has a member of the payload, by its path, with a noun if it is a number of things. */
const PLACE = /\{([A-Za-z0-9_.]{1,64})(?: ([a-z]{1,32}))?\}/g;

/** The sentence of an event. `payload` is its text; an unreadable one gives no detail. */
export function sentenceOf(event: Described, payload: string, words: Words): FullSentence {
  const { grammar } = words;
  const members = membersOf(payload);
  const [name, object] = objectOf(event, members, words);
  const filledObject = filledText(at(words.object_texts, event.eventType) ?? [], members);
  const isFailure = event.outcome === "failure";
  const detailTexts = at(words.detail_texts, event.eventType);
  const [detail, isQuote] = detailTexts ? [filledText(detailTexts, members), false] : detailOf(without(members, name), isFailure, words);
  const verb = (isQuote ? undefined : at(words.unquoted, event.eventType)) || verbOf(event.eventType, words);
  return {
    actor: event.actorId,
    verb: verb ?? (isFailure ? `${event.eventType} failed` : event.eventType),
    object: filledObject || (verb && grammar.without_object.includes(event.resourceType) ? "" : object),
    detail: withoutMiddle(detail),
    isVerb: verb !== undefined,
    isQuote,
    isFailure,
    isNamed: name !== null || filledObject !== "",
    objectAlone: isQuote ? "" : (at(words.unquoted_objects, event.eventType) ?? ""),
  };
}

/** The detail, in quotation marks if it is a quotation. */
export function shownDetail(sentence: Sentence): string {
  return sentence.isQuote && sentence.detail ? `“${sentence.detail}”` : sentence.detail;
}

/** The object, or what stands in its place. */
export function shownObject(sentence: Sentence & Partial<FullSentence>): string {
  return sentence.object || (sentence.detail ? "" : (sentence.objectAlone ?? ""));
}

export function sentenceText(sentence: FullSentence): string {
  const actor = sentence.isVerb ? sentence.actor : `${sentence.actor}:`;
  return [actor, sentence.verb, shownObject(sentence), shownDetail(sentence)].filter(Boolean).join(" ");
}

const runOf = (event: Described) =>
  JSON.stringify([event.eventType.slice(0, event.eventType.lastIndexOf(".")), event.resourceType, event.resourceId]);

/** A failure that does not name its object takes the name from the start of the same run, if that is among the events. */
export function namedFailures(pairs: readonly (readonly [Described, FullSentence])[]): FullSentence[] {
  const names = new Map<string, string>();
  for (const [event, sentence] of pairs)
    if (sentence.isNamed && event.eventType.endsWith(".started")) names.set(runOf(event), sentence.object);
  return pairs.map(([event, sentence]) => {
    const name = sentence.isFailure && sentence.object && !sentence.isNamed ? names.get(runOf(event)) : undefined;
    return name === undefined ? sentence : { ...sentence, object: name, isNamed: true };
  });
}

function at<T>(table: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

function membersOf(payload: string): JsonObject {
  try {
    const value = parseJson(payload);
    return value instanceof Map ? value : new Map();
  } catch {
    return new Map();
  }
}

function without(members: JsonObject, name: string | null): JsonObject {
  return new Map([...members].filter(([key]) => key !== name));
}

function verbOf(eventType: string, words: Words): string | undefined {
  const verb = at(words.verbs, eventType);
  if (verb !== undefined) return verb;
  const last = eventType.slice(eventType.lastIndexOf(".") + 1);
  const word = last.slice(last.lastIndexOf("_") + 1);
  return word.endsWith("ed") || words.grammar.past.includes(word) ? last.replaceAll("_", " ") : undefined;
}

function objectOf(event: Described, members: JsonObject, words: Words): [string | null, string] {
  for (const name of words.grammar.objects) {
    const value = reached(members, name);
    if (typeof value === "string" && oneLine(value)) {
      const kinds = words.grammar.kinds.map((kind) => members.get(kind)).filter((kind) => typeof kind === "string");
      return [name, [...kinds.slice(0, 1).map(oneLine), oneLine(value)].join(" ")];
    }
  }
  return [null, `${event.resourceType.replaceAll("_", " ")} ${event.resourceId.slice(0, 8)}`];
}

/** The first of these texts of which the payload has every member; empty if there is none. */
function filledText(texts: readonly string[], members: JsonObject): string {
  for (const text of texts) {
    let isWhole = true;
    const filled = text.replace(PLACE, (_, path: string, noun: string | undefined) => {
      const value = valueAt(reached(members, path), noun);
      isWhole &&= value !== "";
      return value;
    });
    if (isWhole) return filled;
  }
  return "";
}

/** What such a text has in a place; empty for what cannot stand there. */
function valueAt(value: Json | undefined, noun: string | undefined): string {
  if (typeof value === "string") return noun === undefined ? oneLine(value) : "";
  if (!(value instanceof JsonNumber) || !value.isInteger || BigInt(value.literal) <= 0n) return "";
  const number = BigInt(value.literal);
  const text = number.toLocaleString("en-US");
  if (noun === undefined) return text;
  return `${text} ${number === 1n ? noun : `${noun}s`}`;
}

/** What is at a path like `tool`, `request.name` or `resources.0.ARN`. */
function reached(members: JsonObject, path: string): Json | undefined {
  let value: Json | undefined = members;
  for (const name of path.split(".")) {
    if (Array.isArray(value) && /^\d+$/.test(name)) value = value[Number(name)];
    else value = value instanceof Map ? value.get(name) : undefined;
  }
  return value;
}

/** The detail, and whether it is a quotation. */
function detailOf(members: JsonObject, isFailure: boolean, words: Words): [string, boolean] {
  const { grammar } = words;
  const texts = (names: readonly string[]) =>
    names.map((name) => members.get(name)).filter((value) => typeof value === "string").map(oneLine).filter(Boolean);
  const [quote] = texts(grammar.quotes);
  if (quote) return [quote, true];
  if (isFailure) {
    const errors = texts(grammar.errors).map((error) => (error.startsWith("Error: ") ? error.slice(7) : error));
    if (errors.length > 0) return [[...new Set(errors.slice(0, 2))].join(": "), false];
  }
  for (const name of [...grammar.results, ...grammar.arguments]) {
    const value = members.get(name);
    if (value !== undefined) return [valueText(value), false];
  }
  const unsaid = new Set([...grammar.hidden, ...grammar.kinds]);
  return [joined(leaves(new Map([...members].filter(([name]) => !unsaid.has(name) && !name.startsWith("_"))))), false];
}

/** What came out, or went in. Text that is JSON is read as such. */
function valueText(value: Json): string {
  let read = value;
  if (typeof value === "string") {
    try {
      read = parseJson(value);
    } catch {
      return cutOff(value);
    }
    if (!(Array.isArray(read) || read instanceof Map)) return oneLine(value);
  }
  if (Array.isArray(read)) {
    if (read.length === 0) return "nothing found";
    return `${read.length.toLocaleString("en-US")} ${read.length === 1 ? "item" : "items"}`;
  }
  return joined(leaves(read));
}

/** Text that is not JSON, but may have been before its end was cut off. */
function cutOff(text: string): string {
  if (CUT_LIST.test(text)) return "a list, cut short";
  if (!CUT_OBJECT.test(text)) return oneLine(text);
  return joined(beforeTheCut(text));
}

function* beforeTheCut(text: string): Generator<Leaf> {
  let name = "";
  let tokens = 0;
  for (const [, string = "", isName, scalar] of text.matchAll(TOKEN)) {
    if (tokens++ === LEAVES_MAX) break;
    if (isName) {
      name = string;
      continue;
    }
    let value: Json;
    try {
      value = parseJson(scalar ?? `"${string}"`);
    } catch {
      continue;
    }
    yield* leaves(value, name);
  }
  yield { text: "…", isNamed: false };
}

/** A scalar of a payload. Numbers and switches are named, since they say nothing alone. */
interface Leaf {
  text: string;
  isNamed: boolean;
}

function* leaves(value: Json, name = "", depth = 0): Generator<Leaf> {
  if (value instanceof Map) {
    if (depth < DEPTH_MAX) for (const [key, item] of value) yield* leaves(item, key, depth + 1);
  } else if (Array.isArray(value)) {
    if (depth < DEPTH_MAX) for (const item of value) yield* leaves(item, name, depth + 1);
  } else if (typeof value === "string") {
    const text = oneLine(value);
    if (text) yield { text, isNamed: false };
  } else if (value !== null) {
    const text = value instanceof JsonNumber ? numberText(value) : value ? "yes" : "no";
    yield { text: `${oneLine(name.replaceAll("_", " "))} ${text}`.trim(), isNamed: name !== "" };
  }
}

/** A number as Python writes it: 1.0 stays 1.0, 1E2 is 100.0, and 1e16 is 1e+16. */
function numberText(number: JsonNumber): string {
  const { literal } = number;
  if (number.isInteger) return literal === "-0" ? "0" : literal;
  const value = Number(literal);
  if (value === 0) return literal.startsWith("-") ? "-0.0" : "0.0";
  const [digits = "", exponentText = "0"] = Math.abs(value).toExponential().split("e");
  const exponent = Number(exponentText);
  const sign = value < 0 ? "-" : "";
  if (exponent < -4 || exponent >= 16)
    return `${sign}${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const plain = String(Math.abs(value)).includes("e") ? Math.abs(value).toFixed(-exponent + digits.length - 2) : String(Math.abs(value));
  return sign + (plain.includes(".") ? plain : `${plain}.0`);
}

function joined(all: Iterable<Leaf>): string {
  const found: Leaf[] = [];
  for (const leaf of all) {
    found.push(leaf);
    if (found.length > LEAVES_MAX) break;
  }
  const texts = found.slice(0, LEAVES_MAX).map((leaf) => leaf.text);
  if (found.length > LEAVES_MAX) texts.push("…");
  return texts.join(found.every((leaf) => leaf.isNamed) ? ", " : " · ");
}

/** Lengths count characters, not the halves that JavaScript keeps of some. */
function cut(text: string, length: number): string {
  return text.length <= length ? text : Array.from(text.slice(0, 2 * length)).slice(0, length).join("");
}

function oneLine(text: string): string {
  return cut(text, 4 * DETAIL_MAX).split(BLANKS).filter(Boolean).join(" ");
}

function withoutMiddle(text: string): string {
  if (text.length <= DETAIL_MAX) return text;
  const characters = Array.from(text);
  if (characters.length <= DETAIL_MAX) return text;
  const half = DETAIL_MAX / 2;
  const head = characters.slice(0, half).join("");
  const tail = characters.slice(-half).join("");
  return `${head.replace(BLANKS_AT_END, "")} … ${tail.replace(BLANKS_AT_START, "")}`;
}
