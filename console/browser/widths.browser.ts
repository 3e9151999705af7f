/** Between a desktop and a phone: nothing scrolls sideways, nothing lies on anything else, and sentences stay readable. */
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { launch, newPage, quiet, settled, share, signIn } from "./pages";

const FAILED = "28473f38-76f9-5a41-a59b-4cfe1395e865";
const QUERY = encodeURIComponent("type:action_run.* -payload.tool:think -payload.tool:calculate");
const PLACES = [`/explore?q=${QUERY}&sel=${FAILED}`, `/e/${FAILED}`, `/trace/${FAILED}`, `/trace/${FAILED}?view=lanes`];

let browser: Browser;
let signedIn: BrowserContext;

beforeAll(async () => {
  browser = await launch();
  const page = await newPage(browser);
  await signIn(page);
  signedIn = page.context();
  // The row below an event of today begins a day and a flow.
  const event = { eventType: "artifact.created", actorType: "user", actorId: "u-17", resourceType: "artifact", resourceId: crypto.randomUUID() };
  const headers = { "X-API-Key": inject("key"), "Content-Type": "application/json" };
  const body = JSON.stringify({ ...event, occurredAt: new Date().toISOString() });
  expect((await fetch(`${inject("server")}/api/v1/events`, { method: "POST", headers, body })).status).toBe(201);
});

afterAll(() => browser.close());

/** The edges of elements, from the left or the top. */
const edges = (all: Locator, side: "x" | "y"): Promise<[number, number][]> =>
  all.evaluateAll(
    (found, by) => found.map((one) => one.getBoundingClientRect()).map((box) => (by === "x" ? [box.left, box.right] : [box.top, box.bottom])),
    side,
  ) as Promise<[number, number][]>;

/** No two lie on each other. */
function apart(places: readonly [number, number][]): void {
  const sorted = [...places].sort(([one], [other]) => one - other);
  for (const [index, [start]] of sorted.entries()) expect(start).toBeGreaterThanOrEqual((sorted[index - 1]?.[1] ?? start) - 0.5);
}

describe.each([720, 1100])("at %d px", (width) => {
  let page: Page;
  beforeAll(async () => {
    page = await newPage(browser);
    await page.setViewportSize({ width, height: 900 });
    await share(signedIn, page.context());
  });
  afterAll(() => page.context().close());

  test.runIf(width === 720)("no screen scrolls sideways", async () => {
    for (const place of PLACES) {
      await page.goto(inject("server") + place);
      await settled(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), place).toBeLessThanOrEqual(0);
    }
    quiet(page);
  });

  test("terms, rows and their days lie beside each other", async () => {
    await page.goto(`${inject("server")}/explore?q=${QUERY}`);
    await settled(page);
    apart(await edges(page.locator(".query .chip, .query .chip *:not(em)").filter({ hasNot: page.locator("*") }), "x"));
    await page.goto(`${inject("server")}/explore`);
    await settled(page);
    await page.locator(".day.new-flow").first().waitFor();
    apart(await edges(page.locator(".row-place"), "y"));
  });

  test("a failure is said whole, or up to where its end is cut", async () => {
    await page.goto(`${inject("server")}/trace/${FAILED}`);
    await page.locator(".tr .det.tail").first().waitFor({ state: "attached" });
    for (const [end, start] of await page.locator(".tr .cut:has(+ .tail)").evaluateAll((heads) =>
      heads.map((head) => {
        const text = document.createRange();
        text.selectNodeContents(head);
        const shown = Math.min(text.getBoundingClientRect().right, head.getBoundingClientRect().right);
        return [shown, (head.nextElementSibling as Element).getBoundingClientRect().left] as const;
      }),
    ))
      expect(start - end).toBeLessThan(12);
    await page.getByRole("link", { name: "Lanes" }).click();
    await page.getByRole("group", { name: "Lanes by" }).waitFor();
    expect(await page.getByRole("group", { name: "View" }).locator("[aria-current]").allTextContents()).toEqual(["Lanes"]);
  });
});
