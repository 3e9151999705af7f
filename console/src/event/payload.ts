/** A payload as rows: one a leaf or branch, with its path; and what differs between two payloads. Pure. */
import { JsonNumber, parseJson, type Json } from "../api/json";

export interface PayloadRow {
  /** As one writes it in code: `arguments.flights[0].date`. */
  path: string;
  /** The path by which a query names the value, such as `order.currency`; null where none can. */
  field: string | null;
  key: string;
  depth: number;
  kind: "text" | "number" | "word" | "branch" | "empty";
  /** The leaf's text as it was sent; of a branch, what it holds. */
  text: string;
}

/** The rows of a payload's text; null if it cannot be read. */
export function payloadRows(text: string): PayloadRow[] | null {
  let payload: Json;
  try {
    payload = parseJson(text);
  } catch {
    return null;
  }
  const rows: PayloadRow[] = [];
  if (payload instanceof Map || Array.isArray(payload)) for (const [key, value] of entries(payload)) add(rows, key, pathOf("", payload, key), fieldOf("", payload, key), 0, value);
  else add(rows, "", "", null, 0, payload);
  return rows;
}

function entries(branch: Map<string, Json> | Json[]): Iterable<[string, Json]> {
  return branch instanceof Map ? branch : branch.map((value, index) => [String(index), value]);
}

function pathOf(parent: string, branch: Json, key: string): string {
  if (Array.isArray(branch)) return `${parent}[${key}]`;
  if (/^[A-Za-z_$][\w$]*$/.test(key)) return parent === "" ? key : `${parent}.${key}`;
  return `${parent}[${JSON.stringify(key)}]`;
}

const FIELD = /^(?=.{1,128}$)[^\s.:="\\\x00-\x1f\x7f-\x9f]+(\.[^\s.:="\\\x00-\x1f\x7f-\x9f]+){0,3}$/u;
const VALUE = /^[^\x00-\x1f\x7f-\x9f]{1,255}$/u;
const ELEMENTS_MAX = 100;

/** The field of what is in a branch, as `payload_fields.py` defines it: elements have that of their array. */
function fieldOf(parent: string | null, branch: Json, key: string): string | null {
  if (parent === null || key.includes(".")) return null;
  if (Array.isArray(branch)) return branch.length <= ELEMENTS_MAX ? parent || null : null;
  return parent === "" ? key : `${parent}.${key}`;
}

function isAsked(kind: PayloadRow["kind"], field: string | null, text: string): boolean {
  return kind !== "branch" && kind !== "empty" && field !== null && FIELD.test(field) && VALUE.test(text);
}

function add(rows: PayloadRow[], key: string, path: string, field: string | null, depth: number, value: Json): void {
  const row = (kind: PayloadRow["kind"], text: string) =>
    rows.push({ path, field: isAsked(kind, field, text) ? field : null, key, depth, kind, text });
  if (value instanceof Map || Array.isArray(value)) {
    const count = value instanceof Map ? value.size : value.length;
    const noun = value instanceof Map ? ["key", "keys"] : ["item", "items"];
    if (count === 0) row("empty", value instanceof Map ? "{}" : "[]");
    else row("branch", `${count.toLocaleString("en-US")} ${count === 1 ? noun[0] : noun[1]}`);
    for (const [inner, item] of entries(value)) {
      // What is in an element of an array has no field.
      const isInArray = Array.isArray(item) ? Array.isArray(value) : item instanceof Map && Array.isArray(value);
      add(rows, inner, pathOf(path, value, inner), isInArray ? null : fieldOf(field, value, inner), depth + 1, item);
    }
  } else if (value instanceof JsonNumber) row("number", value.literal);
  else if (typeof value === "string") row("text", value);
  else row("word", String(value));
}

/** The rows that stay when these branches are closed. */
export function openRows(rows: readonly PayloadRow[], closed: ReadonlySet<string>): PayloadRow[] {
  let hiddenBelow = Number.POSITIVE_INFINITY;
  return rows.filter((row) => {
    if (row.depth > hiddenBelow) return false;
    hiddenBelow = row.kind === "branch" && closed.has(row.path) ? row.depth : Number.POSITIVE_INFINITY;
    return true;
  });
}

/** The leaves that have this text in their key or value, with the branches that lead to them. */
export function foundRows(rows: readonly PayloadRow[], text: string): PayloadRow[] {
  const sought = text.trim().toLowerCase();
  if (sought === "") return [...rows];
  const kept = new Set<PayloadRow>();
  const branches: PayloadRow[] = [];
  for (const row of rows) {
    branches.length = row.depth;
    branches[row.depth] = row;
    const isFound = row.key.toLowerCase().includes(sought) || (row.kind !== "branch" && row.text.toLowerCase().includes(sought));
    if (isFound) for (const branch of branches) if (branch) kept.add(branch);
  }
  return rows.filter((row) => kept.has(row));
}

export interface DiffRow {
  path: string;
  change: "same" | "added" | "removed" | "changed";
  before: string | null;
  after: string | null;
}

/** The leaves of two payloads side by side: in the order of the later one, then those that it lacks. */
export function diffRows(before: readonly PayloadRow[], after: readonly PayloadRow[]): DiffRow[] {
  const leaves = (rows: readonly PayloadRow[]) => new Map(rows.filter((row) => row.kind !== "branch").map((row) => [row.path, row]));
  const [old, now] = [leaves(before), leaves(after)];
  const rows: DiffRow[] = [];
  for (const [path, row] of now) {
    const earlier = old.get(path);
    const isSame = earlier !== undefined && earlier.kind === row.kind && earlier.text === row.text;
    rows.push({ path, change: earlier === undefined ? "added" : isSame ? "same" : "changed", before: earlier?.text ?? null, after: row.text });
  }
  for (const [path, row] of old) if (!now.has(path)) rows.push({ path, change: "removed", before: row.text, after: null });
  return rows;
}
