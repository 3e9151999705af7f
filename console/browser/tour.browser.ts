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
