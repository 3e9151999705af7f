/** What of a trace is shown beside an event: why it came, and what it led to. Pure. */
import { micros } from "../explore/periods";

/** An event of a trace with its sentence, as `GET …/trace?include=rows` answers it. */
export interface TraceNode {
  id: string;
  eventType: string;
  actorType: string;
  actorId: string;
  resourceType: string;
  resourceId: string;
  occurredAt: string;
  outcome: "success" | "failure" | "none";
  correlationId: string;
  causationId: string | null;
  position: number | null;
  allEffects: number;
  effects: number;
  failuresBelow: number;
  hops: number;
  cycle: boolean;
  otherFlow: boolean;
  skewed: boolean;
  sinceCauseUs: number | null;
  sinceRootUs: number;
  verb?: string;
  label?: string;
  detail?: string;
  pairedEndId?: string | null;
}

export interface Trace {
  atLeast: boolean;
  eventId: string;
  missing: string[];
  nodes: TraceNode[];
  rootId: string;
  rootKnown: boolean;
  truncated: boolean;
}

export type StoryRow =
  | { kind: "event"; node: TraceNode; sinceUs: number }
  /** So many events that are not shown, and how many of them failed; null if not all of them were read. */
  | { kind: "fold"; count: number; failures: number | null; atLeast: boolean }
  /** A cause that the log does not have, or that this key may not see. */
  | { kind: "missing"; id: string }
  | { kind: "this" };

export interface Because {
  rows: StoryRow[];
  hops: number;
  failures: number | null;
  /** From the root to the event; null if the root is not among the causes that were read. */
  durationUs: number | null;
  atLeast: boolean;
  hasRoot: boolean;
  missingCause: string | null;
}

export interface LedTo {
  rows: StoryRow[];
  count: number;
  failures: number;
  /** From the event to its last effect; null if not all effects were read. */
  durationUs: number | null;
  atLeast: boolean;
  byType: { eventType: string; count: number; failures: number }[];
  /** How many effects `byType` counts. */
  read: number;
}

/** How many of the nearest causes and how many failures stay. */
export interface Room {
  near: number;
  failures: number;
}

/** The causes of an event: the root, the failures that are nearest, the nearest causes, and folds that count the rest. */
export function becauseOf(trace: Trace, room: Room): Because {
  const byId = new Map(trace.nodes.map((node) => [node.id, node]));
  const event = byId.get(trace.eventId);
  const causes = event ? causesOf(event, byId) : [];
  const first = causes[0] ?? event;
  const missingCause = first?.causationId != null && !first.cycle && trace.missing.includes(first.causationId) ? first.causationId : null;
  const unread = first ? Math.max(0, first.hops) : 0;
  const hasRoot = unread === 0 && missingCause === null && trace.rootKnown;
  const failed = causes.filter((node) => node.outcome === "failure");
  const kept = new Set([...(unread === 0 ? causes.slice(0, 1) : []), ...last(failed, room.failures), ...last(causes, room.near)]);
  const rows: StoryRow[] = missingCause === null ? [] : [{ kind: "missing", id: missingCause }];
  if (unread > 0 || !trace.rootKnown) rows.push({ kind: "fold", count: unread, failures: null, atLeast: !trace.rootKnown });
  rows.push(...folded(causes, kept, event), { kind: "this" });
  return {
    rows,
    hops: event?.hops ?? 0,
    failures: unread > 0 ? null : failed.length,
    durationUs: event && first && unread === 0 ? since(first, event) : null,
    atLeast: trace.atLeast || !trace.rootKnown,
    hasRoot,
    missingCause,
  };
}

/** What an event led to: its first effect, failures, its last effect, and folds that count the rest. */
export function ledToOf(trace: Trace, room: Room): LedTo {
  const event = trace.nodes.find((node) => node.id === trace.eventId);
  const effects = event ? effectsOf(event, trace.nodes) : [];
  const failed = effects.filter((node) => node.outcome === "failure");
  const kept = new Set([...effects.slice(0, room.near), ...failed.slice(0, room.failures), ...last(effects, 1)]);
  const rows = folded(effects, kept, event);
  const unread = Math.max(0, (event?.allEffects ?? 0) - effects.length);
  if (unread > 0) rows.push({ kind: "fold", count: unread, failures: null, atLeast: trace.atLeast });
  const types = new Map<string, { eventType: string; count: number; failures: number }>();
  for (const node of effects) {
    const entry = types.get(node.eventType) ?? { eventType: node.eventType, count: 0, failures: 0 };
    entry.count++;
    if (node.outcome === "failure") entry.failures++;
    types.set(node.eventType, entry);
  }
  return {
    rows,
    count: event?.allEffects ?? 0,
    failures: event?.failuresBelow ?? 0,
    durationUs: event && unread === 0 && effects.length > 0 ? Math.max(...effects.map((node) => since(event, node))) : null,
    atLeast: trace.atLeast,
    byType: [...types.values()].sort((one, other) => other.count - one.count || (one.eventType < other.eventType ? -1 : 1)),
    read: effects.length,
  };
}

/** The causes that are among the nodes, the farthest first. A link that closes a cycle is none. */
function causesOf(event: TraceNode, byId: ReadonlyMap<string, TraceNode>): TraceNode[] {
  const causes: TraceNode[] = [];
  const seen = new Set([event.id]);
  let node = event;
  for (;;) {
    const cause: TraceNode | undefined = node.causationId === null || node.cycle ? undefined : byId.get(node.causationId);
    if (cause === undefined || seen.has(cause.id)) return causes.reverse();
    seen.add(cause.id);
    causes.push(cause);
    node = cause;
  }
}

function effectsOf(event: TraceNode, nodes: readonly TraceNode[]): TraceNode[] {
  const known = new Set([event.id]);
  return nodes.filter((node) => {
    const isEffect = node.id !== event.id && !node.cycle && node.causationId !== null && known.has(node.causationId);
    if (isEffect) known.add(node.id);
    return isEffect;
  });
}

function folded(nodes: readonly TraceNode[], kept: ReadonlySet<TraceNode>, event: TraceNode | undefined): StoryRow[] {
  const rows: StoryRow[] = [];
  let run: TraceNode[] = [];
  const fold = () => {
    const [only] = run;
    if (run.length === 1 && only && event) rows.push({ kind: "event", node: only, sinceUs: since(event, only) });
    else if (run.length > 0)
      rows.push({ kind: "fold", count: run.length, failures: run.filter((node) => node.outcome === "failure").length, atLeast: false });
    run = [];
  };
  for (const node of nodes) {
    if (!kept.has(node)) {
      run.push(node);
      continue;
    }
    fold();
    if (event) rows.push({ kind: "event", node, sinceUs: since(event, node) });
  }
  fold();
  return rows;
}

function last<Item>(items: readonly Item[], count: number): Item[] {
  return count > 0 ? items.slice(-count) : [];
}

const since = (one: TraceNode, other: TraceNode) => micros(other.occurredAt) - micros(one.occurredAt);

/** The sentence of a node, from the words that the server gave it. */
export function sentenceOfNode(node: TraceNode) {
  const verb = node.verb ?? node.eventType;
  return {
    actor: node.actorId,
    verb,
    object: node.label ?? "",
    detail: node.detail ?? "",
    isVerb: !verb.startsWith(node.eventType),
    isQuote: false,
    isFailure: node.outcome === "failure",
  };
}
