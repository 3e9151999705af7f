/** Traces made for tests: a few words a node, from which the rest follows as the server would answer it. */
import type { Trace, TraceNode } from "./graph";

export interface Made {
  /** The number of its cause in the list; absent for the root. */
  cause?: number;
  /** Seconds since the root. */
  at?: number;
  type?: string;
  actor?: string;
  actorType?: string;
  label?: string;
  detail?: string;
  verb?: string;
  outcome?: "success" | "failure" | "none";
  resource?: string;
  resourceType?: string;
  flow?: string;
  /** Effects that the answer left out. */
  absent?: number;
  /** A cause that is not in the list. */
  causationId?: string;
  cycle?: boolean;
}

export const idOf = (number: number): string => `${String(number).padStart(8, "0")}-0000-4000-8000-000000000000`;

interface Counts {
  children: readonly (readonly number[])[];
  allEffects: readonly number[];
  failuresBelow: readonly number[];
  hops: readonly number[];
}

function madeNode(made: readonly Made[], index: number, counts: Counts): TraceNode {
  const one = made[index] as Made;
  const type = one.type ?? "record.updated";
  const cause = one.cause === undefined ? undefined : made[one.cause];
  const us = Math.round((one.at ?? index) * 1_000_000);
  const since = cause === undefined ? null : us - Math.round((cause.at ?? one.cause ?? 0) * 1_000_000);
  const only = counts.children[index]?.length === 1 && !one.absent ? counts.children[index]?.[0] : undefined;
  const end = only === undefined ? undefined : made[only];
  const isPair =
    type.endsWith(".started") &&
    end?.type?.startsWith(type.replace(/started$/, "")) &&
    !end.type.endsWith(".started") &&
    (end.resource ?? only) === (one.resource ?? index);
  return {
    id: idOf(index),
    actorId: one.actor ?? "planner",
    actorType: one.actorType ?? "agent",
    allEffects: counts.allEffects[index] ?? 0,
    causationId: one.causationId ?? (one.cause === undefined ? null : idOf(one.cause)),
    correlationId: one.flow ?? "flow-1",
    cycle: one.cycle ?? false,
    effects: (counts.children[index]?.length ?? 0) + (one.absent ? 1 : 0),
    eventType: type,
    failuresBelow: counts.failuresBelow[index] ?? 0,
    hops: counts.hops[index] ?? 0,
    occurredAt: new Date(Date.UTC(2026, 0, 2, 3, 4, 5) + us / 1000).toISOString(),
    otherFlow: cause !== undefined && (one.flow ?? "flow-1") !== (cause.flow ?? "flow-1"),
    outcome: one.outcome ?? "none",
    position: index + 1,
    resourceId: one.resource ?? String(index),
    resourceType: one.resourceType ?? "action_run",
    sinceCauseUs: since,
    sinceRootUs: us,
    skewed: since !== null && since < 0,
    label: one.label ?? "",
    detail: one.detail ?? "",
    verb: one.verb ?? type.slice(type.lastIndexOf(".") + 1),
    pairedEndId: isPair && only !== undefined ? idOf(only) : null,
  };
}

/** A trace of these nodes, each listed after its cause. */
export function madeTrace(made: readonly Made[], focus = 0, more: Partial<Trace> = {}): Trace {
  const children = made.map(() => [] as number[]);
  made.forEach(({ cause }, index) => {
    if (cause !== undefined) children[cause]?.push(index);
  });
  const allEffects = made.map((one) => one.absent ?? 0);
  const failuresBelow = made.map(() => 0);
  const hops = made.map(() => 0);
  made.forEach(({ cause }, index) => {
    hops[index] = cause === undefined ? 0 : (hops[cause] ?? 0) + 1;
  });
  for (let index = made.length - 1; index >= 0; index--) {
    const cause = made[index]?.cause;
    if (cause === undefined) continue;
    allEffects[cause] = (allEffects[cause] ?? 0) + (allEffects[index] ?? 0) + 1;
    failuresBelow[cause] = (failuresBelow[cause] ?? 0) + (failuresBelow[index] ?? 0) + (made[index]?.outcome === "failure" ? 1 : 0);
  }
  const counts = { children, allEffects, failuresBelow, hops };
  const nodes = made.map((_, index) => madeNode(made, index, counts));
  return {
    atLeast: false,
    eventId: idOf(focus),
    missing: [],
    nodes,
    rootId: idOf(0),
    rootKnown: true,
    summary: {
      actors: 1,
      durationUs: 0,
      events: (allEffects[0] ?? 0) + 1,
      failures: 0,
      hops: hops[focus] ?? 0,
      resources: 1,
    },
    truncated: false,
    ...more,
  };
}

const message = (at: number, actor: "ana" | "gpt-4o"): Made =>
  actor === "ana"
    ? { at, type: "inbound_message.received", actor, actorType: "user", resourceType: "inbound_message", verb: "wrote", detail: "“Yes, I'm fine with that. Please go on.”" }
    : { at, type: "chat_thread.message_sent", actor, resourceType: "chat_thread", outcome: "success", verb: "replied", detail: "“It seems so.”" };

const call = (at: number, label: string, resource = String(at)): Made =>
  ({ at, type: "action_run.started", actor: "gpt-4o", resource, verb: "called", label, detail: "SFO" });

const end = (at: number, label: string, outcome: "success" | "failure", resource: string): Made =>
  ({ at, type: outcome === "failure" ? "action_run.failed" : "action_run.completed", actor: "airline-api", actorType: "automation", resource, outcome, verb: outcome === "failure" ? "failed" : "completed", label, detail: outcome === "failure" ? "payment amount does not add up" : "" });

const called = (at: number, label: string, outcome: "success" | "failure" = "success"): Made[] =>
  [call(at, label), end(at + 0.35, label, outcome, String(at))];

/** The shape of a recorded flow: 64 events in one chain, of which number 47, a failed booking, is selected. */
export function airlineTrace(focus = 47): Trace {
  const chain: Made[] = [
    { at: 0, type: "automation_run.started", actor: "airline-desk", actorType: "system", resource: "run", resourceType: "automation_run", verb: "started", label: "automation run 7a105196" },
    message(7.72, "ana"), message(11.653, "gpt-4o"), message(27.053, "ana"), message(29.069, "gpt-4o"), message(36.348, "ana"),
    ...called(37.748, "get_user"), ...called(39.498, "search"), message(42.425, "gpt-4o"), message(51.025, "ana"), message(53.686, "gpt-4o"), message(61.646, "ana"),
    ...called(63.046, "get_flight"), message(65.412, "gpt-4o"), message(73.732, "ana"), message(75.776, "gpt-4o"), message(91.096, "ana"),
    ...called(92.496, "get_seats"), ...called(94.246, "search"), message(96.74, "gpt-4o"), message(104.779, "ana"),
    ...called(106.179, "get_user"), ...called(107.929, "calculate"), message(115.517, "gpt-4o"), message(121.717, "ana"), ...called(123.117, "think"),
    message(129.072, "gpt-4o"), message(135.112, "ana"), message(139.534, "gpt-4o"), message(146.054, "ana"),
    ...called(147.454, "book", "failure"), ...called(149.204, "think"), ...called(150.954, "calculate"), message(153.481, "gpt-4o"), message(160.041, "ana"),
    ...called(161.441, "book", "failure"), ...called(163.191, "think"), ...called(164.941, "calculate"),
    call(166.691, "book", "late"), message(168.663, "gpt-4o"), end(169.013, "book", "failure", "late"),
    ...called(170.413, "think"), ...called(172.163, "calculate"), ...called(173.913, "calculate"), message(176.524, "gpt-4o"), message(184.364, "ana"),
    { at: 184.564, type: "automation_run.failed", actor: "airline-desk", actorType: "system", resource: "run", resourceType: "automation_run", outcome: "failure", verb: "failed", label: "automation run 7a105196", detail: "reward 0.0" },
  ];
  return madeTrace(chain.map((one, index) => (index === 0 ? one : { ...one, cause: index - 1 })), focus);
}
