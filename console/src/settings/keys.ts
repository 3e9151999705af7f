/** API keys: their scopes, expiry and state. Pure. */

export interface ScopeFields {
  read: "all" | "some" | "none";
  /** Resource types, parted by blanks or commas. */
  types: string;
  write: boolean;
  admin: boolean;
}

export function scopesOf({ read, types, write, admin }: ScopeFields): string[] {
  const reads = read === "all" ? ["events:read"] : read === "some" ? types.split(/[\s,]+/).filter(Boolean).map((type) => `events:read:${type}`) : [];
  return [...new Set([...reads, ...(write ? ["events:write"] : []), ...(admin ? ["admin"] : [])])];
}

export const LIFETIMES = [
  ["", "never"],
  ["7", "in 7 days"],
  ["30", "in 30 days"],
  ["90", "in 90 days"],
  ["365", "in a year"],
] as const;

/** When a key of so many days expires, or null for never. */
export function expiryOf(days: string, now: Date): string | null {
  return days === "" ? null : new Date(now.getTime() + Number(days) * 86_400_000).toISOString();
}

export function keyState({ revokedAt, expiresAt }: { revokedAt: string | null; expiresAt: string | null }, now: Date): "active" | "expired" | "revoked" {
  if (revokedAt !== null) return "revoked";
  return expiresAt !== null && Date.parse(expiresAt) <= now.getTime() ? "expired" : "active";
}
