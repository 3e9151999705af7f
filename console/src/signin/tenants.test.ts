import { describe, expect, test } from "vitest";
import { listOf, offerOf, restWords } from "./tenants";

const tenants = { anyTenant: true, more: false, names: ["acme", "beta", "beta-acme", "gamma"] };

describe("what a menu of tenants shows", () => {
  test("the names that contain the text, those that begin with it first", () => {
    expect(offerOf(tenants, "ACME ").names).toEqual(["acme", "beta-acme"]);
    expect(offerOf({ ...tenants, names: ["x-acme", "acme"] }, "acme").names).toEqual(["acme", "x-acme"]);
    expect(offerOf(tenants, "").names).toEqual(tenants.names);
  });

  test("another name only where not all are listed, for who may open any tenant, and only one that a tenant can have", () => {
    const some = { ...tenants, more: true };
    expect(offerOf(some, "newcomer").other).toBe("newcomer");
    expect(offerOf(some, "beta").other).toBeNull();
    expect(offerOf(some, "a/b").other).toBeNull();
    expect(offerOf({ ...some, anyTenant: false }, "newcomer").other).toBeNull();
    expect(offerOf(tenants, "newcomer").other).toBeNull();
  });

  test("of many names a hundred, and it counts the rest", () => {
    const names = Array.from({ length: 130 }, (_, number) => `tenant-${number}`);
    expect(offerOf({ ...tenants, names }, "").hidden).toBe(30);
  });

  test("no tenant is denied that is only not listed", () => {
    const words = (all: typeof tenants, typed: string) => restWords(all, offerOf(all, typed));
    expect(words(tenants, "zeta")).toBe("No tenant has this in its name.");
    expect(words(tenants, "acme")).toBe("");
    const some = { ...tenants, more: true };
    expect(offerOf(some, "zeta").other).toBe("zeta");
    expect(words(some, "zeta")).toBe("None of the 4 tenants listed has this in its name. There are more than these 4: type the whole name of another.");
  });
});

test("of an address only the list is kept in another tenant", () => {
  const paths = ["explore", "e/1", "trace/1", "flows/a%2Fb", "r/run/1", "actors/agent/x", "", "login"];
  expect(paths.map(listOf)).toEqual(["explore", "explore", "flows", "flows", "resources", "actors", "explore", "explore"]);
});
