import { expect, test } from "vitest";
import { cursorIn, withQuery } from "./links";

test("the cursor of the next page is read from the Link header", () => {
  expect(cursorIn('</api/v1/flows?limit=25&cursor=ab_-1>; rel="next"')).toBe("ab_-1");
  expect(cursorIn('<x?cursor=no>; rel="prev", <y?cursor=yes>; rel="next"')).toBe("yes");
  expect(cursorIn('<y>; rel="next"')).toBeNull();
  expect(cursorIn(null)).toBeNull();
});

test("a query leaves out what is undefined and escapes the rest", () => {
  expect(withQuery("api/v1/flows", { from: undefined })).toBe("api/v1/flows");
  expect(withQuery("api/v1/flows", { from: "-7d", actor: "a b&c" })).toBe("api/v1/flows?from=-7d&actor=a+b%26c");
});
