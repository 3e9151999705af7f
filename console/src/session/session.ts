import { useQuery, type QueryClient } from "@tanstack/react-query";
import { ApiError, getJson, send } from "../api/client";

/** Who is signed in. */
export interface Session {
  tenantId: string;
  scopes: string[];
  expiresAt: string | null;
  carrier: "cookie" | "header";
  keyName: string | null;
}

export const SESSION_KEY = ["session"] as const;

/** The session of this browser, or null for nobody. */
export async function readSession(): Promise<Session | null> {
  try {
    return await getJson<Session>("api/v1/session");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

export function useSession(): Session | null | undefined {
  return useQuery({ queryKey: SESSION_KEY, queryFn: readSession, staleTime: 60_000 }).data;
}

/** How long the page knows the key that somebody has just signed in with. */
const KNOWN_MS = 60_000;

let known: string | null = null;

/** Exchanges an API key for a session cookie. */
export async function signIn(apiKey: string): Promise<void> {
  await send("api/v1/session", { method: "POST", headers: { "X-API-Key": apiKey } });
  known = apiKey;
  setTimeout(() => (known = null), KNOWN_MS);
}

/** The key of a sign-in a moment ago, for an empty log to show; null after that. It is in the memory of this page alone. */
export const keyJustUsed = (): string | null => known;

/** Redeems the single-use code of a sign-in link. */
export async function redeem(code: string): Promise<void> {
  known = null;
  await send("api/v1/session/redeem", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
}

/** The tenants that one may open, by name; with `anyTenant` all that there are. `more`: not all are listed. */
export interface Tenants {
  anyTenant: boolean;
  names: string[];
  more: boolean;
}

/** What this browser's session may open, or the API key. */
export async function readTenants(apiKey?: string): Promise<Tenants> {
  const response = await send("api/v1/session/tenants?limit=1000", apiKey ? { headers: { "X-API-Key": apiKey } } : {});
  const { anyTenant, tenants } = (await response.json()) as { anyTenant: boolean; tenants: { tenantId: string }[] };
  return { anyTenant, names: tenants.map(({ tenantId }) => tenantId), more: response.headers.has("Link") };
}

/** Begins a session in a tenant; the session that there was ends. */
export async function openTenant(tenantId: string, apiKey?: string): Promise<void> {
  known = null;
  await send("api/v1/session/tenant", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(apiKey ? { "X-API-Key": apiKey } : {}) },
    body: JSON.stringify({ tenantId }),
  });
}

export async function signOut(client: QueryClient): Promise<void> {
  known = null;
  await send("api/v1/session", { method: "DELETE" });
  client.clear();
}

/** Whether the session may do what needs this scope. */
export function allows(session: Session | null | undefined, scope: string): boolean {
  return session?.scopes.includes(scope) ?? false;
}
