import { expect, test } from "vitest";
import { expiryOf, keyState, scopesOf } from "./keys";

test("a form becomes scopes, narrowed to resource types where one wants that", () => {
  expect(scopesOf({ read: "all", types: "ignored", write: false, admin: false })).toEqual(["events:read"]);
  expect(scopesOf({ read: "some", types: "decision, action_run decision", write: true, admin: false })).toEqual([
    "events:read:decision",
    "events:read:action_run",
    "events:write",
  ]);
  expect(scopesOf({ read: "none", types: "", write: false, admin: true })).toEqual(["admin"]);
});

test("a key is active until it expires or is revoked", () => {
  const now = new Date("2026-01-02T00:00:00Z");
  expect(keyState({ revokedAt: null, expiresAt: null }, now)).toBe("active");
  expect(keyState({ revokedAt: null, expiresAt: expiryOf("7", now) }, now)).toBe("active");
  expect(keyState({ revokedAt: null, expiresAt: "2026-01-02T00:00:00Z" }, now)).toBe("expired");
  expect(keyState({ revokedAt: "2026-01-01T00:00:00Z", expiresAt: "2026-01-01T00:00:00Z" }, now)).toBe("revoked");
  expect(expiryOf("", now)).toBeNull();
});
