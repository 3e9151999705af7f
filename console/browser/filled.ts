/** A server with a large log, for the budgets: started on an empty store, and filled over HTTP. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, ready, WHENCE } from "./server";

export interface Filled {
  /** The server's root, without a slash at its end. */
  server: string;
  key: string;
  stop: () => Promise<void>;
}

const BATCH = 1_000;
const CONNECTIONS = 4;
const HOUR_MS = 3_600_000;
const FLOW_EVENTS = 8;
const SPAN_MS = 30 * 24 * HOUR_MS;

/** The event in the middle of the chain. */
export const CHAIN_FLOW = "one long chain";

/** A server on a new store, which is removed when it stops; or on that of a folder, which stays and is used again. */
export async function started(kept: string | undefined, settings: Record<string, string> = {}): Promise<Filled> {
  const folder = kept ?? mkdtempSync(join(tmpdir(), "whence-budgets-"));
  mkdirSync(folder, { recursive: true });
  const env = { PATH: process.env.PATH, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder, ...settings };
  const store = `sqlite:///${join(folder, "log.db")}`;
  const scopes = ["events:read", "events:write"].flatMap((scope) => ["--scope", scope]);
  const made = ["key", "create", "--tenant", "default", ...scopes, "--store", store];
  const key = execFileSync(WHENCE, made, { env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  const port = await freePort();
  const server = `http://127.0.0.1:${port}`;
  const child = spawn(WHENCE, ["serve", "--store", store, "--port", String(port)], { env, stdio: "ignore" });
  const stop = async () => {
    const ended = new Promise((end) => child.once("exit", end));
    child.kill("SIGTERM");
    await ended;
    if (kept === undefined) rmSync(folder, { recursive: true, force: true });
  };
  try {
    await ready(server, child);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
  return { server, key, stop };
}

/** Stores events, given by their number, in batches. */
export async function store({ server, key }: Filled, count: number, eventAt: (number: number) => object): Promise<void> {
  let next = 0;
  const send = async () => {
    while (next < count) {
      const first = next;
      next += BATCH;
      const events = Array.from({ length: Math.min(BATCH, count - first) }, (_, index) => eventAt(first + index));
      await post(server, key, events);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, send));
}

/** Whether an event is stored. */
export async function isStored({ server, key }: Filled, id: string): Promise<boolean> {
  return (await fetch(`${server}/api/v1/events/${id}`, { headers: { "X-API-Key": key } })).ok;
}

export async function post(server: string, key: string, events: readonly object[]): Promise<void> {
  const answer = await fetch(`${server}/api/v1/events/batch`, {
    method: "POST",
    headers: { "X-API-Key": key, "Content-Type": "application/json" },
    body: JSON.stringify(events),
  });
  if (!answer.ok) throw new Error(`A batch was refused with ${answer.status}: ${await answer.text()}`);
}

const TYPES = ["action_run.started", "decision.made", "action_run.completed", "chat_thread.replied", "artifact.created"];

/** One of many events of a month that ends now: short flows of several actors, of which one in forty fails. */
export function eventOf(number: number, count: number): object {
  const flow = Math.floor(number / FLOW_EVENTS);
  const at = Date.now() - HOUR_MS - SPAN_MS + Math.floor((number / count) * SPAN_MS);
  return {
    id: idOf("e", number),
    eventType: number % 40 === 7 ? "action_run.failed" : TYPES[number % TYPES.length],
    actorType: number % 3 === 0 ? "automation" : "agent",
    actorId: `actor-${flow % 200}`,
    resourceType: "action_run",
    resourceId: idOf("b", Math.floor(number / 4)),
    occurredAt: new Date(at).toISOString(),
    correlationId: `flow ${flow}`,
    ...(number % FLOW_EVENTS === 0 ? {} : { causationId: idOf("e", number - 1) }),
    payload: { tool: "book_reservation", step: number, note: "what an agent says of what it did" },
  };
}

/** One of the events of a chain, each the cause of the next. */
export function linkOf(number: number, count: number): object {
  const at = Date.now() - HOUR_MS + number * 50;
  return {
    id: idOf("c", number),
    eventType: number % 97 === 50 ? "action_run.failed" : (TYPES[number % TYPES.length] as string),
    actorType: "agent",
    actorId: `actor-${number % 6}`,
    resourceType: "action_run",
    resourceId: idOf("d", Math.floor(number / 4)),
    occurredAt: new Date(Math.min(at, Date.now() - 1000 - (count - number))).toISOString(),
    correlationId: CHAIN_FLOW,
    ...(number === 0 ? {} : { causationId: idOf("c", number - 1) }),
    payload: { tool: "update_reservation", step: number, note: "a link of the chain" },
  };
}

/** The id of the event with this number. */
export function idOf(kind: string, number: number): string {
  return `${kind}0000000-0000-4000-8000-${number.toString(16).padStart(12, "0")}`;
}
