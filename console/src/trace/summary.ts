/** The sentence above a trace: what happened, because of what, and what came of it. Pure. */
import { absenceOf } from "../common/ids";
import { counted, durationWords, grouped } from "../common/times";
import { at, causesOf, isFailure, isStart, timeOf, type Graph, type Trace, type TraceNode } from "./graph";
import { atLeast, partsOf, shortId, subtreeSpan, withoutMiddle, type Parts, type Totals } from "./words";

/** A piece of the sentence. One with `to` is a link to that node, or to a view of the page. */
export interface Clause {
  text: string;
  to?: { node: string } | { view: "blast" | "failures" };
  /** The type of the actor whose glyph stands before it. */
  actorType?: string;
  strong?: boolean;
  failed?: boolean;
}

/** The causes of the selected event. */
export function causeTotals(graph: Graph, trace: Trace): Totals {
  const causes = causesOf(graph, graph.focus);
  const first = at(graph.nodes, causes[causes.length - 1] ?? graph.focus);
  const us = Math.abs(timeOf(at(graph.nodes, graph.focus)) - timeOf(first));
  const failed = causes.filter((node) => isFailure(at(graph.nodes, node))).length;
  // The hops are exact even if not all causes came with the answer.
  const count = Math.max(causes.length, trace.summary.hops);
  return { count, failed, us, isLowerBound: !trace.rootKnown || trace.missing.length > 0 };
}

/** The effects of the selected event, direct and not. */
export function effectTotals(graph: Graph, trace: Trace): Totals {
  const node = at(graph.nodes, graph.focus);
  return { count: node.allEffects, failed: node.failuresBelow, us: subtreeSpan(graph, graph.focus), isLowerBound: trace.atLeast };
}

/** `absent` says why a cause is not there. */
export function summaryOf(graph: Graph, trace: Trace, absent = "has not arrived"): Clause[] {
  if (graph.nodes.length === 0) return [];
  const clauses = [...subject(graph), ...because(graph), ...wayBack(graph, trace, absent), ...ledTo(graph, trace)];
  return clauses.filter((clause) => clause.text !== "");
}

function subject(graph: Graph): Clause[] {
  const node = at(graph.nodes, graph.focus);
  const parts = shortened(partsOf(node));
  const { detail } = parts;
  if (isFailure(node)) {
    const name = parts.object === "" ? parts.actor : parts.object;
    const clauses: Clause[] = [{ text: name, strong: true }, { text: " " }, { text: "failed", strong: true, failed: true }];
    return [...clauses, { text: ended(detail === "" ? "" : `: ${detail}`) }, { text: " " }];
  }
  const who: Clause[] = [{ text: parts.isVerb ? parts.actor : `${parts.actor}:`, strong: true }, { text: ` ${parts.verb} ` }];
  if (parts.object === "") return [...who, { text: ended(detail) }, { text: " " }];
  return [...who, { text: parts.object, strong: true }, { text: ended(detail === "" ? "" : `: ${detail}`) }, { text: " " }];
}

/** At most two causes: "That is because gpt-4o called it, because noah wrote “Yes.”" */
function because(graph: Graph): Clause[] {
  const causes = causesOf(graph, graph.focus).slice(0, 2);
  if (causes.length === 0) return [];
  const clauses: Clause[] = [{ text: "That is " }];
  let effect = graph.focus;
  let last = "";
  causes.forEach((cause, index) => {
    const node = at(graph.nodes, cause);
    last = causeText(node, at(graph.nodes, effect));
    clauses.push({ text: index === 0 ? "because " : ", because " }, { text: last, to: { node: node.id }, actorType: node.actorType });
    effect = cause;
  });
  return [...clauses, { text: isEnded(last) ? " " : ". " }];
}

const NAME_MAX = 80;
const DETAIL_MAX = 240;

/** Parts that fit a sentence, whatever an event holds. */
function shortened(parts: Parts): Parts {
  const { actor, object, detail } = parts;
  return { ...parts, actor: withoutMiddle(actor, NAME_MAX), object: withoutMiddle(object, NAME_MAX), detail: withoutMiddle(detail, DETAIL_MAX) };
}

function causeText(cause: TraceNode, effect: TraceNode): string {
  const parts = shortened(partsOf(cause));
  const who = parts.isVerb ? parts.actor : `${parts.actor}:`;
  const isSame = cause.resourceType === effect.resourceType && cause.resourceId === effect.resourceId;
  if (isSame && isStart(cause) && !isStart(effect)) return `${who} ${parts.verb} it`;
  const what = parts.object === "" ? firstSentence(parts.detail) : parts.object;
  return [who, parts.verb, what].filter((part) => part !== "").join(" ");
}

const QUOTE_MAX = 120;

/** A quotation cut at its first sentence; other text at a word. */
export function firstSentence(text: string): string {
  const isQuote = text.startsWith("“") && text.endsWith("”");
  const inner = isQuote ? text.slice(1, -1) : text;
  const end = /[.!?](?=\s)/.exec(inner);
  let cut = end === null ? inner : inner.slice(0, end.index + 1);
  if (cut.length > QUOTE_MAX) cut = `${cut.slice(0, QUOTE_MAX).replace(/\s+\S*$/, "")}…`;
  return isQuote ? `“${cut}”` : cut;
}

const isEnded = (text: string): boolean => /[.!?…]”?$/.test(text);
const ended = (text: string): string => (isEnded(text) ? text : `${text}.`);

/** Where it all began, and how far back that is. */
function wayBack(graph: Graph, trace: Trace, absent: string): Clause[] {
  const causes = causesOf(graph, graph.focus);
  const top = at(graph.nodes, causes[causes.length - 1] ?? graph.focus);
  const missing = top.causationId !== null && trace.missing.includes(top.causationId) ? top.causationId : null;
  if (causes.length === 0 && trace.summary.hops === 0) return atTheTop(top, missing, trace, absent);
  const totals = causeTotals(graph, trace);
  const isKnown = missing === null && trace.rootKnown && !top.cycle;
  const distance = `${counted(totals.count, "hop")} and ${durationWords(totals.us)}`;
  const clauses: Clause[] = [
    { text: "The " },
    { text: isKnown ? "root" : top.cycle ? "earliest event of its cycle" : "earliest known cause", to: { node: trace.rootId } },
    { text: ` lies ${atLeast(distance, totals.isLowerBound)} back` },
  ];
  if (missing !== null) clauses.push({ text: "; its own cause " }, { text: shortId(missing), strong: true }, { text: ` ${absenceOf(missing, absent)}` });
  const failing = causes.find((cause) => isFailure(at(graph.nodes, cause)));
  if (failing !== undefined) {
    const words = totals.failed === 1 ? "one cause on the way failed too" : `${grouped(totals.failed)} causes on the way failed too`;
    clauses.push({ text: "; " }, { text: words, to: { node: at(graph.nodes, failing).id } });
  }
  return [...clauses, { text: ". " }];
}

function atTheTop(top: TraceNode, missing: string | null, trace: Trace, absent: string): Clause[] {
  if (missing !== null) return [{ text: "Its cause " }, { text: shortId(missing), strong: true }, { text: ` ${absenceOf(missing, absent)}. ` }];
  if (top.cycle) return [{ text: "It is the earliest event of a cycle: it names an event as its cause that came of it. " }];
  if (!trace.rootKnown || top.causationId !== null) return [{ text: "Its causes are not shown here. " }];
  return [{ text: "Nothing came before it: it is the root. " }];
}

function ledTo(graph: Graph, trace: Trace): Clause[] {
  const { count, failed, us, isLowerBound } = effectTotals(graph, trace);
  if (count === 0) return [{ text: isLowerBound ? "What it led to was not read." : "It has led to nothing so far." }];
  const clauses: Clause[] = [
    { text: "It led to " },
    { text: atLeast(counted(count, "event"), isLowerBound), to: { view: "blast" } },
    { text: ` in ${durationWords(us)}` },
  ];
  if (failed > 0) {
    const words = count === 1 ? "it failed" : failed === count ? "all of them failed" : `${failed === 1 ? "one" : grouped(failed)} of them failed`;
    clauses.push({ text: ", and " }, { text: words, to: { view: "failures" } });
  }
  return [...clauses, { text: "." }];
}

/** The sentence as text. */
export const summaryText = (clauses: readonly Clause[]): string => clauses.map((clause) => clause.text).join("");
