/**
 * Six tasks as somebody new to the console would do them, each from the explorer on: `npm run tasks`. It prints the clicks, the
 * keys and the seconds of each. A word that is typed counts each of its characters, a text that is pasted counts as one key.
 * The seconds are those of the machine: nobody reads or thinks.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { launch, newPage, quiet, signIn } from "./pages";

const DAY_MS = 86_400_000;
const RUN = "5bc32f01-1c36-56f0-baf0-616ad9e238d6";

interface Done {
  task: string;
  clicks: number;
  keys: number;
  seconds: number;
}
const table: Done[] = [];

let browser: Browser;
let page: Page;

async function sent(events: object[]): Promise<void> {
  const headers = { "X-API-Key": inject("key"), "Content-Type": "application/json" };
  const answer = await fetch(`${inject("server")}/api/v1/events/batch`, { method: "POST", headers, body: JSON.stringify(events) });
  expect(answer.ok, await answer.text()).toBe(true);
}

/** Payments of yesterday and of today: more of today's fail. What failed is refunded. */
function payments(): object[] {
  const about = (eventType: string, at: number, causationId: string | null = null) => ({
    ...{ id: crypto.randomUUID(), eventType, actorType: "automation", actorId: "payments", resourceType: "action_run", resourceId: crypto.randomUUID() },
    ...{ occurredAt: new Date(at).toISOString(), correlationId: `payments-${at}`, causationId, payload: { tool: "pay" } },
  });
  return [1.5, 0.5].flatMap((days, which) =>
    Array.from({ length: 12 }, (_, number) => {
      const at = Date.now() - days * DAY_MS + number * 60_000;
      const payment = about(number < (which === 0 ? 2 : 6) ? "payment.failed" : "payment.completed", at);
      if (payment.eventType !== "payment.failed") return [payment];
      const refund = about("refund.requested", at + 1_000, payment.id);
      return [payment, refund, about("refund.paid", at + 5_000, refund.id)];
    }).flat(),
  );
}

beforeAll(async () => {
  await sent(payments());
  browser = await launch();
  page = await newPage(browser);
  await signIn(page);
});

afterAll(async () => {
  const lines = table.map(({ task, clicks, keys, seconds }) => `${task.padEnd(52)}${String(clicks).padStart(7)}${String(keys).padStart(6)}${seconds.toFixed(1).padStart(9)}`);
  process.stdout.write(`\n${"task".padEnd(52)} clicks  keys  seconds\n${lines.join("\n")}\n\n`);
  await browser?.close();
});

/** Does a task and notes what it took. */
async function timed(task: string, work: (hand: Hand) => Promise<void>): Promise<void> {
  await page.goto(`${inject("server")}/explore`);
  await rows().nth(1).waitFor();
  const hand = new Hand();
  const began = performance.now();
  await work(hand);
  table.push({ task, clicks: hand.clicks, keys: hand.keys, seconds: (performance.now() - began) / 1_000 });
  quiet(page);
}

class Hand {
  clicks = 0;
  keys = 0;

  async click(where: Locator): Promise<void> {
    this.clicks++;
    await where.click();
  }

  async press(...keys: string[]): Promise<void> {
    this.keys += keys.length;
    for (const key of keys) await page.keyboard.press(key);
  }

  async type(text: string): Promise<void> {
    this.keys += text.length;
    await page.keyboard.type(text);
  }

  async paste(text: string): Promise<void> {
    this.keys++;
    await page.keyboard.insertText(text);
  }
}

const rows = () => page.getByRole("grid", { name: "Events" }).getByRole("row");
const facet = (text: string) => page.getByRole("complementary", { name: "Filters" }).locator(".fa-value", { hasText: text }).first();

test("find the failed booking and say why", () =>
  timed("find the failed booking and say why", async (hand) => {
    await hand.click(facet("book_reservation"));
    await hand.click(page.locator(".fa-value[title^='failure:']"));
    await hand.click(rows().filter({ hasText: "failed" }).first());
    await hand.press("w");
    await page.locator(".lead").getByText(/failed/).first().waitFor();
    expect(await page.locator(".lead").innerText()).toMatch(/That is because/);
  }));

test("who touched this resource", () =>
  timed("who touched this resource (its id is pasted)", async (hand) => {
    await hand.press("Control+k");
    await page.locator("[role=combobox]:focus").waitFor();
    await hand.paste(RUN);
    await page.getByRole("option", { name: new RegExp(RUN) }).waitFor();
    await hand.press("Enter");
    await page.locator("section", { hasText: "Who touched it" }).getByText("airline-api").waitFor();
  }));

test("did failures rise today", () =>
  timed("did failures rise today", async (hand) => {
    await hand.click(page.locator(".fa-value[title^='failure:']"));
    await hand.press("t");
    await hand.click(page.getByRole("button", { name: "Last 24 h" }));
    await hand.click(page.getByRole("button", { name: "Before" }));
    await page.getByText(/2 before, 200 % more/).first().waitFor();
  }));

test("what usually follows a refund", () =>
  timed("what usually follows a refund", async (hand) => {
    await hand.press("g", "m");
    await page.getByRole("row", { name: /refund\.requested → refund\.paid 8/ }).waitFor();
  }));

test("follow the log live", () =>
  timed("follow the log live", async (hand) => {
    await hand.press("l");
    await page.getByTitle("Following; click to stop").waitFor();
    await sent([{ ...payments()[0], id: crypto.randomUUID(), correlationId: "live", occurredAt: new Date().toISOString(), actorId: "just-now" }]);
    await rows().filter({ hasText: "just-now" }).waitFor();
  }));

test("make a webhook and see it delivered", async () => {
  const receiver = createServer((request, answer) => request.resume().on("end", () => answer.end()));
  await new Promise<void>((listening) => receiver.listen(0, "127.0.0.1", listening));
  await timed("make a webhook and see it delivered (URL pasted)", async (hand) => {
    await hand.press("g", "w");
    await hand.click(page.getByRole("link", { name: /^New/ }));
    await hand.click(page.getByLabel("URL"));
    await hand.paste(`http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`);
    await hand.press("Enter");
    await hand.click(page.getByRole("link", { name: /Open it/ }));
    await hand.click(page.getByRole("button", { name: "Send a test event" }));
    await page.getByRole("heading", { name: "The test event was delivered" }).waitFor();
  });
  receiver.close();
});
