/**
 * Writes docs/images: every screen, light and dark, on a desktop and on a phone: `npm run pictures`. What is committed has
 * at most 256 colours, which makes a file a third as long.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { expect, inject, test } from "vitest";
import { launch, newPage, settled, share, signIn, SIZES, type Size, type Theme } from "./pages";
import { addresses } from "./screens";

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

const FOLDER = process.env.WHENCE_PICTURES ?? resolve(import.meta.dirname, "../../docs/images");

test("every screen is drawn", { timeout: 300_000 }, async () => {
  mkdirSync(FOLDER, { recursive: true });
  const browser = await launch();
  const first = await newPage(browser);
  await signIn(first);
  await arranged();
  const where = await addresses(inject("server"), inject("key"));
  for (const size of Object.keys(SIZES) as Size[]) {
    for (const theme of ["light", "dark"] as Theme[]) {
      const page = await newPage(browser, size, theme);
      await share(first.context(), page.context());
      for (const [name, address] of Object.entries(where)) {
        await page.goto(inject("server") + address);
        await settled(page);
        if (name === "integrity") {
          await page.getByRole("button", { name: "Verify now" }).click();
          await page.getByRole("heading", { name: "Every event is as it was written" }).waitFor();
        }
        await page.screenshot({ path: resolve(FOLDER, `${name}-${size}-${theme}.png`) });
      }
      await page.context().close();
    }
  }
  await browser.close();
  expect(Object.keys(where).length).toBeGreaterThan(0);
});
