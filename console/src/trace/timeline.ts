/** A trace as an incident timeline to paste elsewhere: Markdown, or a Mermaid flowchart. Pure; texts are escaped. */
import { clockTime, counted, durationWords, sinceRoot } from "../common/times";
import { at, isFailure, timeOf, type Graph, type Trace } from "./graph";
import { joinedTo } from "./guides";
import type { Row } from "./rows";
import { summaryOf, summaryText } from "./summary";
import { foldWords, rowText, shortId, tookUs } from "./words";

/** Text that Markdown shows as it is, on one line. */
export function escapedMarkdown(text: string): string {
  const line = text.replace(/\s+/g, " ").replace(/[\\`*_{}[\]|~]/g, "\\$&");
  return line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Text inside the quotation marks of a Mermaid label. */
export function escapedMermaid(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[#"`<>&\\[\]{}()|;%]/g, (character) => `#${character.charCodeAt(0)};`);
}

const TEXT_MAX = 160;

function cut(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX - 1).trimEnd()}…`;
}

/** The rows that a timeline has: what happened, and what was folded or is missing. */
function lineOf(row: Row, graph: Graph): string | null {
  switch (row.kind) {
    case "event":
      return cut(rowText(row, graph));
    case "fold":
      return row.open ? null : `${counted(row.nodes.length, "event")}: ${foldWords(row.nodes, graph)}`;
    case "portal":
      return `flow ${at(graph.nodes, row.node).correlationId}${row.open ? "" : `: ${counted(row.nodes.length, "event")}`}`;
    case "absent":
      return `${counted(row.count, "effect")} not loaded`;
    case "ghost":
      return `The cause ${shortId(at(graph.nodes, row.node).causationId ?? "")} is not here`;
    case "cycle":
      return `A cycle is cut here: the next event names ${shortId(at(graph.nodes, row.node).causationId ?? "")} as its cause, which came of it`;
    case "causesAbsent":
      return "Earlier causes are not loaded";
    case "atLeast":
      return "The trace was cut short, so every count is a lower bound";
    case "gap":
      return `${durationWords(row.us)} later`;
    default:
      return null;
  }
}

const MARKS = { failure: "✗", success: "✓", none: "·" } as const;

/** The rows as a Markdown list under the sentence. */
export function markdownTimeline(rows: readonly Row[], graph: Graph, trace: Trace, link: string, absent?: string): string {
  const lines = [`**${escapedMarkdown(summaryText(summaryOf(graph, trace, absent)).trim())}**`, ""];
  for (const row of rows) {
    const text = lineOf(row, graph);
    if (text === null) continue;
    if (row.kind !== "event") {
      lines.push(`- *${escapedMarkdown(text)}*`);
      continue;
    }
    const node = at(graph.nodes, row.node);
    const failed = row.nodes.some((index) => isFailure(at(graph.nodes, index)));
    const last = at(graph.nodes, row.end ?? row.node).outcome;
    const mark = failed ? MARKS.failure : last === "success" ? MARKS.success : MARKS.none;
    const { time, milliseconds } = clockTime(node.occurredAt, "utc");
    const took = tookUs(row, graph);
    const suffix = took === null || took < 0 ? "" : ` (${durationWords(took)})`;
    const body = `${escapedMarkdown(text)}${suffix}`;
    const isFocus = row.nodes.includes(graph.focus);
    lines.push(`- \`${sinceRoot(timeOf(node))}\` ${time}${milliseconds} ${mark} ${isFocus ? `**${body}**` : body}`);
  }
  const first = at(graph.nodes, at(graph.tops, 0));
  const { date } = clockTime(first.occurredAt, "utc");
  return [...lines, "", `Times are UTC, from ${date}. Flow ${escapedMarkdown(first.correlationId)}, <${link}>`, ""].join("\n");
}

/** The rows as a Mermaid flowchart, from cause to effect. */
export function mermaidTimeline(rows: readonly Row[], graph: Graph): string {
  const joined = joinedTo(rows, graph);
  const lines = ["flowchart TD"];
  const failed: string[] = [];
  const shown = rows.map((row) => lineOf(row, graph) !== null && row.kind !== "gap");
  rows.forEach((row, index) => {
    if (!shown[index]) return;
    const text = lineOf(row, graph) ?? "";
    const time = row.kind === "event" ? `${sinceRoot(timeOf(at(graph.nodes, row.node)))} ` : "";
    lines.push(`  r${index}["${escapedMermaid(time + text)}"]`);
    if (row.kind === "event" && row.nodes.some((node) => isFailure(at(graph.nodes, node)))) failed.push(`r${index}`);
    for (const source of sourcesOf(index, joined, rows)) lines.push(`  r${source} --> r${index}`);
  });
  if (failed.length > 0) lines.push("  classDef failed stroke:#c4291f,stroke-width:2px", `  class ${failed.join(",")} failed`);
  return `${lines.join("\n")}\n`;
}

/** The rows that lead to one, past breaks in time. */
function sourcesOf(index: number, joined: readonly number[][], rows: readonly Row[]): number[] {
  return at(joined, index).flatMap((source) => (at(rows, source).kind === "gap" ? sourcesOf(source, joined, rows) : [source]));
}
