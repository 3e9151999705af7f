/** What a reader does, from signing in to signing out, in a real Chromium against a real server. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { launch, newPage, quiet, settled, signIn } from "./pages";

let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await launch();
  page = await newPage(browser);
});

afterAll(async () => browser.close());

const rows = () => page.getByRole("grid", { name: "Events" }).getByRole("row");
const total = async () => Number((await page.getByLabel("Events over time").locator("b").first().innerText()).replace(/\D/g, ""));

test("a wrong key is refused in words, and the right one signs in", async () => {
  await page.goto(`${inject("server")}/login`);
  await page.getByLabel("API key").fill("whk_nothing");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("alert").waitFor();
  await signIn(page);
  expect(await page.context().cookies()).toMatchObject([{ name: "vai_token", httpOnly: true, sameSite: "Strict" }]);
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).not.toContain("whk_");
});

test("the failed bookings are found, and one says why", async () => {
  await page.keyboard.press("/");
  await page.keyboard.type("outcome:failed type:action_run.*");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=/);
  await settled(page);
  expect(await total()).toBe(73);
  const booking = rows().filter({ hasText: "book_reservation" }).filter({ hasText: "1047" });
  await booking.first().click();
  const peek = page.getByRole("complementary", { name: "Event" });
  await peek.getByText("Because").waitFor();
  expect(await peek.innerText()).toContain("payment amount does not add up");
  await page.keyboard.press("w");
  await page.waitForURL(/\/trace\//);
  await page.getByRole("treegrid").waitFor();
  expect(await page.locator(".lead").innerText()).toMatch(/book_reservation failed: .* That is because .*gpt-4o called it/s);
});

test("a resource is followed from an event", async () => {
  await page.goBack();
  await settled(page);
  await page.keyboard.press("r");
  await page.waitForURL(/\/r\/action_run\//);
  await settled(page);
  expect(await page.getByRole("main").innerText()).toContain("action_run");
});

test("the histogram is zoomed by its keys and by dragging", async () => {
  await page.goto(`${inject("server")}/explore`);
  await settled(page);
  expect(await total()).toBe(5_598);
  const bars = page.getByRole("group", { name: /Bars of events/ });
  await bars.locator("[data-bar][tabindex='0']").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Enter");
  await page.waitForURL(/from=/);
  await settled(page);
  const zoomed = await total();
  expect(zoomed).toBeGreaterThan(0);
  expect(zoomed).toBeLessThan(5_598);
  await page.goBack();
  await settled(page);
  const box = await bars.boundingBox();
  if (box === null) throw new Error("The histogram is not shown.");
  await page.mouse.move(box.x + box.width * 0.4, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 20, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/from=/);
});

test("what comes live waits under a pill", async () => {
  await page.goto(`${inject("server")}/explore?live=1`);
  await page.getByRole("button", { name: /Live/ }).waitFor();
  const stored = rows().nth(1);
  await stored.waitFor();
  await page.waitForTimeout(1_000); // the stream is open
  await fetch(`${inject("server")}/api/v1/events`, {
    method: "POST",
    headers: { "X-API-Key": inject("key"), "Content-Type": "application/json" },
    body: JSON.stringify({
      eventType: "decision.approved",
      actorType: "user",
      actorId: "ana-of-the-tour",
      resourceType: "decision",
      resourceId: "497f6eca-6276-4993-bfeb-53cbbbba6f08",
      occurredAt: new Date().toISOString(),
      payload: { title: "<script>document.title = 'owned'</script>" },
    }),
  });
  const pill = page.getByRole("button", { name: /1 new event/ });
  const arrived = rows().filter({ hasText: "ana-of-the-tour" });
  await pill.or(arrived).first().waitFor({ timeout: 15_000 });
  if (await pill.isVisible()) await pill.click();
  await arrived.waitFor();
  expect(await arrived.innerText()).toContain("<script>");
  expect(await page.title()).not.toBe("owned");
});

test("a view is saved, and opened again", async () => {
  await page.goto(`${inject("server")}/explore?q=${encodeURIComponent("outcome:failure")}`);
  await settled(page);
  await page.getByRole("button", { name: /More/ }).click();
  await page.getByRole("menuitem", { name: "Save this view…" }).click();
  await page.getByLabel("Name").fill("What failed");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.goto(`${inject("server")}/explore`);
  await settled(page);
  await page.getByRole("button", { name: /More/ }).click();
  await page.getByRole("menuitem", { name: "Saved views…" }).click();
  await page.getByRole("dialog").getByText("What failed").click();
  await page.waitForURL(/outcome/);
});

test("a reader signs out, and is asked to sign in again", async () => {
  await page.getByRole("button", { name: /Tenant/ }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/login/);
  await page.goto(`${inject("server")}/explore`);
  await page.waitForURL(/\/login/);
  quiet(page);
});
