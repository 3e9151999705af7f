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

/** Exchanges an API key for a session cookie. */
export async function signIn(apiKey: string, client: QueryClient): Promise<void> {
  await send("api/v1/session", { method: "POST", headers: { "X-API-Key": apiKey } });
  await client.resetQueries();
}

/** Redeems the single-use code of a sign-in link. */
export async function redeem(code: string, client: QueryClient): Promise<void> {
  await send("api/v1/session/redeem", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  await client.resetQueries();
}

export async function signOut(client: QueryClient): Promise<void> {
  await send("api/v1/session", { method: "DELETE" });
  client.clear();
}

/** Whether the session may do what needs this scope. */
export function allows(session: Session | null | undefined, scope: string): boolean {
  return session?.scopes.includes(scope) ?? false;
}
