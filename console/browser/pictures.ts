/**
 * Writes docs/images: every screen, light and dark, on a desktop and on a phone: `npm run pictures`. What is committed has
 * at most 256 colours, which makes a file a third as long.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { expect, inject, test } from "vitest";
import { launch, newPage, settled, share, signIn, SIZES, type Size, type Theme } from "./pages";
import { addresses } from "./screens";

const FOLDER = process.env.WHENCE_PICTURES ?? resolve(import.meta.dirname, "../../docs/images");

test("every screen is drawn", { timeout: 300_000 }, async () => {
  mkdirSync(FOLDER, { recursive: true });
  const browser = await launch();
  const first = await newPage(browser);
  await signIn(first);
  const where = await addresses(inject("server"), inject("key"));
  for (const size of Object.keys(SIZES) as Size[]) {
    for (const theme of ["light", "dark"] as Theme[]) {
      const page = await newPage(browser, size, theme);
      await share(first.context(), page.context());
      for (const [name, address] of Object.entries(where)) {
        await page.goto(inject("server") + address);
        await settled(page);
        await page.screenshot({ path: resolve(FOLDER, `${name}-${size}-${theme}.png`) });
      }
      await page.context().close();
    }
  }
  await browser.close();
  expect(Object.keys(where).length).toBeGreaterThan(0);
});
