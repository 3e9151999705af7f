/** The explorer and an event, as a reader uses them: with the keyboard, and with events that mean harm. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { accessible, launch, newPage, quiet, signIn } from "./pages";

const FAILED = "28473f38-76f9-5a41-a59b-4cfe1395e865";
const HOSTILE = {
  eventType: "action_run.failed",
  actorType: "agent",
  actorId: "</script><img src=x onerror=alert(1)>\u202egnp.exe",
  resourceType: "action_run",
  resourceId: "22222222-2222-4222-8222-222222222222",
  correlationId: `"><svg onload=alert(2)>${"f".repeat(220)}`,
  payload: { tool: "<script>alert(3)</script>😀", error: "W".repeat(10_240), bidi: "invoice\u202efdp.exe", ["a".repeat(400)]: 1 },
};

let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await launch();
  page = await newPage(browser);
  await signIn(page);
});

afterAll(() => browser.close());

const open = async (path: string) => {
  await page.goto(inject("server") + path);
  await page.getByRole("grid", { name: "Events" }).getByRole("row").nth(1).waitFor();
};
const address = () => new URL(page.url()).searchParams;
const total = () => page.locator(".hh b").textContent();

test("a failed booking is found with the keyboard alone, and says why", async () => {
  await open("/explore?to=2024-05-16T06:29:00Z");
  await page.keyboard.press("/");
  await page.keyboard.type("type:action_run.fa");
  await page.getByRole("option", { name: /action_run\.failed/ }).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect.poll(total).toBe("73 events");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Space");
  const peek = page.getByRole("complementary", { name: "Event" });
  await peek.getByRole("list", { name: "Causes" }).getByText("This event").waitFor();
  expect(await peek.getByRole("heading", { level: 2 }).textContent()).toMatch(/^\w+ failed$/);
  await page.keyboard.press("Escape");
  await expect.poll(() => address().get("sel")).toBeNull();
  expect(await page.evaluate(() => document.activeElement?.getAttribute("role"))).toBe("row");
});

test("an event says its causes and effects above what was recorded", async () => {
  await page.goto(`${inject("server")}/e/${FAILED}`);
  await page.getByText("47 hops, 2 min 42 s, 1 failed").waitFor();
  await page.getByText("16 events in 22.8 s, 2 failed").waitFor();
  await page.getByRole("button", { name: "Diff with the event before" }).click();
  await page.getByRole("cell", { name: /result/ }).waitFor();
  await page.keyboard.press("[");
  await page.getByRole("heading", { level: 1, name: /gpt-4o called book_reservation/ }).waitFor();
});

test("the histogram zooms by drag and by keyboard, and the address keeps the period", async () => {
  await open("/explore?to=2024-05-16T06:29:00Z");
  const all = await total();
  await page.locator("[data-bar]").nth(4).focus();
  await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Enter");
  await expect.poll(() => address().get("from")).toBe("2024-05-15T20:40:00Z");
  expect(address().get("to")).toBe("2024-05-15T21:00:00Z");
  await expect.poll(total).not.toBe(all);
  await page.goBack();
  await expect.poll(total).toBe(all);
  const plot = (await page.locator(".histo-svg").boundingBox()) ?? { x: 0, y: 0 };
  await page.mouse.move(plot.x + 200, plot.y + 30);
  await page.mouse.down();
  await page.mouse.move(plot.x + 300, plot.y + 30, { steps: 4 });
  await page.mouse.up();
  await expect.poll(() => address().get("from")).not.toBeNull();
});

test("the period before is drawn faintly, and two events are chosen by x and compared by d", async () => {
  await open("/explore?from=2024-05-15T21:00:00Z&to=2024-05-15T23:00:00Z");
  await page.getByRole("button", { name: "Before" }).click();
  await page.locator("path.ghost-line").waitFor();
  await page.getByText(/before, .* (more|fewer)/).first().waitFor();
  expect(address().get("compare")).toBe("1");
  expect(await page.locator("[data-bar]").nth(3).getAttribute("aria-label")).toMatch(/ before/);
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.getByText("One event is chosen.").waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.keyboard.press("d");
  const dialog = page.getByRole("dialog", { name: "Two events compared" });
  await dialog.getByRole("cell", { name: "Position" }).waitFor();
  await accessible(page, "two events compared");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect(address().get("diff")).toBeNull();
});

test("a click on a facet asks for a value, and Alt and a click exclude it", async () => {
  await open("/explore");
  const filters = page.getByRole("complementary", { name: "Filters" });
  await filters.locator(".fa-value", { hasText: "airline-api" }).click();
  await expect.poll(() => address().get("q")).toBe("actor:automation/airline-api");
  await filters.locator(".fa-value", { hasText: "gpt-4o" }).click({ modifiers: ["Alt"] });
  await expect.poll(() => address().get("q")).toBe("actor:automation/airline-api -actor:agent/gpt-4o");
});

test("a misspelt name is said and mended, and the rows stay meanwhile", async () => {
  await open("/explore?q=type:action_run.*");
  await page.keyboard.press("/");
  await page.keyboard.type("outcom:failed");
  await page.keyboard.press("Enter");
  const word = page.getByRole("alert").filter({ hasText: "outcome" });
  await word.waitFor();
  expect(await page.getByRole("row").count()).toBeGreaterThan(5);
  await word.getByRole("button").click();
  await expect.poll(() => address().get("q")).toBe("type:action_run.* outcome:failed");
});

test("what arrives waits under a pill while somebody reads, and hostile text is only ever text", async () => {
  await open("/explore?live=1");
  await page.getByTitle("Following; click to stop").waitFor();
  await page.locator(".row").nth(3).hover();
  const answer = await fetch(`${inject("server")}/api/v1/events`, {
    method: "POST",
    headers: { "X-API-Key": inject("key"), "Content-Type": "application/json" },
    body: JSON.stringify({ ...HOSTILE, occurredAt: new Date().toISOString() }),
  });
  expect(answer.status).toBe(201);
  const { id } = (await answer.json()) as { id: string };
  await page.getByRole("button", { name: /new event/ }).click();
  expect(await page.locator(".row").first().innerText()).toContain("onerror=alert(1)>[U+202E]gnp.exe");
  await page.locator(".row").first().getByText("<script>alert(3)</script>").click();
  await expect.poll(() => address().get("sel")).toBe(id);
  await page.getByText("U+202E").first().waitFor();
  await page.goto(`${inject("server")}/e/${id}`);
  await page.getByText("U+202E").first().waitFor();
  expect(await page.locator("img, svg[onload]").count()).toBe(0);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
  await page.goto(`${inject("server")}/actors/agent/${encodeURIComponent(HOSTILE.actorId)}`);
  await page.locator("section", { hasText: "For the first time" }).getByText("failed <script>alert(3)</script>").waitFor();
  expect(await page.locator("img, svg[onload]").count()).toBe(0);
  quiet(page);
});

test("the sheet of shortcuts lies in its dialog, with one group for what the explorer's parts add", async () => {
  await open("/explore");
  await page.keyboard.press("Shift+?");
  const dialog = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await dialog.waitFor();
  const titles = await dialog.getByRole("heading", { level: 3 }).allTextContents();
  expect(titles).toEqual([...new Set(titles)]);
  const [outer, inner] = [await dialog.boundingBox(), await dialog.locator(".sheet").boundingBox()];
  expect(inner?.x).toBeGreaterThan(outer?.x ?? 0);
  expect(inner?.y).toBeGreaterThan(outer?.y ?? 0);
  await page.keyboard.press("Escape");
});

test("a server that was away is asked again by itself, and what was shown stays meanwhile", async () => {
  await open("/explore");
  await page.route("**/api/v1/events?**", (route) => route.abort());
  await page.locator(".fa-value", { hasText: "airline-api" }).click();
  await page.getByText("The server cannot be reached").waitFor();
  expect(await page.getByRole("row").count()).toBeGreaterThan(5);
  await page.unroute("**/api/v1/events?**");
  await page.getByText("The server cannot be reached").waitFor({ state: "detached" });
  await expect.poll(total, { timeout: 5_000 }).toMatch(/^1,16\d events/);
});

test("an empty log has the key of the sign-in in its command, for once, and the first event brings its counts", async () => {
  const key = inject("freshKey");
  const fresh = await newPage(browser);
  await signIn(fresh, { server: inject("server"), key });
  await fresh.getByText("with your key in it").waitFor();
  expect(await fresh.locator(".fresh pre").textContent()).toContain(`X-API-Key: ${key}`);
  await fresh.reload();
  await fresh.getByText("Send the first event").waitFor();
  expect(await fresh.content()).not.toContain(key);
  const { payload, ...event } = HOSTILE;
  const answer = await fetch(`${inject("server")}/api/v1/events`, {
    method: "POST",
    headers: { "X-API-Key": key, "Content-Type": "application/json" },
    body: JSON.stringify({ ...event, occurredAt: new Date().toISOString() }),
  });
  expect(answer.status, await answer.text()).toBe(201);
  await fresh.getByRole("complementary", { name: "Filters" }).getByText("of 1", { exact: true }).waitFor();
  quiet(fresh);
  await fresh.context().close();
});
