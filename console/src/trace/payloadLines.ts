/** A payload as the lines of a tree. Pure and iterative; text stays text. */

export interface PayloadLine {
  key: string;
  depth: number;
  text: string;
  kind: "text" | "number" | "count";
}

/** Lines that are shown at most; a payload of 256 KiB has many more. */
export const LINES_MAX = 400;
const TEXT_MAX = 4_000;

/** The lines of a payload, and how many were left out. */
export function payloadLines(payload: unknown, most = LINES_MAX): { lines: PayloadLine[]; left: number } {
  const lines: PayloadLine[] = [];
  let left = 0;
  const stack: { key: string; value: unknown; depth: number }[] = entriesOf(payload, 0).reverse();
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    const inner = entriesOf(item.value, item.depth + 1);
    if (lines.length < most) lines.push({ key: item.key, depth: item.depth, ...said(item.value, inner.length) });
    else left++;
    for (let index = inner.length - 1; index >= 0; index--) stack.push(inner[index] as (typeof stack)[number]);
  }
  return { lines, left };
}

function entriesOf(value: unknown, depth: number): { key: string; value: unknown; depth: number }[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).map(([key, inner]) => ({ key, value: inner as unknown, depth }));
}

function said(value: unknown, size: number): Pick<PayloadLine, "text" | "kind"> {
  if (Array.isArray(value)) return { text: size === 1 ? "1 item" : `${size} items`, kind: "count" };
  if (typeof value === "object" && value !== null) return { text: size === 1 ? "1 key" : `${size} keys`, kind: "count" };
  if (typeof value === "string") return { text: value.length > TEXT_MAX ? `${value.slice(0, TEXT_MAX)}…` : value, kind: "text" };
  return { text: value === null ? "null" : String(value), kind: "number" };
}
