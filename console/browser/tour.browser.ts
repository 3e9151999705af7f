/** What a reader does from one screen to the next: a query, the trace, a resource, a saved view. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { accessible, launch, newPage, quiet, signIn } from "./pages";

let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await launch();
  page = await newPage(browser);
  await signIn(page);
});

afterAll(() => browser.close());

const rows = () => page.getByRole("grid", { name: "Events" }).getByRole("row");
const total = () => page.locator(".hh b").textContent();

test("the failed runs are found by a query, and the trace of one says why in sentences", async () => {
  await rows().nth(1).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("outcome:failed type:action_run.* until:2024-05-17");
  await page.keyboard.press("Enter");
  await expect.poll(total).toBe("73 events");
  await rows().filter({ hasText: "book_reservation" }).filter({ hasText: "1047" }).first().click();
  const peek = page.getByRole("complementary", { name: "Event" });
  await peek.getByText("payment amount does not add up").first().waitFor();
  await page.keyboard.press("w");
  await page.waitForURL(/\/trace\//);
  await page.getByRole("treegrid").waitFor();
  expect(await page.locator(".lead").innerText()).toMatch(/book_reservation failed: .* That is because .*gpt-4o called it/s);
});

test("a trace is played in the order of time, and nothing but the light moves", async () => {
  const boxes = () => page.locator(".tr, .play-button").evaluateAll((all) => all.map((one) => JSON.stringify(one.getBoundingClientRect())));
  const strip = page.getByRole("group", { name: "Play", exact: true });
  const before = await boxes();
  await page.keyboard.press("p");
  await strip.getByText("1 of 64 · +0:00.0").waitFor();
  await page.keyboard.press("p");
  await strip.getByText("2 of 64").waitFor();
  await page.waitForTimeout(500); // Motion is reduced, so no timer goes on.
  await strip.getByText("2 of 64").waitFor();
  await accessible(page, "a trace that is played");
  await page.emulateMedia({ reducedMotion: "no-preference" });
  await strip.getByRole("button", { name: "2×" }).click();
  await page.keyboard.press("p");
  await page.getByRole("button", { name: /^Pause/ }).waitFor();
  expect(await boxes()).toEqual(before);
  await strip.getByText(/^[1-9]\d of 64/).waitFor();
  await page.keyboard.press("p");
  const paused = await strip.getByText(/ of 64/).textContent();
  await page.keyboard.press(",");
  expect(Number.parseInt(String(await strip.getByText(/ of 64/).textContent()))).toBe(Number.parseInt(String(paused)) - 1);
  expect(await page.locator(".tr.now").count()).toBeLessThanOrEqual(1);
  await page.keyboard.press("Escape");
  await strip.waitFor({ state: "detached" });
  await page.emulateMedia({ reducedMotion: "reduce" });
  expect(await boxes()).toEqual(before);
});

test("its resource is opened by a key, and shows what happened to it", async () => {
  await page.goBack();
  await rows().nth(1).waitFor();
  await rows().nth(1).focus();
  await page.keyboard.press("r");
  await page.waitForURL(/\/r\/action_run\//);
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.getByText(/called/).first().waitFor();
  await page.getByRole("slider", { name: "As of" }).focus();
  await page.keyboard.press("Home");
  await page.getByText(/recorded after that moment/).waitFor();
  await page.getByText("Known then: 1 event").waitFor();
  await page.getByRole("button", { name: "Now" }).click();
  await page.getByRole("button", { name: "Lanes" }).click();
  await page.getByRole("list", { name: "Lanes, from the left" }).getByText("airline-api").waitFor();
  await accessible(page, "lanes of a resource");
});

test("resources of its flow are put beside it as lanes, causes are drawn between them, and the address keeps them", async () => {
  const failed = "/r/action_run/5bc32f01-1c36-56f0-baf0-616ad9e238d6";
  const hostile = encodeURIComponent("<img src=x onerror=alert(1)>");
  await page.goto(`${inject("server")}${failed}?with=${hostile}`);
  await page.getByRole("alert").getByText("A part of the address is not type/id").waitFor();
  const picker = page.getByRole("group", { name: "Another resource beside it" });
  await page.getByRole("button", { name: "Beside" }).click();
  await picker.getByRole("button", { name: "inbound_message 3c9fe4c0" }).click();
  await page.getByRole("button", { name: "Beside" }).click();
  await picker.getByLabel("The resource").fill("bc7166b7-78bd-5c24-a106-a75fd4d439fc");
  await picker.getByRole("button", { name: /chat_thread bc7166b7/ }).waitFor();
  await page.keyboard.press("Enter");
  const lanes = page.getByRole("list", { name: "Lanes, from the left" }).getByRole("listitem");
  await lanes.nth(2).getByText("13", { exact: true }).waitFor();
  await page.getByText("in action_run 5bc32f01, caused by inbound_message 3c9fe4c0").waitFor({ state: "attached" });
  await page.getByText("in inbound_message 3c9fe4c0, caused by chat_thread bc7166b7").waitFor({ state: "attached" });
  await accessible(page, "resources beside one another");
  await page.reload();
  await lanes.nth(2).waitFor();
  await page.getByRole("button", { name: "Take inbound_message 3c9fe4c0 away" }).click();
  await expect.poll(() => new URL(page.url()).searchParams.get("with")).toBe("chat_thread/bc7166b7-78bd-5c24-a106-a75fd4d439fc");
  quiet(page);
});

test("an actor's page says which tools it used for the first time", async () => {
  await page.goto(`${inject("server")}/actors/automation/airline-api?from=2024-05-01&to=2024-06-01`);
  await page.locator("section", { hasText: "For the first time" }).getByRole("link", { name: "completed update_reservation_passengers" }).click();
  await page.getByRole("heading", { level: 1, name: /completed update_reservation_passengers/ }).waitFor();
});

test("a view is saved, and opened again", async () => {
  await page.goto(`${inject("server")}/explore?q=${encodeURIComponent("outcome:failure")}`);
  await rows().nth(1).waitFor();
  await page.getByRole("button", { name: /^More/ }).click();
  await page.getByRole("menuitem", { name: "Save this view…" }).click();
  await page.getByLabel("Name").fill("What failed");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.goto(`${inject("server")}/explore`);
  await rows().nth(1).waitFor();
  await page.getByRole("button", { name: /^More/ }).click();
  await page.getByRole("menuitem", { name: "Saved views…" }).click();
  await page.getByRole("dialog").getByText("What failed").click();
  await page.waitForURL(/outcome/);
  quiet(page);
});
