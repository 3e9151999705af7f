import { expect, test } from "vitest";
import { capsOf } from "./caps";

test("keys are shown as they are printed on a keyboard", () => {
  expect(capsOf("$mod+k", true)).toEqual(["⌘", "k"]);
  expect(capsOf("$mod+k", false)).toEqual(["Ctrl", "k"]);
  expect(capsOf("g e", false)).toEqual(["g", "e"]);
  expect(capsOf("Shift+?", false)).toEqual(["?"]);
  expect(capsOf("Shift+ArrowLeft", false)).toEqual(["⇧", "←"]);
  expect(capsOf("Shift+f", false)).toEqual(["⇧", "f"]);
});
