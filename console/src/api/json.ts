/**
 * JSON as it was sent. `JSON.parse` rounds numbers, writes 1.0 as 1 and puts keys that look like numbers first; payloads
 * are shown as they are stored, so they are read here. Pure.
 */

/** A number with its literal, since "1.0", "1E2" and 9007199254740993 say more than a double can hold. */
export class JsonNumber {
  constructor(readonly literal: string) {}

  get isInteger(): boolean {
    return /^-?\d+$/.test(this.literal);
  }
}

/** An object keeps the order of its keys. */
export type JsonObject = Map<string, Json>;
export type Json = null | boolean | string | JsonNumber | Json[] | JsonObject;

const DEPTH_MAX = 1000;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const BLANK = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;

/** The value of a JSON text. Throws SyntaxError for any other text, lone surrogates and numbers beyond a double. */
export function parseJson(text: string): Json {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.skipBlanks();
  if (reader.at !== text.length) throw new SyntaxError("The JSON goes on after its end.");
  return value;
}

class Reader {
  at = 0;

  constructor(private readonly text: string) {}

  skipBlanks(): void {
    BLANK.lastIndex = this.at;
    BLANK.exec(this.text);
    this.at = BLANK.lastIndex;
  }

  value(depth: number): Json {
    if (depth > DEPTH_MAX) throw new SyntaxError("The JSON is nested too deeply.");
    this.skipBlanks();
    switch (this.text[this.at]) {
      case "{":
        return this.object(depth);
      case "[":
        return this.array(depth);
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  private object(depth: number): JsonObject {
    const members: JsonObject = new Map();
    this.at++;
    if (this.takes("}")) return members;
    do {
      this.skipBlanks();
      const key = this.string();
      if (!this.takes(":")) throw new SyntaxError("A key has no value.");
      members.set(key, this.value(depth + 1));
    } while (this.takes(","));
    if (!this.takes("}")) throw new SyntaxError("An object does not end.");
    return members;
  }

  private array(depth: number): Json[] {
    const items: Json[] = [];
    this.at++;
    if (this.takes("]")) return items;
    do items.push(this.value(depth + 1));
    while (this.takes(","));
    if (!this.takes("]")) throw new SyntaxError("A list does not end.");
    return items;
  }

  private string(): string {
    STRING.lastIndex = this.at;
    const literal = STRING.exec(this.text)?.[0];
    if (literal === undefined) throw new SyntaxError("A text does not end.");
    this.at = STRING.lastIndex;
    const text = JSON.parse(literal) as string;
    if (LONE_SURROGATE.test(text)) throw new SyntaxError("A text holds half a character.");
    return text;
  }

  private number(): JsonNumber {
    NUMBER.lastIndex = this.at;
    const literal = NUMBER.exec(this.text)?.[0];
    if (literal === undefined || !Number.isFinite(Number(literal))) throw new SyntaxError("This is not JSON.");
    this.at = NUMBER.lastIndex;
    return new JsonNumber(literal);
  }

  private word<Value extends Json>(word: string, value: Value): Value {
    if (!this.text.startsWith(word, this.at)) throw new SyntaxError("This is not JSON.");
    this.at += word.length;
    return value;
  }

  private takes(mark: string): boolean {
    this.skipBlanks();
    if (this.text[this.at] !== mark) return false;
    this.at++;
    return true;
  }
}

/** The value as an indented JSON text, with every number as it was written. */
export function jsonText(value: Json, indent = ""): string {
  if (value instanceof JsonNumber) return value.literal;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}  `;
  const parts = Array.isArray(value)
    ? value.map((item) => inner + jsonText(item, inner))
    : [...value].map(([key, item]) => `${inner}${JSON.stringify(key)}: ${jsonText(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return parts.length === 0 ? `${open}${close}` : `${open}\n${parts.join(",\n")}\n${indent}${close}`;
}

/**
 * The answer of the server, where each object with a `payload` also has `payloadText`: the payload as it was sent.
 * Everything else is as of `JSON.parse`.
 */
export function parseAnswer(text: string): unknown {
  const answer: unknown = JSON.parse(text);
  // A trace has ten thousand rows without any payload, and is not read a second time.
  const texts = text.includes('"payload":{') ? payloadTexts(text) : [];
  if (texts.length > 0) attach(answer, texts[Symbol.iterator]());
  return answer;
}

const ENDS = /["{}[\]]/g;

/** The texts of all payloads that are objects, in their order; those within a payload are none. */
function payloadTexts(text: string): string[] {
  const found: string[] = [];
  let at = 0;
  for (;;) {
    STRING.lastIndex = at;
    const next = text.indexOf('"', at);
    if (next < 0) return found;
    STRING.lastIndex = next;
    const literal = STRING.exec(text)?.[0];
    if (literal === undefined) return found;
    at = STRING.lastIndex;
    if (literal === '"payload"' && text.startsWith(":{", at)) {
      const end = endOfObject(text, at + 1);
      found.push(text.slice(at + 1, end));
      at = end;
    }
  }
}

/** Where the object that begins here ends. */
export function endOfObject(text: string, start: number): number {
  let depth = 0;
  ENDS.lastIndex = start;
  for (let mark = ENDS.exec(text); mark !== null; mark = ENDS.exec(text)) {
    if (mark[0] === '"') {
      STRING.lastIndex = mark.index;
      STRING.exec(text);
      ENDS.lastIndex = STRING.lastIndex;
    } else {
      depth += mark[0] === "{" || mark[0] === "[" ? 1 : -1;
      if (depth === 0) return ENDS.lastIndex;
    }
  }
  return text.length;
}

function attach(value: unknown, texts: Iterator<string>): void {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === "payload" && typeof inner === "object" && inner !== null && !Array.isArray(inner)) {
      const next = texts.next();
      if (!next.done) Object.assign(value, { payloadText: next.value });
    } else {
      attach(inner, texts);
    }
  }
}
