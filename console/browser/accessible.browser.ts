/**
 * Every screen, in light and dark, on a desktop and on a phone: it shows something, reports no error, and is accessible.
 * In the short form light on a desktop and dark on a phone; WHENCE_SOAK=1 has all four.
 */
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, beforeAll, describe, inject, test } from "vitest";
import { accessible, launch, newPage, quiet, settled, share, signIn, SIZES, type Size, type Theme } from "./pages";
import { addresses, type Screen } from "./screens";

function themes(size: Size): Theme[] {
  if (process.env.WHENCE_SOAK === "1") return ["light", "dark"];
  return size === "desktop" ? ["light"] : ["dark"];
}

let browser: Browser;
let signedIn: BrowserContext;
let where: Record<Screen, string>;

beforeAll(async () => {
  browser = await launch();
  const page = await newPage(browser);
  await signIn(page);
  signedIn = page.context();
  where = await addresses(inject("server"), inject("key"));
});

afterAll(async () => browser.close());

describe.each(Object.keys(SIZES) as Size[])("at the size of a %s", (size) => {
  test.each(themes(size))("every screen in %s is accessible", { timeout: 240_000 }, async (theme) => {
    const page = await newPage(browser, size, theme);
    await share(signedIn, page.context());
    for (const [name, address] of Object.entries(where)) {
      await page.goto(inject("server") + address);
      await settled(page);
      await accessible(page, `${name}, ${size}, ${theme}`);
    }
    quiet(page);
    await page.context().close();
  });
});
