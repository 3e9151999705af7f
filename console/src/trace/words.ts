/** What the rows of a trace say, in words. Pure. */
import { counted, durationWords, grouped } from "../common/times";
import { at, isFailure, isStart, subtree, timeOf, type Graph, type TraceNode } from "./graph";
import type { EventRow, Row } from "./rows";
import { visible } from "../common/visible";

/** A sentence in parts. `verb` is an event type where no verb is known. */
export interface Parts {
  actorType: string;
  actor: string;
  verb: string;
  isVerb: boolean;
  object: string;
  detail: string;
}

/** The sentence of a node, from the parts that came with it. */
export function partsOf(node: TraceNode): Parts {
  const verb = node.verb ?? node.eventType;
  return {
    actorType: node.actorType,
    actor: visible(node.actorId),
    verb,
    isVerb: verb !== node.eventType && verb !== `${node.eventType} failed`,
    object: visible(node.label ?? ""),
    detail: visible(node.detail ?? ""),
  };
}

/** A sentence as text: "gpt-4o called think". */
export function sentenceText(parts: Parts): string {
  return [parts.isVerb ? parts.actor : `${parts.actor}:`, parts.verb, parts.object, parts.detail].filter((part) => part !== "").join(" ");
}

/** How long a result may be to be shown after its arguments. */
const RESULT_MAX = 40;

export interface RowWords extends Parts {
  /** The word of a pair's end, where it failed. */
  failed: string;
}

/** What a row of one or two events says. A pair has the actor and verb of its start; a failure says why. */
export function rowWords(row: EventRow, graph: Graph): RowWords {
  const start = partsOf(at(graph.nodes, row.node));
  if (row.end === null) return { ...start, failed: "" };
  const endNode = at(graph.nodes, row.end);
  const end = partsOf(endNode);
  if (isFailure(endNode)) return { ...start, failed: "failed", detail: end.detail };
  const result = end.detail.length <= RESULT_MAX ? end.detail : "";
  return { ...start, failed: "", detail: [start.detail, result].filter((part) => part !== "").join(" → ") };
}

/** How long a row took, in microseconds; null for an instant. The end of a start that lies above counts from there. */
export function tookUs(row: EventRow, graph: Graph): number | null {
  const first = timeOf(at(graph.nodes, row.node));
  if (row.repeats > 1) {
    const last = timeOf(at(graph.nodes, at(row.nodes, row.nodes.length - 1)));
    return last > first ? last - first : null;
  }
  if (row.end !== null) return timeOf(at(graph.nodes, row.end)) - first;
  const start = at(graph.starts, row.node);
  return start < 0 ? null : first - timeOf(at(graph.nodes, start));
}

/** The width of a bar: 40 px at 700 ms, from 3 to 56 px. */
export function barWidth(us: number): number {
  return Math.round(Math.min(56, Math.max(3, (40 * us) / 700_000)) * 10) / 10;
}

/** The bars of a row. Up to three repeats have one each, which together are no wider than one may be. */
export function barsOf(row: EventRow, graph: Graph): number[] {
  const took = tookUs(row, graph);
  if (took === null || took < 0) return [];
  if (row.repeats === 1) return [barWidth(took)];
  if (row.end === null || row.repeats > 3) return row.end === null ? [] : [barWidth(took)];
  const widths: number[] = [];
  for (let index = 1; index < row.nodes.length; index += 2) {
    widths.push(barWidth(timeOf(at(graph.nodes, at(row.nodes, index))) - timeOf(at(graph.nodes, at(row.nodes, index - 1)))));
  }
  const room = 56 - 2 * (widths.length - 1);
  const sum = widths.reduce((total, width) => total + width, 0);
  return sum <= room ? widths : widths.map((width) => Math.round(((width * room) / sum) * 10) / 10);
}

/** How often repeats came, and over how long: "every 5 min, 2 d 19 h". */
export function rhythm(row: EventRow, graph: Graph): string {
  const took = tookUs(row, graph);
  if (row.repeats < 3 || took === null || row.end !== null) return "";
  return `every ${durationWords(took / (row.repeats - 1))}, ${durationWords(took)}`;
}

const MESSAGES = new Set(["inbound_message", "chat_thread"]);
const KINDS_SHOWN = 3;

/** What a fold holds: "17 messages · 8 calls · 1 failed". The end of a start that it holds too is not counted twice. */
export function foldWords(nodes: readonly number[], graph: Graph): string {
  const inside = new Set(nodes);
  const counts = new Map<string, number>();
  let failed = 0;
  for (const index of nodes) {
    const node = at(graph.nodes, index);
    if (isFailure(node)) failed++;
    if (inside.has(at(graph.starts, index))) continue;
    const kind = kindOf(node);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const kinds = [...counts].sort((one, other) => other[1] - one[1]);
  const words = kinds.slice(0, KINDS_SHOWN).map(([kind, count]) => counted(count, kind));
  const rest = kinds.slice(KINDS_SHOWN).reduce((sum, [, count]) => sum + count, 0);
  if (rest > 0) words.push(`${grouped(rest)} more`);
  if (failed > 0) words.push(`${grouped(failed)} failed`);
  return words.join(" · ");
}

function kindOf(node: TraceNode): string {
  if (MESSAGES.has(node.resourceType)) return "message";
  if (node.resourceType === "action_run" && isStart(node)) return "call";
  const thing = node.resourceType.replaceAll("_", " ");
  return isStart(node) ? thing : `${thing} event`;
}

/** How many of the nodes there are by outcome: "12 succeeded". */
export function outcomeWords(nodes: readonly number[], graph: Graph): string {
  const succeeded = nodes.filter((node) => at(graph.nodes, node).outcome === "success").length;
  const words = succeeded > 0 ? [`${grouped(succeeded)} succeeded`] : [];
  const failed = nodes.filter((node) => isFailure(at(graph.nodes, node))).length;
  if (failed > 0) words.push(`${grouped(failed)} failed`);
  return words.join(" · ");
}

/** The time from the first to the last of some nodes. */
export function spanUs(nodes: readonly number[], graph: Graph): number {
  let first = Infinity;
  let last = -Infinity;
  for (const index of nodes) {
    const time = timeOf(at(graph.nodes, index));
    first = Math.min(first, time);
    last = Math.max(last, time);
  }
  return last >= first ? last - first : 0;
}

/** The time from a node to the last of its effects that is there. */
export function subtreeSpan(graph: Graph, top: number): number {
  const start = timeOf(at(graph.nodes, top));
  let last = start;
  for (const node of subtree(graph, top)) last = Math.max(last, timeOf(at(graph.nodes, node)));
  return last - start;
}

/** A count that may be larger. */
export const atLeast = (text: string, isLowerBound: boolean): string => (isLowerBound ? `at least ${text}` : text);

/** What came before the selected event, or after it: "47 causes in 2 min 42 s, 1 failed". */
export interface Totals {
  count: number;
  failed: number;
  us: number;
  isLowerBound: boolean;
}

export function totalWords(totals: Totals, noun: string): string {
  const { count, failed, us, isLowerBound } = totals;
  const words = atLeast(counted(count, noun), isLowerBound) + (us > 0 ? ` in ${durationWords(us)}` : "");
  return failed > 0 ? `${words}, ${grouped(failed)} failed` : words;
}

/** A text without its middle if it is longer than so many characters: the end often tells two apart. */
export function withoutMiddle(text: string, most: number): string {
  if (text.length <= most) return text;
  const characters = [...text];
  if (characters.length <= most) return text;
  const half = (most - 1) >> 1;
  return `${characters.slice(0, half).join("")}…${characters.slice(-half).join("")}`;
}

/** The first characters of an id, by which people know it. */
export const shortId = (id: string): string => id.slice(0, 8);

/** The plain text of a row, for names that screen readers say. */
export function rowText(row: Row, graph: Graph): string {
  if (row.kind !== "event") return "";
  const words = rowWords(row, graph);
  const times = row.repeats > 1 ? `, ${row.repeats} times` : "";
  return sentenceText({ ...words, detail: [words.failed, words.detail].filter((part) => part !== "").join(" ") }) + times;
}
