/** Starts a server filled with the recorded airline runs, and tenants newcomer and fresh without events, once for all tests, and
 * tells them its address and keys. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    /** The server's root, without a slash at its end. */
    server: string;
    key: string;
    /** An operator's key, which opens every tenant for reading. */
    operatorKey: string;
    /** A key of the tenant fresh, which may write. */
    freshKey: string;
  }
}

export const WHENCE = process.env.WHENCE_PROGRAM ?? resolve(import.meta.dirname, "../../.venv/bin/whence");
const START_S = 60;

export default async function setup(project: TestProject) {
  const folder = mkdtempSync(join(tmpdir(), "whence-console-"));
  const folders = { HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder, TMPDIR: folder };
  // What is recorded is in the log: of today, while all else is of 2024. In pictures that would be the whole histogram.
  const recorded = process.env.WHENCE_BROWSER_RUN === "pictures" ? {} : { WHENCE_RECORD: "exports" };
  const env = { PATH: process.env.PATH, ...folders, ...recorded, WHENCE_WEBHOOK_ALLOW: "127.0.0.1/32" };
  const whence = (...words: string[]) => execFileSync(WHENCE, words, { env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  const port = await freePort();
  const server = `http://127.0.0.1:${port}`;
  const child = spawn(WHENCE, ["demo", "--port", String(port)], { env, stdio: "ignore" });
  try {
    await ready(server, child);
    project.provide("server", server);
    project.provide("key", whence("profile", "show", "demo", "--key"));
    const demo = readdirSync(folder).find((name) => name.startsWith("whence-demo-")) ?? "";
    const store = `sqlite:///${join(folder, demo, "demo.db")}`;
    project.provide("operatorKey", whence("key", "create", "--operator", "--scope", "events:read", "--store", store));
    whence("key", "create", "--tenant", "newcomer", "--scope", "events:read", "--store", store);
    project.provide("freshKey", whence("key", "create", "--tenant", "fresh", "--scope", "events:read", "--scope", "events:write", "--store", store));
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
  return async () => {
    child.kill("SIGTERM");
    await new Promise((ended) => child.once("exit", ended));
    rmSync(folder, { recursive: true, force: true });
  };
}

/** Waits until a server answers that it is ready. */
export async function ready(server: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < START_S * 10; tries++) {
    if (child.exitCode !== null) throw new Error(`The server ended with ${child.exitCode}.`);
    const answer = await fetch(`${server}/readyz`).catch(() => null);
    if (answer?.ok) return;
    await new Promise((later) => setTimeout(later, 100));
  }
  throw new Error(`The server was not ready within ${START_S} s.`);
}

export function freePort(): Promise<number> {
  return new Promise((found) => {
    const socket = createServer().listen(0, "127.0.0.1", () => {
      const { port } = socket.address() as AddressInfo;
      socket.close(() => found(port));
    });
  });
}
