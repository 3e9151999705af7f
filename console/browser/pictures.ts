/**
 * Writes docs/images: every screen, light and dark, on a desktop and on a phone: `npm run pictures`. What is committed has
 * at most 256 colours, which makes a file a third as long.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { expect, inject, test } from "vitest";
import { eventOf, started, store } from "./filled";
import { launch, newPage, settled, share, signIn, SIZES, type Size, type Theme } from "./pages";
import { addresses, SCREENS, type Screen } from "./screens";

/** What an operator would have made, so that no screen is empty. None of it adds an event to the log. */
async function arranged(): Promise<void> {
  const sent = async (method: string, path: string, body: object) => {
    const headers = { "X-API-Key": inject("key"), "Content-Type": "application/json" };
    const answer = await fetch(`${inject("server")}/api/v1/${path}`, { method, headers, body: JSON.stringify(body) });
    expect(answer.ok, `${path}: ${answer.status}`).toBe(true);
  };
  await sent("PUT", "retention", { maxAgeDays: 365, rules: [{ eventType: "chat_thread.*", maxAgeDays: 30 }] });
  await sent("POST", "holds", { q: "flow:tau-airline-46-3", reason: "Case 2026-4" });
  await sent("POST", "webhooks", { url: "https://hooks.example.com/whence", description: "What failed, to the desk", filters: { outcome: "failure" } });
  const perActor = { kind: "count", threshold: 5, windowS: 600, per: "actor" };
  await sent("POST", "alert-rules", { name: "Five failures of an actor", filters: { outcome: "failure", eventType: "action_run.*" }, condition: perActor });
}

/** Plays a trace up to its last cause. Motion is reduced, so every press is a step. */
async function played(page: Page, path: string): Promise<void> {
  for (let step = 0; step < 47; step++) await page.keyboard.press("p");
  await page.screenshot({ path });
}

const FOLDER = process.env.WHENCE_PICTURES ?? resolve(import.meta.dirname, "../../docs/images");

/** A picture of each size and theme, by somebody who is signed in. */
async function inAll(browser: Browser, signedIn: BrowserContext, draw: (page: Page, pathOf: (name: string) => string) => Promise<void>): Promise<void> {
  for (const size of Object.keys(SIZES) as Size[]) {
    for (const theme of ["light", "dark"] as Theme[]) {
      const page = await newPage(browser, size, theme);
      await share(signedIn, page.context());
      await draw(page, (name) => resolve(FOLDER, `${name}-${size}-${theme}.png`));
      await page.context().close();
    }
  }
}

test("every screen is drawn", { timeout: 300_000 }, async () => {
  mkdirSync(FOLDER, { recursive: true });
  const browser = await launch();
  const first = await newPage(browser);
  await signIn(first);
  await arranged();
  const where = await addresses(inject("server"), inject("key"));
  await inAll(browser, first.context(), async (page, pathOf) => {
    for (const name of SCREENS.filter((name) => name !== "exports")) await drawn(page, where[name], name, pathOf);
  });
  await browser.close();
});

async function drawn(page: Page, address: string, name: Screen, pathOf: (name: string) => string): Promise<void> {
  await page.goto(inject("server") + address);
  await settled(page);
  if (name === "integrity") {
    await page.getByRole("button", { name: "Verify now" }).click();
    await page.getByRole("heading", { name: "Every event is as it was written" }).waitFor();
  }
  await page.screenshot({ path: pathOf(name) });
  if (name === "trace") await played(page, pathOf("trace-play"));
}

test("exports are drawn, by a server that records them", { timeout: 120_000 }, async () => {
  const filled = await started(undefined, { WHENCE_RECORD: "exports" });
  const browser = await launch();
  try {
    await store(filled, 200, (number) => eventOf(number, 200));
    for (const query of ["q=outcome:failed&format=csv", "q=actor:agent/planner&from=-7d", "q=type:action_run.*+-outcome:success&from=-30d"]) {
      const answer = await fetch(`${filled.server}/api/v1/events/export?${query}`, { headers: { "X-API-Key": filled.key } });
      expect(answer.ok, query).toBe(true);
      await answer.text();
    }
    const first = await newPage(browser);
    await signIn(first, filled);
    await inAll(browser, first.context(), async (page, pathOf) => {
      await page.goto(`${filled.server}/integrity?tab=exports`);
      await settled(page);
      await page.screenshot({ path: pathOf("exports") });
    });
  } finally {
    await browser.close();
    await filled.stop();
  }
});
